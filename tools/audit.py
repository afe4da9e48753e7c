"""Check a data set: what is in it, what is wrong with it, and the datalist that every later step reads."""

from collections import Counter
from pathlib import Path

import numpy as np

from abdoseg.case_stage import excluded_entry
from abdoseg.checks import SET_ASIDE, Fault, duplicate_faults, is_set_aside
from abdoseg.datalist import write_datalist
from abdoseg.datasets import STRONG_RULES, annotated_classes
from abdoseg.files import CaseError, write_json
from abdoseg.labels import CLASS_IDS, NAMES
from tools.audit_cases import convention_of, examine_all
from tools.audit_report import faults_by_kind, write_report
from tools.layout import find_cases

NAMED = 8  # cases that a line of the printed table names


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
    """Read a data set, check every case, and write datalist.json, audit.json and report.html.

    It takes a folder in any layout of docs/datasets.md, or a datasets.yaml, which declares one or more data sets.
    In the FLARE23 layout the folder holds imagesTr2200/ID_0000.nii.gz and labelsTr2200/ID.nii.gz, and if there are any
    unlabelTr1800/ (scans without labels), validation/ (scans to be segmented) and truth/ID.nii.gz (complete labels of
    these). The numbers in the names may differ, chunk folders inside are searched, and labels in a folder such as
    20230507-fix take the place of the older ones.

    A case that cannot be used is set aside with its reason; the others go on. What can be mended safely is written as
    a copy into OUTPUT_DIR/repaired, and the datalist names the copy; labels of other conventions are converted into
    OUTPUT_DIR/labels. docs/audit.md lists what is looked for. The data themselves are never changed. What was found in
    each case stays in OUTPUT_DIR/findings: a second run reads only what has changed.

    A strong case is one in which every organ is drawn, a weak case has only some classes; what nobody drew in a weak
    case is unknown, not absent. Each case's list of annotated classes goes into the datalist.

    Args:
        data_dir: The data set: a folder, or a datasets.yaml.
        output_dir: Where all is written; made if missing.
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
        "datalist", "audit" and "report" (the paths written), "kinds" (number of cases) and "failed" ({id: reason} of
        the cases set aside).
    """
    if strong_rule not in STRONG_RULES:
        raise CaseError(f"Unknown strong rule {strong_rule!r}. Use {' or '.join(map(repr, STRONG_RULES))}.")
    for share in (teacher_validation_fraction, validation_fraction):
        if not 0 <= share < 1:
            raise CaseError(f"A share of the cases to hold out is at least 0 and below 1, not {share}.")
    if validation_cases < 0 or num_threads < 1:
        raise CaseError(f"validation_cases is {validation_cases}, num_threads {num_threads}; use at least 0 and 1.")
    data_dir, output = Path(data_dir).absolute(), Path(output_dir).absolute()
    candidates, excluded = find_cases(data_dir)
    faults = {entry["id"]: [Fault("layout", _file(entry), entry["reason"])] for entry in excluded}
    usable, told, prints = {}, {}, {}
    for case, finding in examine_all(candidates, output, num_threads):
        found = [Fault(**found) for found in finding["faults"]]
        faults.setdefault(case["id"], []).extend(found)
        if is_set_aside(found):
            excluded.append(excluded_entry(case, _reason(found)))
            continue
        name = case["id"]
        usable[name] = _entry(case, finding, output, strong_rule)
        told[name], prints[name] = _told(usable[name], finding), finding["fingerprint"]
    for name, found in duplicate_faults(list(usable.values()), prints).items():
        faults[name].append(found)
        excluded.append(excluded_entry(usable.pop(name), found.message))
        del told[name]
    entries = list(usable.values())
    training = [entry for entry in entries if entry["section"] == "training"]
    if not training:
        reason = f"the first reason: {excluded[0]['reason']}" if excluded else "none of its scans has a label."
        raise CaseError(f"{data_dir}: not one usable training case; {reason}")
    strong = [entry for entry in training if entry["kind"] == "strong"]
    _hold_out(training, "validation", min(validation_cases, _share(training, validation_fraction)), [seed, 0])
    _hold_out(strong, "teacher_validation", _share(strong, teacher_validation_fraction), [seed, 1])

    sections = {name: [e for e in entries if e["section"] == name] for name in ("training", "unlabeled", "testing")}
    for entry in entries:
        del entry["section"]
    rule = {"seed": seed, "strong_rule": strong_rule}
    content = {
        **rule,
        **_statistics(told),
        "faults": [
            {"id": name, "kind": one.kind, "severity": one.severity, "file": one.file, "message": one.message}
            for name, found in faults.items()
            for one in found
        ],
        "excluded": excluded,
        "cases": told,
    }
    write_json(output / "audit.json", content)
    labels = {str(value): name for value, name in NAMES.items()}
    name = data_dir.stem if data_dir.is_file() else data_dir.name
    datalist = {"name": name, **rule, "labels": labels, **sections, "excluded": excluded}
    write_datalist(output / "datalist.json", datalist)
    write_report(output / "report.html", name, content, candidates)
    _print_tables(content, output)
    return {
        "datalist": str(output / "datalist.json"),
        "audit": str(output / "audit.json"),
        "report": str(output / "report.html"),
        "kinds": content["kinds"],
        "failed": {case["id"]: case["reason"] for case in excluded},
    }


