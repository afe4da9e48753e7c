"""A whole case as nnU-Net labels it: crop, spline, evenly spread Gaussian windows, and back; for imported plans."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from abdoseg.nnunet.resampling import labels_at, resample_image
from abdoseg.transforms.intensity import normalize_ct

# Key of a plan that tells how an imported network wants its scans, and what its channels mean.
IMPORTED = "imported"


def label_as_nnunet(volume: Tensor, spacing: Sequence[float], plan: Mapping, logits_of: Callable) -> Tensor:
    """Label a scan with an imported network, from crop to crop as nnU-Net does it.

    Parameters
    ----------
    volume : (1, x, y, z) in RAS, HU.
    spacing : (3,) mm.
    plan : with ``spacing``, ``normalization`` and, under ``imported``, ``orientation`` (of the scans that the network
        was trained on, as stored; for example "LAS"), ``resampling`` of ``image`` and ``logits``, and ``class_ids``
        (what each channel becomes).
    logits_of : takes the (1, x, y, z) normalized image at the plan's spacing and the part of the scan in HU that it was
        made of, and gives (C, x, y, z) logits or their planes, see ``abdoseg.inferers.windows.slide_windows``.

    Returns
    -------
    (x, y, z) uint8 labels on the device of ``volume``; 0 outside the box of the voxels that are not 0 HU, as nnU-Net
    leaves it.
    """
    recipe = plan[IMPORTED]
    spacing = tuple(float(edge) for edge in spacing)
    # The order of the axes is in the weights; their direction cannot be, where the network strides.
    reverse = [axis for axis, letter in enumerate("LPI") if letter in recipe["orientation"]]
    seen = volume.flip([axis + 1 for axis in reverse]) if reverse else volume
    box = nonzero_box(seen[0])
    inside = seen[(slice(None), *box)]
    settings = recipe["resampling"]["image"]
    normalize = partial(normalize_ct, normalization=plan["normalization"])
    image = resample_image(inside, spacing, plan["spacing"], settings, before=normalize)
    logits = logits_of(image, inside)
    shape = inside.shape[1:]
    channels = labels_at(logits, shape, spacing, plan["spacing"], recipe["resampling"]["logits"]).to(volume.device)
    labels = torch.zeros(seen.shape[1:], dtype=torch.uint8, device=volume.device)
    class_ids = torch.tensor(recipe["class_ids"], dtype=torch.uint8, device=volume.device)
    for plane, found in zip(labels[box].unbind(2), channels.unbind(2), strict=True):
        plane[:] = class_ids[found.int()]
    return labels.flip(reverse)


def nonzero_box(volume: Tensor) -> tuple[slice, ...]:
    """Give the slices of the smallest box that holds every voxel of (x, y, z) other than 0; all of it where none is.

    Looked for from the outside, which is a plane on each side in most scans.
    """
    box = []
    for axis in range(3):
        planes = volume.unbind(axis)
        first = next((index for index, plane in enumerate(planes) if plane.any()), None)
        if first is None:
            return tuple(slice(0, n) for n in volume.shape)
        last = next(index for index in reversed(range(len(planes))) if planes[index].any())
        box.append(slice(first, last + 1))
    return tuple(box)


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Give the first voxels of windows that cover a line evenly, with at least the wanted overlap.

    MONAI's ``SlidingWindowInferer`` steps by a fixed number of voxels and moves the last window back.
    """
    free = length - window
    steps = int(np.ceil(free / (window * (1 - overlap))))
    return [round(free / steps * step) for step in range(steps + 1)] if steps else [0]


def window_weights(window: Sequence[int]) -> Tensor:
    """Give nnU-Net's Gaussian weights of a window: deviation an eighth of each edge, 1 in the middle, never 0.

    Their center is half a voxel off the window's where its edge is even, unlike MONAI's.
    """
    lines = []
    for size in window:
        line = np.zeros(size)
        line[size // 2] = 1
        line = gaussian_filter1d(line, size / 8, mode="constant")
        lines.append(torch.from_numpy(line / line.max()))
    weights = torch.einsum("x,y,z->xyz", *lines).float()
    return weights.clamp(min=float(weights[weights > 0].min()))
