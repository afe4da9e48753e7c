"""BTCV abdomen: Training/img/img0001.nii.gz with Training/label/label0001.nii.gz, and Testing/img."""

import re
from pathlib import Path

from abdoseg.datasets import LabelConvention
from tools.layouts.common import known_convention, pair, volumes_in, with_convention

LOOKED_FOR = "Training/img/img0001.nii.gz and Training/label/label0001.nii.gz"
NAME = re.compile(r"(?:img|label)(\d{4})\.nii(?:\.gz)?")


def matches(root: Path) -> bool:
    """Whether the folders are there, in RawData or without it."""
    return (_base(root) / "Training" / "img").is_dir()


def find(root: Path, convention: LabelConvention | None) -> tuple[list[dict], list[dict]]:
    """Pair images with labels by their numbers, which are the ids."""
    excluded: list[dict] = []
    candidates = []
    for section, part in (("training", "Training"), ("testing", "Testing")):
        images, labels = (_numbered(_base(root) / part / kind) for kind in ("img", "label"))
        candidates += pair(section, images, labels, excluded)
    return with_convention(candidates, convention or known_convention("btcv")), excluded


def _base(root: Path) -> Path:
    return root / "RawData" if (root / "RawData").is_dir() else root


def _numbered(folder: Path) -> dict[str, Path]:
    named = [(path, NAME.fullmatch(path.name)) for path in (volumes_in(folder) if folder.is_dir() else [])]
    return {name[1]: path for path, name in named if name}
