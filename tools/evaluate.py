"""Score predictions against references: DSC and NSD by the official FLARE23 rules, a table and a JSON file."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from abdoseg.datalist import case_id, load_cases
from abdoseg.files import CaseError, write_json
from abdoseg.label_maps import grid_difference, read_label_map
from abdoseg.labels import CLASS_IDS, NAMES, TUMOR_ID
from abdoseg.metrics import score_label_maps, summarize, summarize_hosts
from tools.results import host_rows


def evaluate(
    predictions: str,
    references: str,
    output: str | None = None,
    cases: str | None = None,
    classes: str | None = None,
    minimum_dsc: float | None = None,
) -> dict:
    """Score predicted label maps against references: DSC and NSD by class.

    The means of the table are over the scans whose reference contains the class (n says how many); the official
    FLARE23 means, which give full marks to a class that is rightly absent, stand beside them. Label maps are turned to
    RAS before they are scored, because the official rules cut aorta, vena cava and esophagus along the body axis.

    Where the tumor is scored, so are the tumors in the liver, in the pancreas, in the kidneys and elsewhere ("rest"),
    each over the scans that have such a tumor.

    A case that cannot be scored (no prediction, another grid than its reference, an unknown label value, a broken
    file) is named, left out of the means, and makes the command end with exit code 1; the other cases are scored.

    Args:
        predictions: Folder of predicted label maps ID.nii.gz, or one such file.
        references: Folder of true label maps ID.nii.gz, one such file, or a datalist (.json) whose section "testing"
            names them.
        output: JSON file to write, with the means ("summary"), the scores of each case ("cases", and its tumors by host
            organ in "tumor_by_host") and the cases that could not be scored with their reasons ("failed").
        cases: Ids of the cases to score, separated by commas; every reference if left out.
        classes: Names or ids of the classes to score, separated by commas, for example "liver,spleen" where nobody drew
            the others; all 14 if left out.
        minimum_dsc: Mean DSC of the organs that is asked for; below it the exit code is 1.

    Returns:
        The content of the JSON file: {"summary": see abdoseg.metrics.summarize, and in it "tumor_by_host": {family:
        {"dsc", "n"}}, "cases": {id: {class name: {"dsc", "nsd", "present"}}}, "tumor_by_host": {id: {family: {"dsc",
        "present", "true_voxels", "predicted_voxels"}}}, "failed": {id: reason}}. Both "tumor_by_host" are empty where
        the tumor is not scored.
    """
    class_ids = _class_ids(classes)
    pairs = _pairs(Path(predictions), Path(references), _names(cases))
    scores, hosts, failed = {}, {}, {}
    for case, (prediction, reference) in tqdm(pairs.items(), desc="evaluate", unit="case"):
        try:
            maps = _read_pair(prediction, reference)
        except CaseError as error:
            failed[case] = str(error)
            continue
        scores[case] = score_label_maps(*maps, class_ids)
        if TUMOR_ID in class_ids:
            hosts[case] = _tumors_by_host(*maps[:2])
    summary = {**summarize(scores), "tumor_by_host": summarize_hosts(hosts)}
    result = {"summary": summary, "cases": scores, "tumor_by_host": hosts, "failed": failed}
    print(format_table(result["summary"]))
    for case, reason in failed.items():
        print(f"failed: {case}: {reason}")
    if output is not None:
        write_json(output, result)
        print(f"scores of {len(scores)} cases: {output}")
    mean = result["summary"]["organ_mean_dsc"]
    if minimum_dsc is not None and (mean is None or mean < minimum_dsc):
        reason = f"the mean DSC of the organs is {mean}, at least {minimum_dsc} was asked for"
        print(f"failed: {reason}")
        return result | {"failed": failed | {"minimum_dsc": reason}}
    return result


def score_case(
    prediction: str | os.PathLike, reference: str | os.PathLike, class_ids: Iterable[int] = CLASS_IDS
) -> dict[str, dict]:
    """Score one prediction file against its reference file.

    Returns
    -------
    ``{class name: {"dsc": float, "nsd": float, "present": bool}}``; ``present``: the reference contains the class.

    Raises
    ------
    CaseError
        If a file is missing or broken, holds an unknown label value, or the two grids differ.
    """
    return score_label_maps(*_read_pair(prediction, reference), class_ids)


def _read_pair(
    prediction: str | os.PathLike, reference: str | os.PathLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predicted labels, true labels and their affine; CaseError as `score_case` tells."""
    if not Path(prediction).is_file():
        raise CaseError(f"{prediction}: there is no such prediction; write it with `python -m tools predict`.")
    true_labels, true_image = read_label_map(reference)
    predicted_labels, predicted_image = read_label_map(prediction)
    difference = grid_difference(predicted_image, true_image)
    if difference:
        raise CaseError(f"{prediction}: has {difference}; it must lie on the grid of its reference {reference}.")
    return predicted_labels, true_labels, true_image.affine


