"""The coarse network has the paper's size, and runs on any grid that its pooling fits."""

import pytest
import torch

from abdoseg.networks import ResidualUNet
from tests.networks.measure import giga_macs, parameter_count

NARROW = (2, 4, 6, 8, 10)


def test_parameters_of_each_part_are_those_of_paper_a():
    with torch.device("meta"):
        network = ResidualUNet(in_channels=1, out_channels=14)

    assert [parameter_count(stage) for stage in network.encoder] == [21_184, 97_280, 389_120, 1_556_480, 6_225_920]
    assert [parameter_count(block) for block in network.decoder] == [1_818_624, 454_656, 113_664, 28_416]
    assert parameter_count(network.head) == 224
    assert parameter_count(network) == 10_705_568


def test_multiply_adds_at_160_are_those_of_paper_a():
    with torch.device("meta"):
        network = ResidualUNet()

    assert giga_macs(network, (160, 160, 160)) == pytest.approx(399.3, rel=1e-3)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [(32, 32, 32), (48, 64, 32), (80, 32, 48)])
def test_logits_have_the_grid_of_the_image_eager_and_scripted(size, training):
    network = ResidualUNet(in_channels=2, out_channels=3, channels=NARROW).train(training)
    scripted = torch.jit.script(network)
    image = torch.randn(1, 2, *size)

    torch.manual_seed(0)
    logits = network(image)
    torch.manual_seed(0)  # the same dropout again

    assert logits.shape == (1, 3, *size)
    torch.testing.assert_close(scripted(image), logits)


@pytest.mark.parametrize("size", [(40, 32, 32), (32, 32, 16)])
def test_a_grid_that_does_not_fit_is_named(size):
    with pytest.raises(ValueError, match=rf"{size[0]}, {size[1]}, {size[2]}.*multiple of 16 and at least 32"):
        ResidualUNet(channels=NARROW)(torch.zeros(1, 1, *size))


def test_fewer_levels_fit_smaller_grids():
    assert ResidualUNet(channels=(2, 4, 6))(torch.zeros(1, 1, 8, 12, 16)).shape == (1, 14, 8, 12, 16)


@pytest.mark.parametrize("channels", [(16,), (16, 0), (16, 2.5)])
def test_channels_that_make_no_network_are_refused(channels):
    with pytest.raises(ValueError, match="channels is"):
        ResidualUNet(channels=channels)


def test_weights_start_he_normal():
    # Variance 2 / fan-in for ReLU; 256 x 256 x 27 weights know their spread to better than 0.1 %.
    torch.manual_seed(0)
    deepest = ResidualUNet().encoder[-1][-1].body[1][0]

    assert deepest.weight.shape == (256, 256, 3, 3, 3)
    assert deepest.weight.std().item() == pytest.approx((2 / (256 * 27)) ** 0.5, rel=5e-3)
    assert deepest.bias is None
