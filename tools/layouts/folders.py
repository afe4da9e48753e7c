"""A plain pair of folders: images/ID.nii.gz or ID_0000.nii.gz, and labels/ID.nii.gz, in our label values."""

from pathlib import Path

from abdoseg.datasets import LabelConvention
from abdoseg.files import CaseError
from tools.layouts.common import files_by_id, pair, volumes_in, with_convention

LOOKED_FOR = "images/ID.nii.gz and labels/ID.nii.gz"


def matches(root: Path) -> bool:
    """Whether both folders are there."""
    return (root / "images").is_dir() and (root / "labels").is_dir()


def find(root: Path, convention: LabelConvention | None) -> tuple[list[dict], list[dict]]:
    """Pair the files of the two folders."""
    return find_pair(root / "images", root / "labels", convention)


def find_pair(
    image_dir: Path, label_dir: Path | None, convention: LabelConvention | None
) -> tuple[list[dict], list[dict]]:
    """Pair the files of two folders by id; without a folder of labels the scans are unlabeled."""
    for folder in (image_dir, label_dir):
        if folder and not folder.is_dir():
            raise CaseError(f"{folder}: there is no such folder of a data set.")
    excluded: list[dict] = []
    images = files_by_id(volumes_in(image_dir), "image", excluded)
    if label_dir is None:
        return pair("unlabeled", images, {}, excluded), excluded
    labels = files_by_id(volumes_in(label_dir), "label", excluded)
    return with_convention(pair("training", images, labels, excluded), convention), excluded
