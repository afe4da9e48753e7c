"""A small patient of blocks, whose every measure is known: 48 x 40 x 44 voxels of 4 mm."""

import numpy as np

from abdoseg.synthesis import Anatomy, make_anatomy
from abdoseg.synthesis.tissues import BONE, FAT, LIVER, LUNG, SPLEEN, STOMACH

SPACING = 4.0
# Tissue -> box in voxels, first and last plus one along x, y, z. Right is where x is large.
BLOCKS = {
    LIVER: ((28, 40), (12, 28), (20, 34)),
    SPLEEN: ((8, 16), (10, 20), (22, 32)),
    2: ((27, 33), (5, 10), (8, 18)),
    13: ((13, 19), (5, 10), (8, 18)),
    STOMACH: ((16, 25), (18, 30), (22, 32)),
    9: ((30, 34), (24, 28), (16, 20)),
    BONE: ((20, 26), (4, 10), (0, 44)),
    LUNG: ((8, 40), (10, 28), (36, 42)),
}


def block_tissues() -> np.ndarray:
    """Tissue map: the blocks in fat, two voxels of air at the sides."""
    tissues = np.zeros((48, 40, 44), np.uint8)
    tissues[2:-2, 2:-2] = FAT
    for tissue, box in BLOCKS.items():
        tissues[tuple(slice(*side) for side in box)] = tissue
    return tissues


def block_patient() -> Anatomy:
    """The same as an anatomy."""
    return make_anatomy(block_tissues(), SPACING)


def middle_of(mask: np.ndarray) -> np.ndarray:
    """Mean voxel index (x, y, z) of a mask."""
    return np.argwhere(mask).mean(0)
