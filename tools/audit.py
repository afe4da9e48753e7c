"""Check a data set: what is in it, what is wrong with it, and the datalist that every later step reads."""

import gzip
import math
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
from tqdm import tqdm

from abdoseg.datalist import write_datalist
from abdoseg.files import CaseError, write_json
from abdoseg.label_maps import count_voxels, grid_difference, open_volume, read_label_map
from abdoseg.labels import CLASS_IDS, MIRROR_PAIRS, NAMES, ORGAN_IDS
from tools.layout import find_cases

# Gallbladder, spleen, a kidney and an adrenal gland are removed by surgery or missing from birth; not both of a pair.
REMOVABLE_IDS = {2, 3, 7, 8, 9, 13}
StrongRule = Callable[[set[int]], set[int] | None]


def audit(
    data_dir: str,
    output_dir: str,
    strong_rule: str = "count",
    seed: int = 0,
    teacher_validation_fraction: float = 0.2,
    validation_fraction: float = 0.1,
    validation_cases: int = 100,
    num_threads: int = 4,
) -> dict:
    """Read a data set in the FLARE23 layout, check every case, and write datalist.json and audit.json.

    The folder holds imagesTr2200/ID_0000.nii.gz and labelsTr2200/ID.nii.gz, and if there are any unlabelTr1800/
    (scans without labels), validation/ (scans to be segmented) and truth/ID.nii.gz (complete labels of these). The
    numbers in the names may differ, chunk folders inside are searched, and labels in a folder such as 20230507-fix
    take the place of the older ones. A case that cannot be used is set aside with its reason; the others go on.

    A strong case is one in which every organ is drawn, a weak case has only some classes; what nobody drew in a weak
    case is unknown, not absent. Each case's list of annotated classes goes into the datalist.

    Args:
        data_dir: The data set, a folder in the FLARE23 layout.
        output_dir: Where datalist.json and audit.json are written; made if missing.
        strong_rule: "count" calls a case strong if exactly 13 classes are drawn (paper A). "anatomy" calls it strong if
            all organs are drawn but those that people live without (gallbladder, spleen, one kidney, one adrenal
            gland); the missing ones then count as annotated and absent.
        seed: Both splits are drawn with it; the same seed and cases give the same splits.
        teacher_validation_fraction: Share of the strong cases held out from the teacher (paper A has 0.2).
        validation_fraction: Share of all training cases held out from the students, as long as it is not more than
            validation_cases.
        validation_cases: The most cases that are held out from the students (paper A has 100 of 2200).
        num_threads: Cases read at once.

    Returns:
        "datalist" and "audit" (the paths written), "kinds" (number of cases) and "failed" ({id: reason} of the cases
        set aside).
    """
    if strong_rule not in STRONG_RULES:
        raise CaseError(f"Unknown strong rule {strong_rule!r}. Use {' or '.join(map(repr, STRONG_RULES))}.")
    for share in (teacher_validation_fraction, validation_fraction):
        if not 0 <= share < 1:
            raise CaseError(f"A share of the cases to hold out is at least 0 and below 1, not {share}.")
    data_dir, output = Path(data_dir).absolute(), Path(output_dir).absolute()
    candidates, excluded = find_cases(data_dir)
    entries, findings = [], {}
    for entry, finding in _check_all(candidates, STRONG_RULES[strong_rule], num_threads):
        if isinstance(finding, CaseError):
            paths = {key: entry[key] for key in ("image", "label") if key in entry}
            excluded.append({"id": entry["id"], **paths, "reason": str(finding)})
        else:
            entries.append(entry)
            findings[entry["id"]] = finding
    training = [entry for entry in entries if entry["section"] == "training"]
    if not training:
        raise CaseError(f"{data_dir}: not one usable training case; the first reason: {excluded[0]['reason']}")
    strong = [entry for entry in training if entry["kind"] == "strong"]
    _hold_out(training, "validation", min(validation_cases, _share(training, validation_fraction)), [seed, 0])
    _hold_out(strong, "teacher_validation", _share(strong, teacher_validation_fraction), [seed, 1])

    sections = {name: [e for e in entries if e["section"] == name] for name in ("training", "unlabeled", "testing")}
    for entry in entries:
        del entry["section"]
    labels = {str(value): name for value, name in NAMES.items()}
    rule = {"seed": seed, "strong_rule": strong_rule}
    statistics = _statistics(findings)
    write_json(output / "audit.json", {**rule, **statistics, "excluded": excluded, "cases": findings})
    datalist = {"name": data_dir.name, **rule, "labels": labels, **sections, "excluded": excluded}
    write_datalist(output / "datalist.json", datalist)
    _print_tables(statistics, excluded)
    return {
        "datalist": str(output / "datalist.json"),
        "audit": str(output / "audit.json"),
        "kinds": statistics["kinds"],
        "failed": {case["id"]: case["reason"] for case in excluded},
    }


def _check_all(
    candidates: list[dict], annotated_if_strong: StrongRule, num_threads: int
) -> Iterator[tuple[dict, dict | CaseError]]:
    def work(entry: dict) -> tuple[dict, dict | CaseError]:
        try:
            return check_case(entry, annotated_if_strong)
        except CaseError as error:
            return entry, error

    threads = ThreadPoolExecutor(num_threads)
    try:
        yield from tqdm(threads.map(work, candidates), "audit", len(candidates), unit="case")
    finally:
        threads.shutdown(cancel_futures=True)


