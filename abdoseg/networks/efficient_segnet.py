"""The fine network of paper A: EfficientSegNet on the region of interest (papers-spec 2.5)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from abdoseg.networks.blocks import (
    CUBE,
    POINT,
    Kernel,
    ResidualBlock,
    check_channels,
    check_grid,
    conv_norm,
    conv_norm_relu,
    double_size,
    initialize_he_normal,
    residual_stage,
)

AXES = ("x", "y", "z")


def line_kernel(axis: str) -> Kernel:
    """Kernel of three voxels along one axis, in (x, y, z) order."""
    return (3 if axis == "x" else 1, 3 if axis == "y" else 1, 3 if axis == "z" else 1)


def plane_kernel(axis: str) -> Kernel:
    """Kernel of 3x3 voxels in the plane across one axis, in (x, y, z) order."""
    return (1 if axis == "x" else 3, 1 if axis == "y" else 3, 1 if axis == "z" else 3)


class PooledConvolution(nn.Module):
    """Average a map down, convolve with instance norm, and stretch the result to the map's grid."""

    def __init__(self, channels: int, kernel: Kernel = CUBE):
        super().__init__()
        self.convolution = conv_norm(channels, channels, kernel)

    def forward(self, features: Tensor, size: list[int]) -> Tensor:
        """Map (B, C, x, y, z) to the same shape by way of (B, C, *size)."""
        pooled = self.convolution(functional.adaptive_avg_pool3d(features, size))
        return functional.interpolate(pooled, features.shape[2:], mode="trilinear", align_corners=True)


