"""FLARE22 and FLARE23: imagesTr2200, labelsTr2200, unlabelTr1800, validation, truth, or FLARE22_LabeledCase50."""

import re
from pathlib import Path

from abdoseg.datalist import case_id
from abdoseg.datasets import LabelConvention
from abdoseg.files import CaseError
from tools.layouts.common import exclude, pair, volumes_in, with_convention

LOOKED_FOR = "imagesTr2200/ID_0000.nii.gz and labelsTr2200/ID.nii.gz, any number after Tr"
# Folders of the FLARE releases; one in these patterns may hold chunk folders such as 1-500.
FOLDERS = {
    "training": re.compile(r"imagesTr.*|\d+-\d+|FLARE22_LabeledCase\d*/images", re.IGNORECASE),
    "labels": re.compile(r"labelsTr.*|\d+-fix|FLARE22_LabeledCase\d*/labels", re.IGNORECASE),
    "unlabeled": re.compile(r"unlabell?(ed)?Tr.*|FLARE22_UnlabeledCase.*", re.IGNORECASE),
    "testing": re.compile(r"validation(set)?|images(Ts|Val).*", re.IGNORECASE),
    "truth": re.compile(r"truth|labels(Ts|Val).*", re.IGNORECASE),
}
NESTED = re.compile(r"training|FLARE22_LabeledCase\d*", re.IGNORECASE)


def matches(root: Path) -> bool:
    """Whether one of the releases' folders is there."""
    return any(_folders(root, part) for part in FOLDERS)


def find(root: Path, convention: LabelConvention | None) -> tuple[list[dict], list[dict]]:
    """Pair images with labels; a corrected label (in a folder that ends in -fix) takes the place of the older one."""
    excluded: list[dict] = []
    files = {part: _files_by_id(root, part, excluded) for part in FOLDERS}
    for part, what, example in (
        ("training", "training images", "imagesTr2200/ID_0000.nii.gz"),
        ("labels", "labels", "labelsTr2200/ID.nii.gz"),
    ):
        if not files[part]:
            raise CaseError(f"{root}: no {what} found; looked for files like {example} (any number after Tr, or .nii).")
    candidates: list[dict] = []
    for section, labels in (("training", files["labels"]), ("unlabeled", {}), ("testing", files["truth"])):
        candidates += pair(section, files[section], labels, excluded, " or the image into unlabelTr1800")
    return with_convention(candidates, convention), excluded


def _folders(root: Path, part: str) -> list[Path]:
    folders, outer = [], [(root, "")]
    while outer:
        folder, prefix = outer.pop()
        for path in (path for path in folder.iterdir() if path.is_dir()):
            if FOLDERS[part].fullmatch(prefix + path.name):
                folders.append(path)
            elif NESTED.fullmatch(path.name):
                outer.append((path, "" if path.name.lower() == "training" else f"{path.name}/"))
    return sorted(folders)


def _files_by_id(root: Path, part: str, excluded: list[dict]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in _folders(root, part):
        for path in volumes_in(folder):
            other = found.setdefault(case_id(path), path)
            if other == path:
                continue
            if _is_fix(path, root) == _is_fix(other, root):
                fault = f"a second file for the case of {other}; keep one, or put corrections into a folder X-fix."
                exclude(excluded, case_id(path), "label" if part in ("labels", "truth") else "image", path, fault)
            elif _is_fix(path, root):
                found[case_id(path)] = path
    return found


def _is_fix(path: Path, root: Path) -> bool:
    return any(folder.endswith("-fix") for folder in path.relative_to(root).parts[:-1])