def _entry(case: dict, finding: dict, output: Path, strong_rule: str) -> dict:
    """Give a usable case's entry in the datalist, with its section."""
    convention = convention_of(case)
    copies = {key: str(output / path) for key, path in finding["copies"].items()}
    entry = {key: value for key, value in case.items() if key != "source_labels"} | copies
    declared = {} if convention.annotated is None else {"annotated_classes": sorted(convention.annotated)}
    if case["section"] == "testing":
        return {**entry, "kind": "test", **(declared if "label" in case else {})}
    if case["section"] == "unlabeled":
        return {**entry, "kind": "unlabeled", "annotated_classes": []}
    kind, annotated = annotated_classes(set(finding["classes"]), convention, strong_rule)
    return {**entry, "kind": kind, "annotated_classes": annotated}


def _told(entry: dict, finding: dict) -> dict:
    """Give what audit.json says of a case."""
    told = {key: finding[key] for key in ("spacing", "shape", "orientation", "classes", "voxels") if key in finding}
    return {"kind": entry["kind"], **told}


def _reason(faults: list[Fault]) -> str:
    return " ".join(found.message for found in faults if found.severity == SET_ASIDE)


def _file(entry: dict) -> str:
    return entry.get("image") or entry["label"]


def _share(entries: list[dict], fraction: float) -> int:
    """Give the number of cases to hold out: at least one where there are two or more, never all."""
    if not fraction or len(entries) < 2:
        return 0
    return min(max(1, round(fraction * len(entries))), len(entries) - 1)


def _hold_out(entries: list[dict], flag: str, number: int, seed: list[int]) -> None:
    chosen = set(np.random.default_rng(seed).permutation(len(entries))[:number].tolist())
    for index, entry in enumerate(entries):
        entry[flag] = index in chosen


def _statistics(cases: dict[str, dict]) -> dict:
    """Count cases by kind and orientation, training cases by number of classes (paper A, Fig. 2) and by class."""
    drawn = [case["classes"] for case in cases.values() if case["kind"] in ("strong", "weak")]
    kinds = Counter(case["kind"] for case in cases.values())
    return {
        "label_counts": {str(n): sum(len(classes) == n for classes in drawn) for n in range(1, len(CLASS_IDS) + 1)},
        "class_cases": {NAMES[c]: sum(c in classes for classes in drawn) for c in CLASS_IDS},
        "kinds": {kind: kinds[kind] for kind in ("strong", "weak", "unlabeled", "test")},
        "orientations": dict(Counter(case["orientation"] for case in cases.values()).most_common()),
    }


def _print_tables(content: dict, output: Path) -> None:
    print("cases:", ", ".join(f"{number} {kind}" for kind, number in content["kinds"].items()))
    print("stored as:", ", ".join(f"{number} {codes}" for codes, number in content["orientations"].items()))
    print("classes drawn   cases")
    for number, cases in content["label_counts"].items():
        if cases:
            print(f"{number:>13}  {cases:>6}")
    print("class                cases")
    for name, cases in content["class_cases"].items():
        print(f"{name:19}  {cases:>5}")
    for kind, cases in faults_by_kind(content["faults"]).items():
        print(f"{kind.severity}: {kind.title}: {', '.join(cases[:NAMED])}{', ...' * (len(cases) > NAMED)}")
    for case in content["excluded"]:
        print(f"set aside: {case['reason']}")
    print(f"report: {output / 'report.html'}")
