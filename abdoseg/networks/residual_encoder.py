"""nnU-Net's residual encoder: the plans of its "ResEnc" presets, with one convolution a stage on the way up."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from abdoseg.networks.strict import StrictModule

SLOPE = 0.01


def unit(inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int], active: bool = True) -> nn.Sequential:
    """Give convolution, instance norm and, where ``active``, leaky ReLU; the norm takes away any bias before it."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    padding = [size // 2 for size in kernel]
    parts["conv"] = nn.Conv3d(inputs, outputs, tuple(kernel), tuple(stride), padding, bias=False)
    parts["norm"] = nn.InstanceNorm3d(outputs, affine=True)
    if active:
        parts["nonlin"] = nn.LeakyReLU(SLOPE, inplace=True)
    return nn.Sequential(parts)


class ResidualBlock(nn.Module):
    """Two convolutions beside a skip that averages where they stride, and projects where the width changes."""

    def __init__(self, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = unit(inputs, outputs, kernel, stride)
        self.conv2 = unit(outputs, outputs, kernel, (1, 1, 1), active=False)
        strided = [nn.AvgPool3d(tuple(stride), tuple(stride))] if max(stride) > 1 else []
        project = [unit(inputs, outputs, (1, 1, 1), (1, 1, 1), active=False)] if inputs != outputs else []
        self.skip = nn.Sequential(*strided, *project)
        self.nonlin = nn.LeakyReLU(SLOPE)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, x, y, z) to (B, outputs, x / stride, ...)."""
        return self.nonlin(self.conv2(self.conv1(features)) + self.skip(features))


class PlannedResidualUNet(StrictModule):
    """A U-Net with a residual encoder, built from a plan; called like ``PlannedDynUNet``.

    Parameters
    ----------
    in_channels, out_channels : of image and logits.
    features, strides, kernels : one entry for each stage, axes (x, y, z).
    blocks : residual blocks of each stage.
    decoder_convolutions : a stage on the way up.
    upsampling_bias : whether the transposed convolutions have biases.
    deep_supervision : give all heads in training mode; False freezes the lower heads and gives the output alone.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        features: Sequence[int],
        strides: Sequence[Sequence[int]],
        kernels: Sequence[Sequence[int]],
        blocks: Sequence[int],
        decoder_convolutions: int = 1,
        upsampling_bias: bool = True,
        deep_supervision: bool = True,
    ) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        self.stem = unit(in_channels, features[0], kernels[0], (1, 1, 1))
        self.encoder_stages, width = nn.ModuleList(), features[0]
        for wanted, stride, kernel, count in zip(features, strides, kernels, blocks, strict=True):
            stage = [ResidualBlock(width, wanted, kernel, stride)]
            stage += [ResidualBlock(wanted, wanted, kernel, (1, 1, 1)) for _ in range(count - 1)]
            self.encoder_stages.append(nn.Sequential(*stage))
            width = wanted
        self.upsampling, self.decoder_stages, self.heads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(len(features) - 1)):
            wanted, stride = features[level], tuple(strides[level + 1])
            self.upsampling.append(nn.ConvTranspose3d(width, wanted, stride, stride, bias=upsampling_bias))
            stage = [unit(2 * wanted, wanted, kernels[level], (1, 1, 1))]
            stage += [unit(wanted, wanted, kernels[level], (1, 1, 1)) for _ in range(decoder_convolutions - 1)]
            self.decoder_stages.append(nn.Sequential(*stage))
            self.heads.append(nn.Conv3d(wanted, out_channels, 1))
            width = wanted
        self.heads[:-1].requires_grad_(deep_supervision)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in_channels, x, y, z) to logits, as ``PlannedDynUNet`` does."""
        supervise = self.training and self.deep_supervision
        features = self.stem(image)
        skips: list[Tensor] = []
        for stage in self.encoder_stages:
            features = stage(features)
            skips.append(features)
        features = skips.pop()
        outputs: list[Tensor] = []
        for upsample, stage, head in zip(self.upsampling, self.decoder_stages, self.heads):  # noqa: B905 (TorchScript)
            features = stage(torch.cat([upsample(features), skips.pop()], dim=1))
            if supervise or len(skips) == 0:
                outputs.append(head(features))
        if not supervise:
            return outputs[0]
        outputs.reverse()
        size = outputs[0].shape[2:]
        return torch.stack([functional.interpolate(output, size) for output in outputs], dim=1)
