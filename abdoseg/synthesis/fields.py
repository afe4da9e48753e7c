"""Smooth random fields: white noise on a coarse lattice, smoothed there and stretched to the voxels."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from scipy.ndimage import gaussian_filter

LATTICE_SHARE = 0.5  # lattice step relative to the correlation length
SMOOTHING = 0.8  # standard deviation in lattice steps
MARGIN = 3  # lattice points that smoothing may spoil at the edges


def smooth_field(seed: int, shape: Sequence[int], length: Sequence[float] | float, channels: int = 1) -> np.ndarray:
    """Give random fields of mean 0 and variance about 1.

    Parameters
    ----------
    seed : the same seed gives the same values for the same shape and length.
    shape : voxels (x, y, z).
    length : correlation length in voxels, one number or one an axis; below 2 the field is white noise.
    channels : number of independent fields.

    Returns
    -------
    (channels, x, y, z) float32.
    """
    rng = np.random.default_rng(seed)
    length = np.broadcast_to(np.asarray(length, float), 3)
    steps = np.maximum(length * LATTICE_SHARE, 1.0)
    points = [max(2, int(np.ceil((n - 1) / step)) + 1) for n, step in zip(shape, steps, strict=True)]
    lattice = rng.standard_normal((channels, *(n + 2 * MARGIN for n in points)), dtype=np.float32)
    sigma = [SMOOTHING if step > 1 else 0.0 for step in steps]
    lattice = gaussian_filter(lattice, (0, *sigma), mode="nearest", truncate=3)
    lattice = lattice[:, MARGIN:-MARGIN, MARGIN:-MARGIN, MARGIN:-MARGIN]
    # A Gaussian of s lattice steps averages white noise down to a deviation of (2 s sqrt(pi))^-1/2 along each axis.
    lattice *= np.prod([np.sqrt(2 * np.sqrt(np.pi) * s) if s else 1.0 for s in sigma])
    return stretch(lattice, shape)


def stretch(lattice: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Stretch (channels, a, b, c) to (channels, x, y, z) linearly, the outermost points on the outermost voxels."""
    tensor = torch.from_numpy(np.ascontiguousarray(lattice))[None]
    return F.interpolate(tensor, tuple(int(n) for n in shape), mode="trilinear", align_corners=True)[0].numpy()
