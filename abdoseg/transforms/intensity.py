"""The two intensity normalizations of CT: paper A's window and z-score, and nnU-Net's fingerprint scheme."""

from collections.abc import Mapping

import torch


def window_and_standardize(volume: torch.Tensor, lower: float = -325.0, upper: float = 325.0) -> torch.Tensor:
    """Clip Hounsfield units to a window, then subtract the mean and divide by the standard deviation (plus 1e-5).

    Mean and deviation are those of ``volume`` itself after clipping, so give one case at a time, and resize before
    (paper A; the window is the one of its text, papers-spec.md 2.2). MONAI's ``NormalizeIntensityd`` divides by 1
    instead when the deviation is 0 and has no such constant.

    Parameters
    ----------
    volume : (C, x, y, z), HU.
    lower, upper : window in HU.

    Returns
    -------
    float32 tensor of the same shape, without unit.
    """
    windowed = volume.float().clamp(lower, upper)
    return (windowed - windowed.mean()) / (windowed.std(correction=0) + 1e-5)


def normalize_ct(volume: torch.Tensor, normalization: Mapping[str, float]) -> torch.Tensor:
    """Apply nnU-Net's CT scheme: clip to percentiles of the foreground, subtract its mean, divide by its deviation.

    Parameters
    ----------
    volume : any shape, HU.
    normalization : the plan's ``lower`` and ``upper`` (0.5 and 99.5 percentile), ``mean`` and ``std`` of the foreground
        of the whole training set, all in HU.

    Returns
    -------
    float32 tensor of the same shape, without unit.
    """
    clipped = volume.float().clamp(normalization["lower"], normalization["upper"])
    return (clipped - normalization["mean"]) / max(normalization["std"], 1e-8)
