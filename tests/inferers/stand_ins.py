"""Small real networks whose answer is known, and scans for them."""

import numpy as np
import torch
from monai.data import MetaTensor
from torch import nn


class Thresholds(nn.Module):
    """Logits (B, C, x, y, z) of a standardized image: class i is best between threshold i - 1 and threshold i.

    One 1x1x1 convolution: logit_i = i * v - (t_1 + ... + t_i), so that neighbors tie exactly at their threshold and
    channel 0 is the constant 0, as the bundles' networks have it.
    """

    def __init__(self, thresholds) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(1, 15, 1)
        with torch.no_grad():
            self.convolution.weight.zero_()
            self.convolution.bias.fill_(-1e4)
            self.convolution.bias[0] = 0
            for count, (value, _) in enumerate(thresholds, start=1):
                self.convolution.weight[value] = count
                self.convolution.bias[value] = -sum(limit for _, limit in thresholds[:count])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.convolution(image)


class Nothing(Thresholds):
    """Finds background everywhere."""

    def __init__(self) -> None:
        super().__init__([])


def ras_scan(volume: np.ndarray, spacing=(1.0, 1.0, 1.0)) -> MetaTensor:
    """Give a batch of one (1, 1, x, y, z) with a (1, 4, 4) affine."""
    affine = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    meta = {"filename_or_obj": ["scan_0000.nii.gz"]}
    return MetaTensor(torch.as_tensor(volume, dtype=torch.float32)[None, None], affine=affine[None], meta=meta)


def blocks(shape, parts, background: float = -300.0) -> np.ndarray:
    """Give a volume (x, y, z) of ``background`` HU with boxes ``(slices, HU)`` in it."""
    volume = np.full(shape, background, dtype=np.float32)
    for box, value in parts:
        volume[box] = value
    return volume
