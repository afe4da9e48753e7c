"""Tiny label maps in files, stored in any orientation, for the stages that work on whole data sets."""

from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (14, 10, 8)
AFFINE = np.array([[0.8, 0, 0, -30], [0, 0.8, 0, 12], [0, 0, 2.5, 700], [0, 0, 0, 1.0]])


def body() -> np.ndarray:
    """Give (x, y, z) uint8 in RAS: a liver, right kidney, stomach and left kidney, each with room around it."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:6, 5:10, 2:8] = 1
    labels[1:5, 0:4, 0:5] = 2
    labels[8:13, 5:10, 2:8] = 11
    labels[9:13, 0:4, 0:5] = 13
    return labels


def with_tumor(labels: np.ndarray, *boxes) -> np.ndarray:
    """Put boxes of tumor, each three slices or indices, on top of a label map."""
    labels = labels.copy()
    for box in boxes:
        labels[box] = 14
    return labels


def save(path: Path, labels: np.ndarray, axcodes: str = "RAS", affine: np.ndarray = AFFINE) -> str:
    """Write a label map given in RAS so that its axes point to ``axcodes``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(axcodes)))
    nib.save(nib.Nifti1Image(labels, affine).as_reoriented(turn), path)
    return str(path)


def load(path) -> np.ndarray:
    """Read a label map and turn it to RAS."""
    return np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj)
