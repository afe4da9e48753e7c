"""KiTS19, KiTS21 and KiTS23: case_00000/imaging.nii.gz with segmentation.nii.gz or aggregated_MAJ_seg.nii.gz."""

import re
from pathlib import Path

from abdoseg.datasets import LabelConvention
from tools.layouts.common import exclude, known_convention, with_convention

LOOKED_FOR = "case_00000/imaging.nii.gz and segmentation.nii.gz"
CASE = re.compile(r"case_\d{5}")
IMAGE = "imaging.nii.gz"
LABELS = ("segmentation.nii.gz", "aggregated_MAJ_seg.nii.gz")  # the second is KiTS21's


def matches(root: Path) -> bool:
    """Whether there are folders of cases, in the repository's folder of data or without it."""
    return bool(_cases(root))


def find(root: Path, convention: LabelConvention | None) -> tuple[list[dict], list[dict]]:
    """Take the folders as ids; scans without a segmentation are those that the data set tests on."""
    excluded: list[dict] = []
    candidates = []
    for folder in _cases(root):
        image = folder / IMAGE
        label = next((folder / name for name in LABELS if (folder / name).is_file()), None)
        if image.is_file():
            entry = {"id": folder.name, "section": "training" if label else "testing", "image": str(image)}
            candidates.append({**entry, "label": str(label)} if label else entry)
        elif label:
            exclude(
                excluded, folder.name, "label", label, f"has no image; put {IMAGE} beside it, as KiTS' own script does."
            )
    candidates.sort(key=lambda case: case["section"] == "testing")
    return with_convention(candidates, convention or known_convention("kits")), excluded


def _cases(root: Path) -> list[Path]:
    """Folders of cases: in the folder itself, in kits23's dataset or in kits19's and kits21's data."""
    for base in (root, root / "dataset", root / "data", root / "kits21" / "data"):
        found = sorted(path for path in base.glob("case_*") if path.is_dir() and CASE.fullmatch(path.name))
        if found:
            return found
    return []
