"""Tissue maps of heads and necks: scans in which there is no organ to find."""

from collections.abc import Sequence

import numpy as np

from abdoseg.synthesis.tissues import BONE, FAT, MUSCLE, OTHER, OUTSIDE, TRACHEA, VESSEL

LOW_MM, HIGH_MM = (-110.0, -140.0, -200.0), (110.0, 140.0, 140.0)


def head_tissues(seed: int | Sequence[int], spacing: float = 2.5) -> tuple[np.ndarray, np.ndarray]:
    """Make the tissue map of a head and neck of simple shapes, without any organ.

    A network that has seen abdomens alone takes a brain for a spleen and the airways for bowel gas.

    Parameters
    ----------
    seed : whole number, or several; the same give the same map.
    spacing : mm along all axes.

    Returns
    -------
    tissues (x, y, z) uint8, RAS, ids of `abdoseg.synthesis.tissues`, air is trachea; affine (4, 4), voxel indices -> mm
    from the middle of the brain.
    """
    rng = np.random.default_rng(seed)
    grid = [np.arange(low, high, spacing, dtype=np.float32) for low, high in zip(LOW_MM, HIGH_MM, strict=True)]
    x, y, z = np.meshgrid(*grid, indexing="ij", sparse=True)
    tissues = np.full(tuple(len(axis) for axis in grid), OUTSIDE, np.uint8)

    def fill(tissue: int, center, radii, where=True) -> None:
        """Fill an ellipsoid; one that is endless along z has the radius inf."""
        distance = sum(((axis - c) / r) ** 2 for axis, c, r in zip((x, y, z), center, radii, strict=True))
        tissues[(distance <= 1) & where] = tissue

    head = np.array([rng.uniform(68, 82), rng.uniform(88, 104), rng.uniform(92, 112)])
    neck = np.array([rng.uniform(50, 64), rng.uniform(54, 68), np.inf])
    scalp, skull = rng.uniform(4, 8), rng.uniform(6, 10)
    below = z < -40
    for tissue, depth in ((FAT, 0.0), (MUSCLE, rng.uniform(4, 12))):
        fill(tissue, (0, -10, 0), neck - depth, below)
        fill(tissue, (0, 42, -72), np.array([58, 52, 62]) - depth)
    for tissue, depth in ((FAT, 0.0), (BONE, scalp), (OTHER, scalp + skull)):
        fill(tissue, (0, 0, 0), head - depth)
    fill(BONE, (0, 5, -0.72 * head[2]), (0.7 * head[0], 0.7 * head[1], 9))
    for side in (-1, 1):
        fill(FAT, (31 * side, 76, -30), (18, 18, 16))
        fill(OTHER, (32 * side, 80, -30), (12, 12, 12))
        fill(TRACHEA, (19 * side, 62, -54), rng.uniform(8, 15, 3))
        fill(TRACHEA, (54 * side, -16, -66), rng.uniform(5, 10, 3))
    fill(BONE, (0, 60, -84), (34, 26, 12))
    fill(BONE, (0, 46, -112), (44, 40, 11))
    fill(MUSCLE, (0, 40, -108), (33, 30, 18))
    fill(TRACHEA, (0, 74, -62), (7, 20, 20))
    fill(TRACHEA, (0, 14, -95), (10, 7, 28))
    fill(BONE, (0, -28, 0), (rng.uniform(17, 24), 18, np.inf), below)
    fill(OTHER, (0, -36, 0), (7, 7, np.inf), below)
    fill(TRACHEA, (0, 22, 0), (8, 9, np.inf), z < -120)
    for side in (-1, 1):
        fill(VESSEL, (26 * side, 6, 0), (4, 4, np.inf), below)
        fill(VESSEL, (33 * side, 0, 0), (*rng.uniform(4, 8, 2), np.inf), below)
    affine = np.diag([spacing] * 3 + [1.0])
    affine[:3, 3] = LOW_MM
    return tissues, affine
