"""The blocks compute what papers-spec 2.4 writes down, and their norm survives bfloat16."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from abdoseg.networks.blocks import InstanceNorm, ResidualBlock


@pytest.mark.parametrize("size", [(2, 1, 1), (2, 2, 2)])
def test_norm_of_a_small_bfloat16_map_is_that_of_float32(size):
    # The sharp case: few voxels around a large mean. A gradient computed in bfloat16 comes out up to 100 times too big.
    torch.manual_seed(0)
    image = (torch.randn(1, 16, *size) + 10).bfloat16().requires_grad_()
    reference = image.detach().float().requires_grad_()
    upstream = torch.randn(image.shape).bfloat16()

    with torch.autocast("cpu", torch.bfloat16):
        normalized = InstanceNorm()(image)
    normalized.backward(upstream)
    expected = nn.InstanceNorm3d(16)(reference)
    expected.backward(upstream.float())

    assert normalized.dtype == torch.bfloat16
    torch.testing.assert_close(normalized.float(), expected, rtol=2**-8, atol=0)
    torch.testing.assert_close(image.grad.float(), reference.grad, rtol=2**-7, atol=1e-6)


@pytest.mark.parametrize(("projection", "stride", "outputs"), [(True, 2, 5), (True, 1, 3), (False, 1, 3)])
def test_residual_block_is_two_normalized_convolutions_and_a_shortcut(projection, stride, outputs):
    torch.manual_seed(0)
    kernels = ((1, 3, 3), (3, 1, 1))
    block = ResidualBlock(3, outputs, stride, kernels, projection).eval()
    image = torch.randn(2, 3, 8, 6, 4)
    weights = list(block.parameters())

    def norm(features):
        mean = features.mean((2, 3, 4), keepdim=True)
        return (features - mean) / (features.var((2, 3, 4), keepdim=True, unbiased=False) + 1e-5).sqrt()

    body = functional.relu(norm(functional.conv3d(image, weights[0], stride=stride, padding=(0, 1, 1))))
    body = norm(functional.conv3d(body, weights[1], padding=(1, 0, 0)))
    shortcut = norm(functional.conv3d(image, weights[2], stride=stride)) if projection else image

    assert len(weights) == (3 if projection else 2)
    torch.testing.assert_close(block(image), functional.relu(body + shortcut), rtol=1e-4, atol=1e-5)


def test_dropout_drops_whole_channels_in_training_only():
    torch.manual_seed(0)
    block = ResidualBlock(1, 200, dropout=0.5)
    unit = block.body[0]
    image = torch.randn(1, 1, 4, 4, 4)

    dropped = (unit.train()(image) == 0).all(dim=(2, 3, 4)).float().mean().item()

    assert dropped == pytest.approx(0.5, abs=0.1)
    assert not (unit.eval()(image) == 0).flatten(2).all(dim=2).any()
