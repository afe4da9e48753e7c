"""nnU-Net's resampling: splines in three dimensions, or slice by slice where the voxels are much thicker than wide."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from scipy.ndimage import zoom
from torch import Tensor

from abdoseg.transforms.logit_planes import LogitPlanes
from abdoseg.transforms.resample import nearest_index, restore_labels

ANISOTROPY = 3.0
# That are float32 at a time.
PART_VOXELS = 1 << 23


def resampled_shape(shape: Sequence[int], spacing: Sequence[float], target: Sequence[float]) -> tuple[int, ...]:
    """Give the shape of a volume at the ``target`` spacing, rounded as nnU-Net rounds; at least 1."""
    sizes = zip(spacing, target, shape, strict=True)
    return tuple(max(1, round(float(old) / float(new) * count)) for old, new, count in sizes)


def separate_axis(spacing: Sequence[float], target: Sequence[float], settings: Mapping) -> int | None:
    """Give the axis along which nnU-Net resamples apart from the other two, or None.

    Parameters
    ----------
    spacing, target : (3,) mm, of the volume and of the wanted grid.
    settings : of the plans: ``force_separate_z`` (None: where the longest edge of a voxel of either grid is more than
        three times the shortest) and, where plans have it, ``separate_z_anisotropy_threshold``.
    """
    force = settings.get("force_separate_z")
    limit = settings.get("separate_z_anisotropy_threshold", ANISOTROPY)
    if force is None:
        grids = [grid for grid in (spacing, target) if max(grid) / min(grid) > limit]
    else:
        grids = [spacing] if force else []
    if not grids:
        return None
    longest = [axis for axis, edge in enumerate(grids[0]) if edge == max(grids[0])]
    return longest[0] if len(longest) == 1 else None


def axis_operator(source: int, target: int, order: int) -> np.ndarray:
    """Give the (target, source) matrix that resamples a line of voxels, outer edges aligned, as scipy's ``zoom`` does.

    Splines are linear in the voxels and separable, so that three small matrices resample a volume: the same numbers as
    ``zoom`` on the volume, many times faster, and on the GPU too.
    """
    if source == 1:
        return np.ones((target, 1))
    if order == 0:
        return np.eye(source)[nearest_index(source, target).numpy()]
    return zoom(np.eye(source), (target / source, 1), order=order, mode="nearest", grid_mode=True)


def resample_image(
    volume: Tensor,
    spacing: Sequence[float],
    target: Sequence[float],
    settings: Mapping,
    before: Callable[[Tensor], Tensor] = Tensor.float,
) -> Tensor:
    """Resample an image to the ``target`` spacing, as nnU-Net does before its network.

    Some planes at a time, so that a scan stays as small as its file stores it.

    Parameters
    ----------
    volume : (1, x, y, z), any real type.
    spacing, target : (3,) mm.
    settings : of the plans' ``resampling_fn_data``: ``order`` of the spline (3), ``order_z`` (0) of the axis that
        `separate_axis` finds.
    before : changes the intensities, voxel by voxel, and gives float32.

    Returns
    -------
    (1, x, y, z) float32 on the device of ``volume``; no voxel is brighter or darker than the volume (where one axis is
    apart: than its slice) was before.
    """
    shape, size = tuple(volume.shape[1:]), resampled_shape(volume.shape[1:], spacing, target)
    if shape == size:
        return before(volume)
    apart = separate_axis(spacing, target, settings)
    # What shrinks most goes first, so that the others have less to do.
    axes = sorted((axis for axis in range(3) if axis != apart), key=lambda axis: size[axis] / shape[axis])
    through = axes.pop() if apart is None else apart
    within = [axis + 1 for axis in range(3) if axis != through]
    parts, lowest, highest = [], [], []
    for part in volume.split(max(1, PART_VOXELS * shape[through] // volume.numel()), dim=through + 1):
        part = before(part)
        lowest.append(part.amin(within, keepdim=True))
        highest.append(part.amax(within, keepdim=True))
        for axis in axes:
            part = _apply(part, axis, size[axis], settings["order"])
        parts.append(part if apart is None else torch.minimum(torch.maximum(part, lowest[-1]), highest[-1]))
    together = torch.cat(parts, dim=through + 1)
    if apart is not None:
        return _apply(together, apart, size[apart], settings["order_z"])
    limits = torch.cat(lowest, through + 1).min(), torch.cat(highest, through + 1).max()
    return _apply(together, through, size[through], settings["order"]).clamp(*limits)


def _apply(volume: Tensor, axis: int, size: int, order: int) -> Tensor:
    source = volume.shape[axis + 1]
    if source == size:
        return volume
    operator = torch.from_numpy(axis_operator(source, size, order)).to(volume)
    return torch.tensordot(operator, volume, dims=([1], [axis + 1])).movedim(0, axis + 1)


def labels_at(
    logits: Tensor | LogitPlanes,
    shape: Sequence[int],
    spacing: Sequence[float],
    target: Sequence[float],
    settings: Mapping,
) -> Tensor:
    """Interpolate logits to the grid of the volume and take the arg-max, as nnU-Net does after its network.

    Parameters
    ----------
    logits : (C, x, y, z), C <= 256, at the ``target`` spacing.
    shape, spacing : of the volume, voxels and mm.
    target : (3,) mm.
    settings : of the plans' ``resampling_fn_probabilities``: ``order`` must be 1.

    Returns
    -------
    (x, y, z) uint8 channel numbers.
    """
    apart = separate_axis(target, spacing, settings)
    nearest = {apart} if apart is not None and settings["order_z"] == 0 else set()
    return restore_labels(logits, shape, align_corners=False, nearest_axes=nearest)
