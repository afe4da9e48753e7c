"""Where a window is worth a look: the body, or the neighborhood of an organ, as coarse cells over a volume."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import binary_dilation, binary_fill_holes

from abdoseg.transforms.resample import nearest_index
from abdoseg.transforms.roi import Box, foreground_box
from abdoseg.tumors.components import connected_foci

# (x, y, z) bool over a volume or a resampled one: the cells' outer edges are the volume's.
Region = np.ndarray
CELL_MM = 8.0
# Between lung or foam (-800) and fat (-100); the lungs are filled.
AIR_HU = -500.0
# Of the largest connected piece: a table, an arm or a leg apart from the trunk stays, a wire does not.
SMALLEST_PIECE = 0.1


def body_region(volume: torch.Tensor, spacing: Sequence[float]) -> Region | None:
    """Find the body in a scan, coarsely and generously.

    One voxel a cell is looked at. Cells above `AIR_HU` that hang together are body, what they enclose in a transverse
    plane (lungs, gas) too, and one more cell all around.

    Parameters
    ----------
    volume : (1, x, y, z), HU, RAS.
    spacing : (3,) mm.

    Returns
    -------
    (x, y, z) bool on the processor; None where nothing is above `AIR_HU`, as in a scan that is not in HU.
    """
    cells = volume[0]
    for axis, count in enumerate(_cells(volume.shape[1:], spacing)):
        cells = cells.index_select(axis, nearest_index(cells.shape[axis], count, cells.device))
    dense = (cells > AIR_HU).cpu().numpy()
    pieces, count = connected_foci(dense)
    if not count:
        return None
    voxels = np.bincount(pieces.ravel(), minlength=count + 1)
    voxels[0] = 0
    body = (voxels >= SMALLEST_PIECE * voxels.max())[pieces]
    for index in range(body.shape[2]):
        body[..., index] = binary_fill_holes(body[..., index])
    return binary_dilation(body, np.ones((3, 3, 3)))


def region_near(mask: np.ndarray, spacing: Sequence[float], margin_mm: Sequence[float]) -> Region | None:
    """Give the cells within a margin of a mask.

    Parameters
    ----------
    mask : (x, y, z) bool.
    spacing : (3,) mm.
    margin_mm : (3,) mm on either side, rounded up to whole cells.

    Returns
    -------
    (x, y, z) bool; None where the mask is empty.
    """
    cells = mask
    counts = _cells(mask.shape, spacing)
    for axis, count in enumerate(counts):
        edges = np.arange(count) * mask.shape[axis] // count
        cells = np.logical_or.reduceat(cells, edges, axis=axis)
    if not cells.any():
        return None
    edges_mm = np.asarray(mask.shape) * np.asarray(spacing, dtype=float) / counts
    for axis, reach in enumerate(np.ceil(np.asarray(margin_mm) / edges_mm).astype(int)):
        line = np.ones([2 * reach + 1 if other == axis else 1 for other in range(3)])
        cells = binary_dilation(cells, line)
    return cells


def _cells(shape: Sequence[int], spacing: Sequence[float]) -> list[int]:
    """Give how many cells of about `CELL_MM` a volume has along each axis, no more than it has voxels."""
    return [max(1, min(n, round(n * float(step) / CELL_MM))) for n, step in zip(shape, spacing, strict=True)]


def frame_of(region: Region, shape: Sequence[int], size: Sequence[int]) -> Box:
    """Give the box of voxels of a volume of ``shape`` that holds a region, and a window of ``size`` where it fits."""
    frame = []
    for side, count, n, edge in zip(foreground_box(region), region.shape, shape, size, strict=True):
        start, stop = side.start * n // count, math.ceil(side.stop * n / count)
        length = min(max(stop - start, edge), n)
        start = min(max(start - (length - (stop - start)) // 2, 0), n - length)
        frame.append(slice(start, start + length))
    return tuple(frame)


def placed(corner: Sequence[int], size: Sequence[int]) -> Box:
    """Give the box of ``size`` that begins at ``corner``."""
    return tuple(slice(start, start + edge) for start, edge in zip(corner, size, strict=True))


def region_holds(region: Region, box: Box, shape: Sequence[int]) -> bool:
    """Tell whether a region over a volume of ``shape`` has a cell in a box of its voxels, which may reach beyond it."""
    cells = tuple(
        slice(max(side.start, 0) * count // n, math.ceil(min(side.stop, n) * count / n))
        for side, count, n in zip(box, region.shape, shape, strict=True)
    )
    return bool(region[cells].any())
