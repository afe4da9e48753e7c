"""Resizing of images, label maps and logits; from logits to labels slab by slab, without a full-size float array."""

from collections.abc import Collection

import torch
import torch.nn.functional as F  # noqa: N812

SLAB_BYTES = {"cpu": 1 << 20, "cuda": 1 << 28}
RESIZE_MODES = ("trilinear", "area")


def check_resize_mode(mode: str) -> str:
    """Give ``mode`` back, or raise a ValueError that names the allowed ones."""
    if mode not in RESIZE_MODES:
        raise ValueError(f"Unknown resize mode '{mode}'. Use one of {', '.join(map(repr, RESIZE_MODES))}.")
    return mode


def resize_volume(volume: torch.Tensor, size, align_corners: bool = True, mode: str = "trilinear") -> torch.Tensor:
    """Resize an image: trilinearly, without anti-aliasing, as paper A does before both of its networks, or by area.

    Not for label maps, whose ids would be averaged (paper B's code does that): see `resize_labels`. MONAI's
    ``Resized`` would do the same with bookkeeping for an inverse that the inferers never ask for.

    Parameters
    ----------
    volume : (C, x, y, z) or (B, C, x, y, z), any real type; integers become float32.
    size : target (x, y, z) in voxels.
    align_corners : True: the outermost voxel centers coincide (paper A); False: the outer edges do (nnU-Net).
    mode : "trilinear" (papers-spec.md 2.7), or "area" as in paper B (3.7): each voxel is the plain mean of the source
        voxels that it touches, outer edges aligned whatever ``align_corners`` says; where a side grows by a whole
        factor that is the nearest neighbor.

    Returns
    -------
    Plain tensor of ``size`` on the same device.

    Raises
    ------
    ValueError
        For an unknown mode.
    """
    check_resize_mode(mode)
    volume = torch.as_tensor(volume).as_subclass(torch.Tensor)
    if not volume.is_floating_point():
        volume = volume.float()
    batch = volume if volume.ndim == 5 else volume[None]
    size = tuple(int(n) for n in size)
    resized = F.interpolate(batch, size=size, mode=mode, align_corners=None if mode == "area" else align_corners)
    return resized if volume.ndim == 5 else resized[0]


def linear_taps(source: int, target: int, align_corners: bool, device=None):
    """Give, for each of ``target`` positions on a line of ``source`` voxels, the two neighbors and the upper's weight.

    Returns
    -------
    (lower, upper, weight) : int64, int64 and float32 tensors of length ``target``; value = lower + weight * (upper -
    lower), the rule of ``torch.nn.functional.interpolate``.
    """
    index = torch.arange(target, dtype=torch.float64, device=device)
    if align_corners:
        position = index * ((source - 1) / (target - 1) if target > 1 else 0.0)
    else:
        position = ((index + 0.5) * (source / target) - 0.5).clamp(min=0)
    lower = position.floor().long().clamp(max=source - 1)
    upper = (lower + 1).clamp(max=source - 1)
    return lower, upper, (position - lower).clamp(0, 1).float()


def resize_labels(labels: torch.Tensor, size, align_corners: bool = True) -> torch.Tensor:
    """Resize a label map class by class: a voxel takes the class whose 0/1 mask, resized linearly, exceeds 0.5.

    This is paper A's rule (papers-spec.md 2.2). The weights of the eight neighbors add up to 1, so that no two classes
    can exceed 0.5 and the paper's "the higher id overwrites" never comes into play; where none does, the voxel becomes
    background. Ids themselves are never interpolated. MONAI has no such mode. Only voxels whose eight neighbors differ
    are weighed, so memory does not grow with the number of classes.

    Parameters
    ----------
    labels : (1, x, y, z) or (x, y, z) integers in 0..255, in any type.
    size : target (x, y, z) in voxels.
    align_corners : as in `resize_volume`.

    Returns
    -------
    uint8 plain tensor of ``size``, with the leading axis if there was one.
    """
    labels = torch.as_tensor(labels).as_subclass(torch.Tensor).to(torch.uint8)
    grid = labels[0] if labels.ndim == 4 else labels
    taps = [linear_taps(n, int(m), align_corners, grid.device) for n, m in zip(grid.shape, size, strict=True)]
    corners, weights = [], []
    for corner in range(8):
        upper = [(corner >> axis) & 1 for axis in range(3)]
        x, y, z = (taps[axis][upper[axis]] for axis in range(3))
        corners.append(grid[x[:, None, None], y[None, :, None], z[None, None, :]])
        weights.append([taps[axis][2] if upper[axis] else 1 - taps[axis][2] for axis in range(3)])
    resized = corners[0].clone()
    differs = torch.zeros_like(resized, dtype=torch.bool)
    for corner in corners[1:]:
        differs |= corner != corners[0]
    ix, iy, iz = differs.nonzero(as_tuple=True)
    values = torch.stack([corner[ix, iy, iz] for corner in corners])
    shares = torch.stack([wx[ix] * wy[iy] * wz[iz] for wx, wy, wz in weights])
    mixed = torch.zeros(len(ix), dtype=torch.uint8, device=grid.device)
    for value in values.unique().tolist():
        mixed[(shares * (values == value)).sum(0) > 0.5] = value
    resized[ix, iy, iz] = mixed
    return resized[None] if labels.ndim == 4 else resized


