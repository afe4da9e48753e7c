"""Left and right of a pair of organs that a data set gives one value, told apart by their position."""

import cc3d
import numpy as np

# A component under this share of the largest one's voxels does not help to find the midline.
MAIN_SHARE = 0.1
# Kidneys lie 100 to 150 mm apart, adrenal glands 60 to 80 mm, from middle to middle; pieces of one organ lie nearer.
PAIR_GAP_MM = 40.0
# One component this wide, with this share of its voxels on either side of the midline, is both organs grown together: a
# kidney is 50 to 80 mm wide, a horseshoe kidney 150 mm and more.
FUSED_WIDTH_MM = 100.0
FUSED_SHARE = 0.2


def right_side(mask: np.ndarray, affine: np.ndarray, bridge: np.ndarray | None = None) -> np.ndarray:
    """Say which voxels of a paired organ are those of the person's right.

    Every connected piece goes to one side whole, by its middle. The midline lies half-way between the two organs; where
    there is one alone, at the middle of the grid, because nothing else tells. A piece that is both organs grown
    together (a horseshoe kidney) is cut at its own middle.

    Parameters
    ----------
    mask : (x, y, z) bool, both organs, in any orientation.
    affine : (4, 4) voxel to world, RAS mm: the right of the person has the greater x.
    bridge : (x, y, z) bool, what may join pieces of one organ: its tumors, which have a value of their own.

    Returns
    -------
    (x, y, z) bool, the part of ``mask`` on the right.
    """
    right = np.zeros(mask.shape, dtype=bool)
    voxels = np.argwhere(mask)
    if not len(voxels):
        return right
    box = tuple(slice(low, high + 1) for low, high in zip(voxels.min(axis=0), voxels.max(axis=0), strict=True))
    joined = mask[box] if bridge is None else mask[box] | bridge[box]
    pieces = cc3d.connected_components(np.ascontiguousarray(joined).view(np.uint8), connectivity=26)
    piece = pieces[mask[box]]
    x = voxels @ affine[0, :3] + affine[0, 3]
    count = np.bincount(piece)
    numbers = np.flatnonzero(count)
    middle = np.zeros(len(count))
    middle[numbers] = np.bincount(piece, weights=x)[numbers] / count[numbers]
    center = affine[0] @ [*((np.array(mask.shape) - 1) / 2), 1]
    main = numbers[count[numbers] >= MAIN_SHARE * count.max()]
    midline = _midline(np.sort(middle[main]), center)
    is_right = middle[piece] > midline
    for number in main:
        own = piece == number
        extent = x[own].min(), x[own].max()
        share = (x[own] > midline).mean()
        if extent[1] - extent[0] >= FUSED_WIDTH_MM and FUSED_SHARE <= share <= 1 - FUSED_SHARE:
            is_right[own] = x[own] > sum(extent) / 2
    right[tuple(voxels[is_right].T)] = True
    return right


def _midline(middles: np.ndarray, center: float) -> float:
    """Give the x between the organs: of the wide gaps between pieces the one nearest to the middle of the grid."""
    wide = np.flatnonzero(np.diff(middles) >= PAIR_GAP_MM)
    between = (middles[wide] + middles[wide + 1]) / 2
    return between[np.abs(between - center).argmin()] if len(between) else center
