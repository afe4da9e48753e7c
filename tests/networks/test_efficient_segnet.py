"""The fine network has the paper's size, its published pooling at 192, and runs on small grids too."""

import pytest
import torch
from torch.nn import functional

from abdoseg.networks import EfficientSegNet
from abdoseg.networks.efficient_segnet import PyramidBranch, StripBranch
from tests.networks.measure import giga_macs, parameter_count

NARROW = (2, 4, 6, 8, 12)


def test_parameters_of_each_part_are_those_of_paper_a():
    with torch.device("meta"):
        network = EfficientSegNet(in_channels=1, out_channels=14)

    assert [parameter_count(stage) for stage in network.encoder] == [21_184, 97_280, 389_120, 1_556_480, 6_225_920]
    assert parameter_count(network.context) == 749_568
    assert [parameter_count(reducer) for reducer in network.reducers] == [32_768, 8_192, 2_048, 512]
    assert [parameter_count(block) for block in network.decoder] == [212_992, 53_248, 13_312, 3_328]
    assert parameter_count(network.head) == 224
    assert parameter_count(network) == 9_366_176


def test_multiply_adds_at_192_are_those_of_paper_a():
    with torch.device("meta"):
        network = EfficientSegNet()

    assert giga_macs(network, (192, 192, 192)) == pytest.approx(358.8, rel=1e-3)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [(32, 32, 32), (48, 64, 32), (80, 32, 48)])
def test_logits_have_the_grid_of_the_image_eager_and_scripted(size, training):
    network = EfficientSegNet(2, 3, channels=NARROW, image_size=(48, 48, 32)).train(training)
    scripted = torch.jit.script(network)
    image = torch.randn(1, 2, *size)

    torch.manual_seed(0)
    logits = network(image)
    torch.manual_seed(0)  # the same dropout again

    assert logits.shape == (1, 3, *size)
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(scripted(image), logits)


def published_branch(features, convolutions, kernels):
    """Sum of average pools with the paper's kernels, each convolved and stretched back."""
    total = 0
    for convolution, kernel in zip(convolutions, kernels, strict=True):
        pooled = convolution(functional.avg_pool3d(features, kernel))
        total = total + functional.interpolate(pooled, features.shape[2:], mode="trilinear", align_corners=True)
    return total


def test_pyramid_averages_over_2_and_4_voxels_at_the_published_size():
    torch.manual_seed(0)
    branch = PyramidBranch(channels=3, dropout=0.2).eval()
    features = torch.randn(1, 3, 12, 12, 12)
    reduced = branch.reduce(features)
    pools = published_branch(reduced, [branch.at_half.convolution, branch.at_quarter.convolution], [2, 4])

    expected = branch.merge(torch.relu(branch.at_full(reduced) + pools))

    torch.testing.assert_close(branch(features), expected)


def test_strips_average_whole_planes_at_the_published_size():
    torch.manual_seed(0)
    branch = StripBranch(channels=3, strip_size=(12, 12, 12), dropout=0.2).eval()
    features = torch.randn(1, 3, 12, 12, 12)
    convolutions = [getattr(branch, f"along_{axis}").convolution for axis in "xyz"]
    kernels = [(1, 12, 12), (12, 1, 12), (12, 12, 1)]

    expected = branch.merge(torch.relu(published_branch(branch.reduce(features), convolutions, kernels)))

    torch.testing.assert_close(branch(features), expected)
    assert [tuple(convolution[0].kernel_size) for convolution in convolutions] == [(3, 1, 1), (1, 3, 1), (1, 1, 3)]


@pytest.mark.parametrize(("axis", "plane", "line"), [("x", (1, 3, 3), (3, 1, 1)), ("z", (3, 3, 1), (1, 1, 3))])
def test_decoder_kernels_follow_the_named_axis(axis, plane, line):
    network = EfficientSegNet(channels=NARROW, anisotropic_axis=axis)

    for block in network.decoder:
        assert block.body[0][0].kernel_size == plane
        assert block.body[1][0].kernel_size == line


def test_decoder_adds_its_skips():
    network = EfficientSegNet(channels=NARROW).eval()
    maps = {}
    network.encoder[0].register_forward_hook(lambda module, inputs, output: maps.update(skip=output.clone()))
    network.reducers[-1].register_forward_hook(lambda module, inputs, output: maps.update(reduced=output.clone()))
    network.decoder[-1].register_forward_pre_hook(lambda module, inputs: maps.update(block=inputs[0].clone()))

    network(torch.randn(1, 1, 32, 32, 32))

    assert maps["reduced"].shape == (1, 2, 16, 16, 16)
    stretched = functional.interpolate(maps["reduced"], scale_factor=2, mode="trilinear", align_corners=True)
    torch.testing.assert_close(maps["block"], stretched + maps["skip"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"anisotropic_axis": "w"}, "Unknown anisotropic_axis 'w'. Use one of 'x', 'y', 'z'"),
        ({"image_size": (96, 96, 100)}, "three multiples .* of 16"),
        ({"image_size": (96, 96)}, "three multiples"),
        ({"image_size": (96, 96, 16)}, "at least 32"),
        ({"channels": (8,)}, "channels is"),
    ],
)
def test_settings_that_make_no_network_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EfficientSegNet(**settings)


def test_a_grid_that_does_not_fit_is_named_by_the_scripted_network_too():
    network = EfficientSegNet(channels=NARROW)
    for form, error in ((network, ValueError), (torch.jit.script(network), torch.jit.Error)):
        with pytest.raises(error, match="multiple of 16 and at least 32"):
            form(torch.zeros(1, 1, 32, 32, 24))


def test_bfloat16_training_on_a_small_grid_learns_and_stays_finite():
    # As published it could not run: a pooled map of one voxel has no variance.
    torch.manual_seed(0)
    network = EfficientSegNet(out_channels=2, channels=(4, 4, 8, 8, 16), image_size=(32, 32, 32))
    target = functional.interpolate(torch.randn(1, 2, 4, 4, 4), (32, 32, 32), mode="trilinear").argmax(1)
    image = target[None].float() + 0.3 * torch.randn(1, 1, 32, 32, 32)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    losses = []
    for _ in range(8):
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(image)
        loss = functional.cross_entropy(logits.float(), target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0, error_if_nonfinite=True)
        optimizer.step()
        losses.append(loss.item())

    assert losses[-1] < 0.8 * losses[0]
