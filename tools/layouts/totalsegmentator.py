"""TotalSegmentator: s0000/ct.nii.gz with one mask a structure in s0000/segmentations, and meta.csv with the split."""

import csv
from pathlib import Path

from abdoseg.datasets import LabelConvention
from abdoseg.files import CaseError
from tools.layouts.common import exclude, known_convention

LOOKED_FOR = "s0000/ct.nii.gz and s0000/segmentations/liver.nii.gz"
IMAGE, MASKS = "ct.nii.gz", "segmentations"


def matches(root: Path) -> bool:
    """Whether a folder in it holds masks of structures."""
    return any((path / MASKS).is_dir() for path in root.iterdir())


def find(root: Path, convention: LabelConvention | None) -> tuple[list[dict], list[dict]]:
    """Take the folders as ids; a class whose mask is missing in a case is not annotated there.

    Scans that meta.csv calls "test" are for testing, with their masks as truth; "train" and "val" are for training.
    """
    convention = convention or known_convention("totalsegmentator")
    if values := [source for source in convention.mapping if isinstance(source, int)]:
        raise CaseError(
            f"{root}: 'labels' names the value {values[0]}, but this layout has mask files; name their stems."
        )
    split = _split(root / "meta.csv")
    excluded: list[dict] = []
    candidates = []
    for folder in sorted(path for path in root.iterdir() if (path / MASKS).is_dir()):
        name, masks = folder.name, folder / MASKS
        present = [stem for stem in convention.mapping if (masks / f"{stem}.nii.gz").is_file()]
        if not (folder / IMAGE).is_file():
            exclude(excluded, name, "label", masks, f"has no image; put {IMAGE} beside it.")
        elif not present:
            exclude(
                excluded, name, "image", folder / IMAGE, f"has no mask of our classes in {MASKS}, such as liver.nii.gz."
            )
        else:
            section = "testing" if split.get(name) == "test" else "training"
            label = [str(masks / f"{stem}.nii.gz") for stem in present]
            entry = {"id": name, "section": section, "image": str(folder / IMAGE), "label": label}
            candidates.append({**entry, "source_labels": convention.for_masks(label)})
    candidates.sort(key=lambda case: case["section"] == "testing")
    return candidates, excluded


def _split(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    rows = list(csv.DictReader(lines, delimiter=";" if lines and ";" in lines[0] else ","))
    if rows and not {"image_id", "split"} <= set(rows[0]):
        raise CaseError(f"{path}: has no columns image_id and split; take the data set's own meta.csv, or delete it.")
    return {row["image_id"]: row["split"] for row in rows}
