"""Measures of a network that the tests compare with published figures."""

import torch
from torch import nn


def parameter_count(module: nn.Module) -> int:
    """Number of parameters, each counted once."""
    return sum(parameter.numel() for parameter in module.parameters())


def giga_macs(network: nn.Module, size: tuple[int, int, int]) -> float:
    """Billions of multiply-adds of all convolutions for one image of ``size`` voxels (x, y, z).

    The network must be on the device "meta", where nothing is computed.
    """
    total = 0

    def count(convolution, inputs, output):
        nonlocal total
        # Each weight is used once per output voxel, of a transposed convolution once per input voxel.
        voxels = inputs[0] if isinstance(convolution, nn.ConvTranspose3d) else output
        total += convolution.weight.numel() * voxels[0, 0].numel()

    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network.eval()(torch.empty(1, 1, *size, device="meta"))
    return total / 1e9
