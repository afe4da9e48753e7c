"""BTCV abdomen: Training/img/img0001.nii.gz with Training/label/label0001.nii.gz, and Testing/img."""

import re
from pathlib import Path

from abdoseg.datasets import LabelConvention
from tools.layouts.common import files_by_id, known_convention, named_files, pair, with_convention

LOOKED_FOR = "Training/img/img0001.nii.gz and Training/label/label0001.nii.gz"
NAME = re.compile(r"(?:img|label)(\d{4})\.nii(?:\.gz)?")
PARTS = (("img", "image"), ("label", "label"))


def matches(root: Path) -> bool:
    """Whether the folders are there, in RawData or without it."""
    return (_base(root) / "Training" / "img").is_dir()


def find(root: Path, convention: LabelConvention | None) -> tuple[list[dict], list[dict]]:
    """Pair images with labels by their numbers, which are the ids."""
    excluded: list[dict] = []
    candidates = []
    for section, part in (("training", "Training"), ("testing", "Testing")):
        folder = _base(root) / part
        images, labels = (_numbered(folder / name, key, excluded) for name, key in PARTS)
        candidates += pair(section, images, labels, excluded)
    return with_convention(candidates, convention or known_convention("btcv")), excluded


def _base(root: Path) -> Path:
    return root / "RawData" if (root / "RawData").is_dir() else root


def _numbered(folder: Path, key: str, excluded: list[dict]) -> dict[str, Path]:
    paths = [path for path, _ in named_files(folder, NAME, f"{folder.name}0001.nii.gz", key, excluded)]
    return files_by_id(paths, key, excluded, lambda path: NAME.fullmatch(path.name)[1])
