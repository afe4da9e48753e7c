"""Building blocks of the two students: normalized convolutions and residual blocks; kernels are in (x, y, z) order."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

Kernel = tuple[int, int, int]
CUBE: Kernel = (3, 3, 3)
POINT: Kernel = (1, 1, 1)


class InstanceNorm(nn.Module):
    """Instance normalisation without affine parameters, computed in float32 whatever the input's type.

    In bfloat16 the variance of a small map keeps hardly a digit, and training goes to NaN. Float32 input is normalized
    as by ``torch.nn.InstanceNorm3d``.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Normalise each channel of (B, C, x, y, z) to mean 0 and variance 1 (epsilon 1e-5)."""
        return functional.instance_norm(image.float(), eps=1e-5).to(image.dtype)


def conv_norm(in_channels: int, out_channels: int, kernel: Kernel = CUBE, stride: int = 1) -> nn.Sequential:
    """Bias-free "same" convolution and instance norm (papers-spec 2.4: CI)."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Sequential(
        nn.Conv3d(in_channels, out_channels, kernel, stride, padding, bias=False),
        InstanceNorm(),
    )


def conv_norm_relu(
    in_channels: int, out_channels: int, kernel: Kernel = CUBE, stride: int = 1, dropout: float = 0.2
) -> nn.Sequential:
    """Bias-free "same" convolution, instance norm, channel dropout and ReLU (papers-spec 2.4: CIR)."""
    return nn.Sequential(
        *conv_norm(in_channels, out_channels, kernel, stride),
        nn.Dropout3d(dropout, inplace=True),
        nn.ReLU(inplace=True),
    )


class ResidualBlock(nn.Module):
    """Two normalized convolutions and a shortcut, added and rectified.

    Parameters
    ----------
    in_channels, out_channels : channels.
    stride : of the first convolution and of the shortcut, the same along x, y and z.
    kernels : kernel of the first and of the second convolution, each in (x, y, z) order.
    projection : shortcut by a 1x1x1 convolution with instance norm (True, even between equal shapes) or identity.
    dropout : probability that a channel is dropped after the first convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        kernels: tuple[Kernel, Kernel] = (CUBE, CUBE),
        projection: bool = True,
        dropout: float = 0.2,
    ):
        super().__init__()
        self.body = nn.Sequential(
            conv_norm_relu(in_channels, out_channels, kernels[0], stride, dropout),
            conv_norm(out_channels, out_channels, kernels[1]),
        )
        self.shortcut = conv_norm(in_channels, out_channels, POINT, stride) if projection else nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, in_channels, x, y, z) to (B, out_channels, x/stride, y/stride, z/stride)."""
        return torch.relu_(self.body(image).add_(self.shortcut(image)))


def residual_stage(in_channels: int, out_channels: int, stride: int = 1, dropout: float = 0.2) -> nn.Sequential:
    """Two residual blocks, the first with a projection shortcut: one encoder level of both students."""
    return nn.Sequential(
        ResidualBlock(in_channels, out_channels, stride, dropout=dropout),
        ResidualBlock(out_channels, out_channels, projection=False, dropout=dropout),
    )


def double_size() -> nn.Upsample:
    """Trilinear upsampling by two with aligned corners, as the paper's code does it."""
    return nn.Upsample(scale_factor=2.0, mode="trilinear", align_corners=True)


def initialize_he_normal(network: nn.Module) -> None:
    """Draw every convolution's weights by He's normal rule for ReLU, fan-in (paper A, table 2)."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")


def check_channels(channels: Sequence[int]) -> tuple[int, ...]:
    """Give the channels of the levels as a tuple; ValueError unless they are at least two positive integers."""
    channels = tuple(channels)
    if len(channels) < 2 or not all(isinstance(width, int) and width > 0 for width in channels):
        raise ValueError(f"channels is {channels}; it must list one positive integer for each of two levels or more.")
    return channels


def check_grid(image: Tensor, factor: int) -> None:
    """Raise ValueError unless x, y and z of (B, C, x, y, z) are multiples of ``factor`` and at least twice that.

    On the deepest map an axis then keeps two voxels: instance norm has no variance on a single one.
    """
    for size in image.shape[2:]:
        if size % factor != 0 or size < 2 * factor:
            raise ValueError(
                f"The network got a grid of {list(image.shape[2:])} voxels (x, y, z); "
                f"each must be a multiple of {factor} and at least {2 * factor}."
            )