def nearest_index(source: int, target: int, device=None) -> torch.Tensor:
    """Give, for each of ``target`` voxels on a line of ``source`` voxels with the same outer edges, the nearest."""
    position = (torch.arange(target, dtype=torch.float64, device=device) + 0.5) * (source / target) - 0.5
    return (position.clamp(0, source - 1) + 0.5).floor().long()


def restore_labels(
    logits: torch.Tensor, shape, align_corners: bool = True, nearest_axes: Collection[int] = ()
) -> torch.Tensor:
    """Interpolate logits trilinearly to ``shape`` and take the arg-max, slab by slab along x.

    Equal to full interpolation followed by arg-max but for ties within rounding; the largest float array is one slab of
    `SLAB_BYTES` (or one slice), where the full one takes 1.2 GB for 15 classes at 129x330x420.

    Parameters
    ----------
    logits : (C, x, y, z), channel number = class id, C <= 256; half precision is interpolated in float32.
    shape : target (x, y, z) in voxels.
    align_corners : how the logits' grid was made from ``shape``, see `resize_volume`.
    nearest_axes : axes (0, 1, 2) along which the nearest logits are taken, outer edges aligned; the others are linear.

    Returns
    -------
    (x, y, z) uint8 labels on the device of ``logits``.
    """
    if logits.ndim != 4 or logits.shape[0] > 256:
        raise ValueError(f"The logits have shape {tuple(logits.shape)}; they must be (C, x, y, z) with C <= 256.")
    shape = tuple(int(n) for n in shape)
    logits = logits.as_subclass(torch.Tensor)
    lower, upper, weight = linear_taps(logits.shape[1], shape[0], align_corners, logits.device)
    nearest = {axis: nearest_index(logits.shape[axis + 1], shape[axis], logits.device) for axis in nearest_axes}
    if 0 in nearest:
        lower = upper = nearest[0]
        weight = torch.zeros_like(weight)
    size = [logits.shape[axis + 1] if axis in nearest else shape[axis] for axis in (1, 2)]
    slice_bytes = 4 * logits.shape[0] * shape[1] * shape[2]
    slab = max(1, SLAB_BYTES.get(logits.device.type, 1 << 20) // slice_bytes)
    labels = torch.empty(shape, dtype=torch.uint8, device=logits.device)
    for start in range(0, shape[0], slab):
        part = slice(start, min(start + slab, shape[0]))
        below = logits[:, lower[part]].float()
        planes = torch.lerp(below, logits[:, upper[part]].float(), weight[part, None, None]).transpose(0, 1)
        planes = F.interpolate(planes, size=size, mode="bilinear", align_corners=align_corners)
        for axis in nearest.keys() - {0}:
            planes = planes.index_select(axis + 1, nearest[axis])
        labels[part] = best_channel(planes)
    return labels


def best_channel(planes: torch.Tensor) -> torch.Tensor:
    """Give the arg-max over the second axis of (n, C, y, z) as uint8, the lower channel at a tie.

    On a processor by a running maximum, whose passes are vectorized; ``argmax`` over an outer axis is not.
    """
    if planes.device.type != "cpu":
        return planes.argmax(dim=1).to(torch.uint8)
    best = planes[:, 0].clone()
    channel = torch.zeros(best.shape, dtype=torch.uint8)
    for index in range(1, planes.shape[1]):
        channel.masked_fill_(planes[:, index] > best, index)
        torch.maximum(best, planes[:, index], out=best)
    return channel