def _tumors_by_host(predicted_labels: np.ndarray, true_labels: np.ndarray) -> dict[str, dict]:
    from abdoseg.metrics.hosts import score_tumors_by_host  # imports torch and MONAI, which takes seconds

    return score_tumors_by_host(predicted_labels, true_labels)


def format_table(summary: Mapping) -> str:
    """The scores as a table for the terminal: class, DSC, NSD, n scans that contain it, official DSC and NSD.

    Below the tumor stand the families of host organs that have one.
    """
    official = summary["official"]
    lines = [f"{'class':<22}{'DSC':>8}{'NSD':>8}{'n':>5}{'official DSC':>15}{'NSD':>8}"]
    for name, scores in summary["classes"].items():
        lines.append(_row(name, scores["dsc"], scores["nsd"], scores["n"], official["classes"][name]))
    organs = {"dsc": official["organ_dsc"], "nsd": official["organ_nsd"]}
    lines.insert(-1, _row("mean of the organs", summary["organ_mean_dsc"], summary["organ_mean_nsd"], "", organs))
    for family, title in host_rows([summary]).items():
        scores = summary["tumor_by_host"][family]
        lines.append(f"  {title:<20}{_number(scores['dsc']):>8}{scores['n']:>13}")
    return "\n".join(lines)


def _row(name: str, dsc: float | None, nsd: float | None, count: int | str, official: Mapping) -> str:
    values = [_number(value) for value in (dsc, nsd, official["dsc"], official["nsd"])]
    return f"{name:<22}{values[0]:>8}{values[1]:>8}{count:>5}{values[2]:>15}{values[3]:>8}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _pairs(predictions: Path, references: Path, cases: list[str] | None) -> dict[str, tuple[Path, Path]]:
    """Prediction and reference of each case to score; the prediction need not exist."""
    for path in (predictions, references):
        if not path.exists():
            raise CaseError(f"{path}: there is no such file or folder of label maps.")
    true_files = _references(references)
    if cases is not None:
        unknown = [case for case in cases if case not in true_files]
        if unknown:
            raise CaseError(f"{references}: no reference of case {', '.join(unknown)}; it has {_some(true_files)}.")
        true_files = {case: true_files[case] for case in cases}
    if predictions.is_file():
        if len(true_files) > 1:
            true_files = {case: path for case, path in true_files.items() if case == case_id(predictions)}
        if not true_files:
            raise CaseError(f"{references}: no reference of case {case_id(predictions)}, which {predictions} predicts.")
        return {case: (predictions, path) for case, path in true_files.items()}
    predicted_files = _label_maps(predictions)
    return {
        case: (predicted_files.get(case, predictions / f"{case}.nii.gz"), path) for case, path in true_files.items()
    }


def _references(references: Path) -> dict[str, Path]:
    if references.suffix == ".json":
        found = {case["id"]: Path(case["label"]) for case in load_cases(references, "testing") if case.get("label")}
        if not found:
            raise CaseError(f"{references}: no case of the section 'testing' has a label to score against.")
        return found
    found = {case_id(references): references} if references.is_file() else _label_maps(references)
    if not found:
        raise CaseError(f"{references}: this folder holds no label maps (.nii or .nii.gz) to score against.")
    return found


def _label_maps(folder: Path) -> dict[str, Path]:
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.endswith((".nii", ".nii.gz")):
            continue
        case = case_id(path)
        if case in found:
            raise CaseError(f"{path}: case {case} has a second file {found[case].name}; keep one label map a case.")
        found[case] = path
    return found


def _class_ids(classes: str | None) -> list[int]:
    ids = {NAMES[class_id]: class_id for class_id in CLASS_IDS}
    names = _names(classes)
    for name in names or ():
        if name not in ids and name not in map(str, CLASS_IDS):
            raise CaseError(f"Unknown class {name!r}. Use an id from 1 to 14 or one of {', '.join(ids)}.")
    return list(CLASS_IDS) if names is None else [ids[name] if name in ids else int(name) for name in names]


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]


def _some(names: Iterable[str], limit: int = 5) -> str:
    names = list(names)
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
