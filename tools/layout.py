"""The FLARE23 folder layout: which file is which case's image, label or truth."""

import re
from pathlib import Path

from abdoseg.datalist import case_id
from abdoseg.files import CaseError

# Folder names of the FLARE releases; a name in these patterns may hold chunk folders such as 1-500.
FOLDERS = {
    "training": re.compile(r"imagesTr.*|\d+-\d+", re.IGNORECASE),
    "labels": re.compile(r"labelsTr.*|\d+-fix", re.IGNORECASE),
    "unlabeled": re.compile(r"unlabell?(ed)?Tr.*", re.IGNORECASE),
    "testing": re.compile(r"validation|images(Ts|Val).*", re.IGNORECASE),
    "truth": re.compile(r"truth|labels(Ts|Val).*", re.IGNORECASE),
}
ENDINGS = (".nii.gz", ".nii")


def find_cases(data_dir: Path) -> tuple[list[dict], list[dict]]:
    """Pair images with labels by their ids.

    Returns
    -------
    candidates : entries ``{"id", "section", "image", ["label"]}`` in the order of their ids, not read yet.
    excluded : entries ``{"id", "image" or "label", "reason"}`` for what has no partner or stands twice.

    Raises
    ------
    CaseError
        If the folder or the training images or labels in it are missing.
    """
    if not data_dir.is_dir():
        raise CaseError(f"{data_dir}: there is no such folder; name one in the FLARE23 layout.")
    excluded: list[dict] = []
    files = {part: _files_by_id(data_dir, part, excluded) for part in FOLDERS}
    for part, what, example in (
        ("training", "training images", "imagesTr2200/ID_0000.nii.gz"),
        ("labels", "labels", "labelsTr2200/ID.nii.gz"),
    ):
        if not files[part]:
            raise CaseError(
                f"{data_dir}: no {what} found; looked for files like {example} (any number after Tr, or .nii)."
            )
    candidates, seen = [], set()
    for section, labels in (("training", files["labels"]), ("unlabeled", {}), ("testing", files["truth"])):
        for name, image in sorted(files[section].items()):
            entry = {"id": name, "section": section, "image": str(image)}
            if name in seen:
                reason = f"{image}: another image has the id {name} already; ids are unique in a data set."
                excluded.append({"id": name, "image": str(image), "reason": reason})
            elif section == "training" and name not in labels:
                reason = (
                    f"{image}: has no label; put {name}.nii.gz beside the other labels or the image into unlabelTr1800."
                )
                excluded.append({"id": name, "image": str(image), "reason": reason})
            else:
                candidates.append({**entry, "label": str(labels[name])} if name in labels else entry)
            seen.add(name)
    for name, label in sorted(files["labels"].items()):
        if name not in files["training"]:
            reason = f"{label}: has no image; put {name}_0000.nii.gz into the folder of training images."
            excluded.append({"id": name, "label": str(label), "reason": reason})
    return candidates, excluded


def _files_by_id(data_dir: Path, part: str, excluded: list[dict]) -> dict[str, Path]:
    """Map ids to files; a corrected file (in a folder that ends in -fix) takes the place of the older one."""
    found: dict[str, Path] = {}
    for folder in sorted(path for path in data_dir.iterdir() if path.is_dir() and FOLDERS[part].fullmatch(path.name)):
        for path in sorted(path for path in folder.rglob("*") if path.name.endswith(ENDINGS) and path.name[0] != "."):
            other = found.setdefault(case_id(path), path)
            if other == path:
                continue
            if _is_fix(path, data_dir) == _is_fix(other, data_dir):
                reason = (
                    f"{path}: a second file for the case of {other}; keep one, or put corrections into a folder X-fix."
                )
                key = "label" if part in ("labels", "truth") else "image"
                excluded.append({"id": case_id(path), key: str(path), "reason": reason})
            elif _is_fix(path, data_dir):
                found[case_id(path)] = path
    return found


def _is_fix(path: Path, data_dir: Path) -> bool:
    return any(folder.endswith("-fix") for folder in path.relative_to(data_dir).parts[:-1])