def check_case(entry: dict, annotated_if_strong: StrongRule) -> tuple[dict, dict]:
    """Read one case; give its datalist entry with kind and annotated classes, and what was found in it.

    Raises
    ------
    CaseError
        If the image or label is broken, their grids differ, or the label is empty or holds an unknown value.
    """
    image = open_volume(entry["image"])
    check_complete(entry["image"], image)
    finding = {
        "spacing": [round(float(value), 6) for value in np.linalg.norm(image.affine[:3, :3], axis=0)],
        "shape": list(image.shape),
        "orientation": "".join(nib.aff2axcodes(image.affine)),
    }
    if "label" not in entry:
        kind = "unlabeled" if entry["section"] == "unlabeled" else "test"
        annotated = {"annotated_classes": []} if kind == "unlabeled" else {}
        return {**entry, "kind": kind, **annotated}, {"kind": kind, **finding}
    difference = grid_difference(open_volume(entry["label"]), image)
    if difference:
        raise CaseError(f"{entry['label']}: has {difference}; a label lies on the grid of its image {entry['image']}.")
    counts = count_voxels(read_label_map(entry["label"])[0])
    present = [c for c in CLASS_IDS if counts[c]]
    finding.update(classes=present, voxels={str(c): int(counts[c]) for c in present})
    if entry["section"] == "testing":
        return {**entry, "kind": "test"}, {"kind": "test", **finding}
    if not present:
        raise CaseError(f"{entry['label']}: the label is empty; put the image among the unlabeled or label a class.")
    annotated = annotated_if_strong(set(present))
    kind = "weak" if annotated is None else "strong"
    return {**entry, "kind": kind, "annotated_classes": sorted(annotated or present)}, {"kind": kind, **finding}


def check_complete(path: str, image: nib.Nifti1Image) -> None:
    """Read a NIfTI file to its end, a piece at a time, and raise a CaseError if it is broken or cut short."""
    needed = image.dataobj.offset + math.prod(image.shape) * image.get_data_dtype().itemsize
    size = 0
    try:
        with (gzip.open if str(path).endswith(".gz") else open)(path, "rb") as file:
            while piece := file.read(1 << 20):
                size += len(piece)
    except (OSError, EOFError, zlib.error) as error:
        raise CaseError(f"{path}: the voxels cannot be read, the file is broken or cut short ({error}).") from error
    if size < needed:
        raise CaseError(f"{path}: the file is cut short, it holds {size} of {needed} bytes.")


def annotated_by_count(present: set[int]) -> set[int] | None:
    """Paper A's rule: a case is strong if exactly 13 classes are drawn, whichever they are; None if it is weak."""
    return present if len(present) == len(ORGAN_IDS) else None


def annotated_by_anatomy(present: set[int]) -> set[int] | None:
    """Take a case as strong if every organ is drawn but those that people live without, at most one of a pair.

    Then all organs are annotated, the missing ones as absent; None if the case is weak.
    """
    missing = set(ORGAN_IDS) - present
    strong = missing <= REMOVABLE_IDS and not any(set(pair) <= missing for pair in MIRROR_PAIRS)
    return present | set(ORGAN_IDS) if strong else None


STRONG_RULES = {"count": annotated_by_count, "anatomy": annotated_by_anatomy}


def _share(entries: list[dict], fraction: float) -> int:
    """Give the number of cases to hold out: at least one where there are two or more, never all."""
    if not fraction or len(entries) < 2:
        return 0
    return min(max(1, round(fraction * len(entries))), len(entries) - 1)


def _hold_out(entries: list[dict], flag: str, number: int, seed: list[int]) -> None:
    chosen = set(np.random.default_rng(seed).permutation(len(entries))[:number].tolist())
    for index, entry in enumerate(entries):
        entry[flag] = index in chosen


def _statistics(findings: dict[str, dict]) -> dict:
    """Count cases by kind, and training cases by number of classes drawn (paper A, Fig. 2) and by class."""
    drawn = [finding["classes"] for finding in findings.values() if finding["kind"] in ("strong", "weak")]
    return {
        "label_counts": {str(n): sum(len(classes) == n for classes in drawn) for n in range(1, len(CLASS_IDS) + 1)},
        "class_cases": {NAMES[c]: sum(c in classes for classes in drawn) for c in CLASS_IDS},
        "kinds": {
            kind: sum(finding["kind"] == kind for finding in findings.values())
            for kind in ("strong", "weak", "unlabeled", "test")
        },
    }


def _print_tables(statistics: dict, excluded: list[dict]) -> None:
    print("cases:", ", ".join(f"{number} {kind}" for kind, number in statistics["kinds"].items()))
    print("classes drawn   cases")
    for number, cases in statistics["label_counts"].items():
        if cases:
            print(f"{number:>13}  {cases:>6}")
    print("class                cases")
    for name, cases in statistics["class_cases"].items():
        print(f"{name:19}  {cases:>5}")
    for case in excluded:
        print(f"set aside: {case['reason']}")
