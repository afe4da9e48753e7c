"""Instance normalization in the forms that the engines compute fastest, put in the place of a network's own."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from abdoseg.networks.blocks import InstanceNorm

# Values that fit into a processor's cache several times.
CACHED = 600_000
# Voxels of a map for which PyTorch's own instance norm in float32 is faster than many small steps.
SMALL = 16**3


class EngineNorm(nn.Module):
    """Normalize each channel of (B, C, x, y, z) to mean 0 and variance 1; subclasses differ in how they sum.

    Parameters
    ----------
    epsilon : added to the variance.
    weight, bias : (C,), or None.
    """

    def __init__(self, epsilon: float = 1e-5, weight: Tensor | None = None, bias: Tensor | None = None) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight, self.bias = (None if part is None else nn.Parameter(part.detach()) for part in (weight, bias))

    def forward(self, image: Tensor) -> Tensor:
        """Normalize (B, C, x, y, z); ValueError for a single voxel, which has no deviation."""
        if image[0, 0].numel() == 1:
            raise ValueError(f"Instance norm needs more than one voxel; the map has the shape {tuple(image.shape)}.")
        return self.normalize(image)

    def normalize(self, image: Tensor) -> Tensor:
        """Normalize more than one voxel."""
        raise NotImplementedError

    def scaled(self, normalized: Tensor) -> Tensor:
        """Apply weight and bias, where there are any."""
        if self.weight is None:
            return normalized
        return normalized * self.weight.reshape(-1, 1, 1, 1) + self.bias.reshape(-1, 1, 1, 1)


class AxisNorm(EngineNorm):
    """Means along one axis after the other, in two passes: for OpenVINO in float32.

    OpenVINO's own sums millions of voxels in one float32: its error grows with their number, to 4e-4 of the deviation
    at 192^3, and a network of some fifty of them adds up to 2 % of its logits. A sum along one axis has hundreds.
    """

    def normalize(self, image: Tensor) -> Tensor:
        """See `EngineNorm`."""
        centered = image - mean_by_axis(image)
        return self.scaled(centered * torch.rsqrt(mean_by_axis(centered * centered) + self.epsilon))


class LayerNorm(EngineNorm):
    """Layer normalization over x, y and z: for OpenVINO in bfloat16, where it becomes one operation (MVN).

    That takes a third of the time of an `AxisNorm`, whose means would be rounded to bfloat16, too: on a CT, in paper
    A's coarse network, logits differ by 0.23 % from float32, with `AxisNorm` by 0.32 %.
    """

    def normalize(self, image: Tensor) -> Tensor:
        """See `EngineNorm`."""
        return self.scaled(functional.layer_norm(image, image.shape[2:], eps=self.epsilon))


class ChannelsLastNorm(EngineNorm):
    """Moments of each plane across x, put together in float64: for PyTorch in bfloat16 with channels last.

    PyTorch's instance norm converts channels last to and fro; its group norm sums the squares of all voxels of a
    channel in one float32: where the mean is far from 0, the deviation can come out ten times too large.
    """

    def normalize(self, image: Tensor) -> Tensor:
        """See `EngineNorm`."""
        if image[0, 0].numel() <= SMALL:
            normalized = functional.instance_norm(image.float(), weight=self.weight, bias=self.bias, eps=self.epsilon)
            return normalized.to(image.dtype)
        image = image.contiguous(memory_format=torch.channels_last_3d)
        normalized = [self._normalize_one(each) for each in image.split(1)]
        return normalized[0] if len(normalized) == 1 else torch.cat(normalized)

    def _normalize_one(self, image: Tensor) -> Tensor:
        planes = image[0].movedim(1, 0)
        channels, size = planes.shape[1], planes[0, 0].numel()
        shift = planes[len(planes) // 2].float().mean((1, 2), keepdim=True).to(image.dtype)
        shifts = shift.expand(planes.shape[1:])[None].contiguous(memory_format=torch.channels_last)
        # With weights in float32 the moments are in float32, too.
        affine = image.new_ones(channels, dtype=torch.float32), image.new_zeros(channels, dtype=torch.float32)
        moments = []
        for some in planes.split(max(CACHED // shifts.numel(), 1)):  # what is made of a few stays in the cache
            some = (some - shifts).contiguous(memory_format=torch.channels_last)
            shape = len(some), channels, size, channels
            moments.append(torch.native_group_norm(some, *affine, *shape, self.epsilon)[1:])
        means, inverse = (torch.cat(each).double().reshape(-1, channels) for each in zip(*moments, strict=True))
        mean = means.mean(0)
        variance = (inverse**-2 - self.epsilon + (means - mean) ** 2).mean(0).clamp(min=0)
        mean = mean + shift.double().flatten()
        # Here weights in float32 leave the map in bfloat16; a product with them would not.
        return functional.batch_norm(image, mean.float(), variance.float(), self.weight, self.bias, eps=self.epsilon)


def mean_by_axis(image: Tensor) -> Tensor:
    """Give the mean of each channel of (B, C, x, y, z) as (B, C, 1, 1, 1).

    Mean and sum take turns: OpenVINO merges means that follow each other into one, which sums all voxels in a row.
    """
    image = image.mean(2, keepdim=True)
    image = image.sum(3, keepdim=True) / image.shape[3]
    return image.mean(4, keepdim=True)


def with_norm(network: nn.Module, norm: type[EngineNorm]) -> nn.Module:
    """Give a copy of a network, in eval mode, in which every instance norm is a ``norm``."""
    network = copy.deepcopy(network).eval()
    for name, module in list(network.named_modules()):
        if isinstance(module, InstanceNorm):
            network.set_submodule(name, norm())
        elif isinstance(module, nn.InstanceNorm3d):
            network.set_submodule(name, norm(module.eps, module.weight, module.bias))
    return network