class PyramidBranch(nn.Module):
    """Context at three scales: the map itself, and averages over 2x2x2 and over 4x4x4 voxels.

    The averages keep at least two voxels an axis, because instance norm has no variance on a single one. From 8 voxels
    an axis on (images of 128) the kernels are exactly the published ones; on smaller maps they shrink.
    """

    def __init__(self, channels: int, dropout: float):
        super().__init__()
        self.reduce = conv_norm_relu(channels, channels, POINT, dropout=dropout)
        self.at_full = conv_norm(channels, channels)
        self.at_half = PooledConvolution(channels)
        self.at_quarter = PooledConvolution(channels)
        self.merge = conv_norm_relu(channels, channels, CUBE, dropout=dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, x, y, z) to the same shape."""
        features = self.reduce(features)
        half: list[int] = []
        quarter: list[int] = []
        for size in features.shape[2:]:
            half.append(max(size // 2, 2))
            quarter.append(max(size // 4, 2))
        total = self.at_full(features)
        total = total + self.at_half(features, half)
        total = total + self.at_quarter(features, quarter)
        return self.merge(torch.relu(total))


class StripBranch(nn.Module):
    """Context along each axis: averages over the planes across it, convolved along it.

    Parameters
    ----------
    channels : width.
    strip_size : voxels (x, y, z) that an average spans; the deepest map of the input size that the network is made for,
        so that there an average spans the whole plane. Smaller maps are averaged whole, larger ones in several strips.
    dropout : channel dropout.
    """

    def __init__(self, channels: int, strip_size: tuple[int, int, int], dropout: float):
        super().__init__()
        self.strip_size = strip_size
        self.reduce = conv_norm_relu(channels, channels, POINT, dropout=dropout)
        self.along_x = PooledConvolution(channels, line_kernel("x"))
        self.along_y = PooledConvolution(channels, line_kernel("y"))
        self.along_z = PooledConvolution(channels, line_kernel("z"))
        self.merge = conv_norm_relu(channels, channels, CUBE, dropout=dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, x, y, z) to the same shape."""
        features = self.reduce(features)
        x, y, z = features.shape[2], features.shape[3], features.shape[4]
        strips_x = max(x // self.strip_size[0], 1)
        strips_y = max(y // self.strip_size[1], 1)
        strips_z = max(z // self.strip_size[2], 1)
        total = self.along_x(features, [x, strips_y, strips_z])
        total = total + self.along_y(features, [strips_x, y, strips_z])
        total = total + self.along_z(features, [strips_x, strips_y, z])
        return self.merge(torch.relu(total))


class ContextBlock(nn.Module):
    """Context of the deepest map: a pyramid branch and a strip branch on a quarter of the channels."""

    def __init__(self, channels: int, strip_size: tuple[int, int, int], dropout: float):
        super().__init__()
        inner = max(channels // 4, 1)
        self.reduce = conv_norm_relu(channels, inner, POINT, dropout=dropout)
        self.pyramid = PyramidBranch(inner, dropout)
        self.strips = StripBranch(inner, strip_size, dropout)
        self.merge = conv_norm(2 * inner, inner, POINT)
        self.expand = nn.Sequential(
            conv_norm_relu(inner, inner, CUBE, dropout=dropout),
            nn.Conv3d(inner, channels, kernel_size=1, bias=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, x, y, z) to the same shape."""
        reduced = self.reduce(features)
        context = self.merge(torch.cat([self.pyramid(reduced), self.strips(reduced)], dim=1))
        return self.expand(torch.relu(reduced + context))


class EfficientSegNet(nn.Module):
    """Residual encoder with strided convolutions, a context block, and a slim decoder that adds its skips.

    With the defaults and 14 outputs it has 9,366,176 parameters and needs 358.8 GMAC for 192x192x192 voxels.

    Parameters
    ----------
    in_channels : image channels.
    out_channels : independent (sigmoid) logit maps; the paper learns 13 organs and the tumor, no background.
    channels : width of each level, from full resolution down.
    image_size : voxels (x, y, z) that the network is made for; sets the span of the strip averages and nothing else, so
        that the parameters do not depend on it and other sizes run too.
    dropout : probability that a channel is dropped in each residual block.
    anisotropic_axis : axis of the 1-D kernel of each decoder block, "x", "y" or "z"; the other convolution acts in the
        plane across it. The paper's code has it along x (left-right); "z" would be in-plane and through-plane.

    Raises
    ------
    ValueError
        If ``channels`` has fewer than two levels, the axis is unknown, or ``image_size`` does not fit the levels.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 14,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        image_size: Sequence[int] = (192, 192, 192),
        dropout: float = 0.2,
        anisotropic_axis: str = "x",
    ):
        super().__init__()
        channels = check_channels(channels)
        self.factor = 2 ** (len(channels) - 1)
        if anisotropic_axis not in AXES:
            raise ValueError(f"Unknown anisotropic_axis {anisotropic_axis!r}. Use one of {', '.join(map(repr, AXES))}.")
        if len(image_size) != 3 or any(size % self.factor or size < 2 * self.factor for size in image_size):
            raise ValueError(
                f"image_size is {list(image_size)}; it must be three multiples (x, y, z) of {self.factor}, "
                f"each at least {2 * self.factor}."
            )
        strip_size = (image_size[0] // self.factor, image_size[1] // self.factor, image_size[2] // self.factor)
        self.encoder = nn.ModuleList(
            residual_stage(inputs, outputs, stride=1 if level == 0 else 2, dropout=dropout)
            for level, (inputs, outputs) in enumerate(zip((in_channels, *channels[:-1]), channels, strict=True))
        )
        self.context = ContextBlock(channels[-1], strip_size, dropout)
        self.reducers = nn.ModuleList(
            conv_norm_relu(below, skip, POINT, dropout=dropout)
            for skip, below in zip(channels[-2::-1], channels[:0:-1], strict=True)
        )
        self.upsample = double_size()
        kernels = (plane_kernel(anisotropic_axis), line_kernel(anisotropic_axis))
        self.decoder = nn.ModuleList(
            ResidualBlock(skip, skip, kernels=kernels, dropout=dropout) for skip in channels[-2::-1]
        )
        self.head = nn.Conv3d(channels[0], out_channels, kernel_size=1, bias=False)
        initialize_he_normal(self)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in_channels, x, y, z) to logits (B, out_channels, x, y, z).

        Raises
        ------
        ValueError
            Unless x, y and z are multiples of 2^(levels - 1) and at least twice that (five levels: 16 and 32).
        """
        check_grid(image, self.factor)
        skips: list[Tensor] = []
        features = image
        for stage in self.encoder:
            features = stage(features)
            skips.append(features)
        features = self.context(skips.pop())
        for reduce, block in zip(self.reducers, self.decoder):  # noqa: B905 (TorchScript knows no strict)
            features = block(self.upsample(reduce(features)) + skips.pop())
        return self.head(features)
