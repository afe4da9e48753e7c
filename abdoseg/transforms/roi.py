"""Boxes around foreground: find, widen by a margin in mm, and map from the coarse grid to the scan's own."""

import math

import numpy as np
import torch

Box = tuple[slice, slice, slice]


def foreground_box(mask) -> Box | None:
    """Give the smallest box that holds every non-zero voxel.

    Parameters
    ----------
    mask : (x, y, z) tensor or array; zero is background.

    Returns
    -------
    Three slices (x, y, z) of voxel indices, ``stop`` exclusive (paper A takes the inclusive maximum for it and loses a
    voxel, papers-spec.md 2.7), or None where the mask is empty.
    """
    mask = torch.as_tensor(mask).as_subclass(torch.Tensor) != 0
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        hits = mask.any(dim=others).nonzero()
        if not len(hits):
            return None
        box.append(slice(int(hits[0]), int(hits[-1]) + 1))
    return tuple(box)


def whole_box(shape) -> Box:
    """Give the box of all voxels of a volume of ``shape`` (x, y, z)."""
    return tuple(slice(0, int(n)) for n in shape)


def expand_box(box: Box, margin_mm: float, spacing, shape) -> Box:
    """Widen a box on each of its six sides by ``margin_mm``, in whole voxels rounded down, within ``shape`` (x, y, z).

    Parameters
    ----------
    box : three slices of voxel indices.
    margin_mm : 20 mm in paper A, in training and in inference.
    spacing : (3,) mm.
    shape : (x, y, z) of the volume.
    """
    expanded = []
    for side, step, n in zip(box, spacing, shape, strict=True):
        # An affine in float32 turns 20 mm / 0.8 mm into 24.999999 voxels; the small term keeps it at 25.
        margin = math.floor(margin_mm / float(step) + 1e-3)
        expanded.append(slice(max(side.start - margin, 0), min(side.stop + margin, int(n))))
    return tuple(expanded)


def box_on_source(box: Box, size, shape) -> Box:
    """Map a box on a grid of ``size`` voxels back to the grid of ``shape`` that was resized to it with aligned corners.

    The centers of voxel i and of i * (shape - 1) / (size - 1) coincide. The result holds every source voxel that
    touches the outer faces of the box's voxels, so that nothing is truncated.
    """
    mapped = []
    for side, m, n in zip(box, size, shape, strict=True):
        if m == 1:
            mapped.append(slice(0, int(n)))
            continue
        ratio = (n - 1) / (m - 1)
        start = math.floor((side.start - 0.5) * ratio)
        stop = math.ceil((side.stop - 0.5) * ratio) + 1
        mapped.append(slice(max(start, 0), min(stop, int(n))))
    return tuple(mapped)


def box_extent_mm(box: Box, spacing) -> np.ndarray:
    """Give the (3,) edge lengths of a box in mm along (x, y, z)."""
    return np.array([side.stop - side.start for side in box]) * np.asarray(spacing, dtype=float)
