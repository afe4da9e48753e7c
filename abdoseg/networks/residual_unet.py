"""The coarse network of paper A: a residual U-Net on the whole volume (papers-spec 2.4)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from abdoseg.networks.blocks import (
    ResidualBlock,
    check_channels,
    check_grid,
    double_size,
    initialize_he_normal,
    residual_stage,
)


class ResidualUNet(nn.Module):
    """Residual U-Net with max pooling, concatenated skips and one logit map a class.

    With the defaults and 14 outputs it has 10,705,568 parameters and needs 399.3 GMAC for 160x160x160 voxels.

    Parameters
    ----------
    in_channels : image channels.
    out_channels : independent (sigmoid) logit maps; the paper learns 13 organs and the tumor, no background.
    channels : width of each level, from full resolution down.
    dropout : probability that a channel is dropped in each residual block.

    Raises
    ------
    ValueError
        If ``channels`` has fewer than two levels.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 14,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        dropout: float = 0.2,
    ):
        super().__init__()
        channels = check_channels(channels)
        self.factor = 2 ** (len(channels) - 1)
        self.encoder = nn.ModuleList(
            residual_stage(inputs, outputs, dropout=dropout)
            for inputs, outputs in zip((in_channels, *channels[:-1]), channels, strict=True)
        )
        self.pool = nn.MaxPool3d(kernel_size=3, stride=2, padding=1)
        self.upsample = double_size()
        self.decoder = nn.ModuleList(
            ResidualBlock(skip + below, skip, dropout=dropout)
            for skip, below in zip(channels[-2::-1], channels[:0:-1], strict=True)
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
        for level, stage in enumerate(self.encoder):
            if level > 0:
                skips.append(features)
                features = self.pool(features)
            features = stage(features)
        for block in self.decoder:
            features = block(torch.cat([skips.pop(), self.upsample(features)], dim=1))
        return self.head(features)
