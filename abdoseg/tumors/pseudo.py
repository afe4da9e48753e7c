"""Which pseudo tumors are good enough to train on: large enough, and in the organ that they were looked for in."""

from dataclasses import dataclass

import numpy as np

from abdoseg.labels import NAMES
from abdoseg.transforms.roi import foreground_box
from abdoseg.tumors.hosts import NO_HOST, REST, family_organs, host_in_box


@dataclass(frozen=True)
class PseudoTumorRules:
    """When a pseudo tumor is rejected.

    Parameters
    ----------
    min_voxels : fewer tumor voxels than this in the crop are too few; 2048 in paper B's script (papers-spec.md 3.4).
    """

    min_voxels: int = 2048


def reject_pseudo_tumor(
    tumor: np.ndarray, organs: np.ndarray, family: str, rules: PseudoTumorRules = PseudoTumorRules()
) -> str | None:
    """Say why a crop's pseudo tumor should not be trained on (papers-spec.md 3.4).

    Paper B's script is for the liver alone: the tumor must be large enough, and the organ with most voxels in its
    bounding box must be the liver. Here it must be one of the family's. For `REST`, whose crop is the whole abdomen and
    whose box the liver would nearly always win, the size alone counts.

    Parameters
    ----------
    tumor : (x, y, z), non-zero where a tumor is predicted.
    organs : (x, y, z) uint8 labels of the organs, 0..14, of the same crop; class 14 counts for no organ.
    family : a key of `FAMILIES`, or `REST`.
    rules : when it is too small.

    Returns
    -------
    The reason in a few words; None for a tumor to keep.

    Raises
    ------
    ValueError
        If the shapes differ or the family is unknown.
    """
    wanted = family_organs(family)
    if tumor.shape != organs.shape:
        raise ValueError(f"The tumor has the shape {tumor.shape}, the organs {organs.shape}; they must agree.")
    tumor = np.asarray(tumor) != 0
    box = foreground_box(tumor)
    if box is None:
        return "no tumor was found"
    voxels = int(np.count_nonzero(tumor[box]))
    if voxels < rules.min_voxels:
        return f"the tumor has {voxels} voxels, fewer than {rules.min_voxels}"
    if family == REST:
        return None
    host = host_in_box(organs, box)
    if host == NO_HOST:
        return "no organ lies in or next to the tumor's box"
    if host not in wanted:
        return f"most of the tumor's box is {NAMES[host]}, not {' or '.join(NAMES[organ] for organ in wanted)}"
    return None
