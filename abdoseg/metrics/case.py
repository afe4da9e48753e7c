"""Scores of one case by class name, from label maps in any orientation."""

from collections.abc import Iterable

import nibabel as nib
import numpy as np

from abdoseg.labels import CLASS_IDS, NAMES
from abdoseg.metrics.flare import case_presence, flare_scores


def score_label_maps(
    prediction: np.ndarray, reference: np.ndarray, affine: np.ndarray, classes: Iterable[int] = CLASS_IDS
) -> dict[str, dict]:
    """Score a label map by the official FLARE23 rules; both maps are turned to RAS first.

    Parameters
    ----------
    prediction, reference : integer label maps of the same shape, stored in any orientation.
    affine : (4, 4), voxel to world in mm, of both.
    classes : ids to score.

    Returns
    -------
    ``{class name: {"dsc": float, "nsd": float, "present": bool}}``; ``present``: the reference contains the class.

    Raises
    ------
    ValueError
        See `flare_scores`.
    """
    reference, spacing = to_ras(reference, affine)
    prediction, _ = to_ras(prediction, affine)
    present = case_presence(reference)
    return {
        NAMES[class_id]: {**score, "present": class_id in present}
        for class_id, score in flare_scores(prediction, reference, spacing, classes).items()
    }


def to_ras(volume: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Turn a volume of any orientation to (x, y, z) RAS; also gives its voxel size in mm along (x, y, z)."""
    turn = nib.io_orientation(affine)
    turned = np.asarray(affine) @ nib.orientations.inv_ornt_aff(turn, volume.shape)
    sizes = tuple(float(size) for size in nib.affines.voxel_sizes(turned))
    return nib.orientations.apply_orientation(volume, turn), sizes
