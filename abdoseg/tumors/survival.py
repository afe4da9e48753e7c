"""Which predicted tumors survive beside their organ, and how survivors get into the label map."""

from dataclasses import dataclass

import numpy as np

from abdoseg.labels import TUMOR_ID
from abdoseg.transforms.roi import foreground_box
from abdoseg.tumors.components import connected_foci


@dataclass(frozen=True)
class SurvivalRules:
    """Which foci of a predicted tumor are kept; counts are voxels of the crop, as in paper B (papers-spec.md 3.6).

    Parameters
    ----------
    min_voxels : a prediction with fewer tumor voxels in all is dropped; 128 in paper B's code.
    min_overlap : a focus with fewer voxels in the organ is dropped; 32 in paper B's code.
    min_total_overlap : if the surviving foci have fewer voxels in the organ together, all are dropped; 80 in paper B's
        code.
    adjacency : also count voxels within one voxel (26-neighborhood) of the organ, so that a tumor that replaces its
        organ or grows out of it survives. False: voxels in the organ alone, as in paper B.
    max_fluid_share : a focus with a larger share of its voxels in blood or bile (``abdoseg.labels.FLUID_IDS``) is
        dropped, as a gallbladder or a vessel that was taken for a tumor; 1 drops none, as in paper B.
    """

    min_voxels: int = 128
    min_overlap: int = 32
    min_total_overlap: int = 80
    adjacency: bool = True
    max_fluid_share: float = 0.5


def surviving_tumor(
    tumor: np.ndarray,
    organ: np.ndarray,
    rules: SurvivalRules = SurvivalRules(),
    fluid: np.ndarray | None = None,
) -> np.ndarray:
    """Give the foci of a predicted tumor that the rules keep, whole.

    Parameters
    ----------
    tumor : (x, y, z), non-zero where a tumor is predicted.
    organ : (x, y, z), non-zero where the organ is; of the same crop. It may be empty: then only rules that ask for no
        overlap keep anything.
    rules : what to keep.
    fluid : (x, y, z), non-zero where blood and bile are; None: nowhere.

    Returns
    -------
    (x, y, z) bool, a subset of ``tumor``.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    for name, mask in (("organ", organ), ("fluid", fluid)):
        if mask is not None and tumor.shape != mask.shape:
            raise ValueError(f"The tumor has the shape {tumor.shape}, the {name} {mask.shape}; they must agree.")
    tumor = np.asarray(tumor) != 0
    kept = np.zeros(tumor.shape, dtype=bool)
    box = foreground_box(tumor)
    if box is None or np.count_nonzero(tumor[box]) < rules.min_voxels:
        return kept
    # One voxel more on each side: the organ may touch the tumor from outside the tumor's box.
    box = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
    tumor, organ = tumor[box], np.asarray(organ[box]) != 0
    if rules.adjacency:
        organ = widened_by_one(organ)
    components, count = connected_foci(tumor)
    overlap = np.bincount(components[organ], minlength=count + 1)
    survives = overlap >= rules.min_overlap
    if fluid is not None:
        in_fluid = np.bincount(components[np.asarray(fluid[box]) != 0], minlength=count + 1)
        survives &= in_fluid <= rules.max_fluid_share * np.bincount(components.ravel(), minlength=count + 1)
    survives[0] = False
    if overlap[survives].sum() >= rules.min_total_overlap:
        kept[box] = survives[components]
    return kept


def widened_by_one(mask: np.ndarray) -> np.ndarray:
    """Add to a bool mask (x, y, z) the 26 neighbors of each of its voxels, axis after axis."""
    for axis in range(mask.ndim):
        source = np.moveaxis(mask, axis, 0)
        wide = source.copy()
        wide[1:] |= source[:-1]
        wide[:-1] |= source[1:]
        mask = np.moveaxis(wide, 0, axis)
    return mask


def paste_tumor(labels: np.ndarray, tumor: np.ndarray) -> np.ndarray:
    """Put a tumor on top of a label map: whatever lay there becomes class 14.

    Parameters
    ----------
    labels : (x, y, z) uint8.
    tumor : (x, y, z), non-zero where the tumor is.

    Returns
    -------
    New (x, y, z) array.
    """
    return np.where(np.asarray(tumor) != 0, np.uint8(TUMOR_ID), labels)
