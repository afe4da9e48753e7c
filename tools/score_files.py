"""Which prediction belongs to which reference, which classes are scored, and which of them somebody looked for."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from abdoseg.datalist import case_id, load_cases
from abdoseg.files import CaseError
from abdoseg.labels import CLASS_IDS, NAMES
from tools.scans import is_scan

NAMED = 5  # cases that an error names


def find_pairs(
    predictions: Path, references: Path, section: str = "testing", cases: Iterable[str] | None = None
) -> dict[str, tuple[Path, Path]]:
    """Prediction and reference of each case to score; the prediction need not exist.

    Parameters
    ----------
    predictions : folder of label maps ID.nii.gz, or one file.
    references : folder, one file, or a datalist (.json).
    section : of the datalist.
    cases : ids to score; None takes every reference.

    Raises
    ------
    CaseError
        If there is nothing to score, or a wanted case has no reference.
    """
    for path in (predictions, references):
        if not path.exists():
            raise CaseError(f"{path}: there is no such file or folder of label maps.")
    true_files = _references(references, section)
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


def _references(references: Path, section: str) -> dict[str, Path]:
    if references.suffix == ".json":
        found = {case["id"]: Path(case["label"]) for case in load_cases(references, section) if case.get("label")}
        if not found:
            raise CaseError(f"{references}: no case of the section {section!r} has a label to score against.")
        return found
    found = {case_id(references): references} if references.is_file() else _label_maps(references)
    if not found:
        raise CaseError(f"{references}: this folder holds no label maps (.nii or .nii.gz) to score against.")
    return found


def _label_maps(folder: Path) -> dict[str, Path]:
    found = {}
    for path in sorted(folder.iterdir()):
        if not is_scan(path):
            continue
        case = case_id(path)
        if case in found:
            raise CaseError(f"{path}: case {case} has a second file {found[case].name}; keep one label map a case.")
        found[case] = path
    return found


def annotated_classes(
    cases: Iterable[str], annotated: str | None, references: Path, section: str = "testing"
) -> dict[str, tuple[int, ...]]:
    """Ids of the classes that somebody looked for in each case.

    Parameters
    ----------
    cases : ids.
    annotated : classes of all cases, names or ids separated by commas; or a datalist (.json), whose entries tell by
        their ``annotated_classes``; None takes ``references``, if that is a datalist.
    references, section : as in `find_pairs`.

    Returns
    -------
    All 14 of a case whose entry does not tell, or where there is no datalist.

    Raises
    ------
    CaseError
        If a class is unknown, or the datalist that ``annotated`` names lacks a case.
    """
    cases = list(cases)
    if annotated is not None and not annotated.endswith(".json"):
        return dict.fromkeys(cases, tuple(class_ids(annotated)))
    source = Path(annotated) if annotated is not None else references
    if source.suffix != ".json":
        return dict.fromkeys(cases, CLASS_IDS)
    entries: Mapping[str, dict] = {entry["id"]: entry for entry in load_cases(source, section)}
    if missing := [case for case in cases if case not in entries]:
        raise CaseError(
            f"{source}: the section {section!r} has no case {_some(missing)}, whose classes it should tell."
        )
    return {case: tuple(entries[case].get("annotated_classes", CLASS_IDS)) for case in cases}


def class_ids(classes: str | None) -> list[int]:
    """Ids of classes named or numbered, separated by commas; all 14 of None. CaseError for an unknown one."""
    ids = {NAMES[class_id]: class_id for class_id in CLASS_IDS}
    names = split_names(classes)
    for name in names or ():
        if name not in ids and name not in map(str, CLASS_IDS):
            raise CaseError(f"Unknown class {name!r}. Use an id from 1 to 14 or one of {', '.join(ids)}.")
    return list(CLASS_IDS) if names is None else [ids[name] if name in ids else int(name) for name in names]


def split_names(text: str | None) -> list[str] | None:
    """Names separated by commas; None of None."""
    return None if text is None else [name.strip() for name in text.split(",")]


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
