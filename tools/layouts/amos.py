"""AMOS22: imagesTr/amos_0001.nii.gz with labelsTr, imagesVa with labelsVa, imagesTs; the MR scans are left out."""

import re
from pathlib import Path

from abdoseg.datasets import LabelConvention
from tools.layouts.common import files_by_id, known_convention, named_files, pair, with_convention

LOOKED_FOR = "imagesTr/amos_0001.nii.gz and labelsTr"
NAME = re.compile(r"amos_(\d{4})\.nii(\.gz)?")
HIGHEST_CT = 500  # the others, up to 600, are MR (readme of the data set)


def matches(root: Path) -> bool:
    """Whether scans have the data set's names."""
    folder = root / "imagesTr"
    return folder.is_dir() and any(NAME.fullmatch(path.name) for path in folder.iterdir())


def find(root: Path, convention: LabelConvention | None) -> tuple[list[dict], list[dict]]:
    """Pair images with labels; the data set's validation part and what it is tested on are for testing."""
    excluded: list[dict] = []
    candidates = []
    for section, part in (("training", "Tr"), ("testing", "Va"), ("testing", "Ts")):
        images, labels = (
            files_by_id(_ct(root / f"{kind}s{part}", kind, excluded), kind, excluded) for kind in ("image", "label")
        )
        candidates += pair(section, images, labels, excluded)
    return with_convention(candidates, convention or known_convention("amos")), excluded


def _ct(folder: Path, key: str, excluded: list[dict]) -> list[Path]:
    named = named_files(folder, NAME, "amos_0001.nii.gz", key, excluded)
    return [path for path, number in named if number <= HIGHEST_CT]
