"""A plan becomes the network that nnU-Net builds from it, with one name for each parameter."""

import copy
import io

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn
from torch.nn import functional

from abdoseg.networks import build_dynunet
from abdoseg.nnunet.weights import nnunet_name
from tests.networks.measure import giga_macs, parameter_count

# Paper B's tumor network (papers-spec 3.5), turned from (z, y, x) to (x, y, z); its patch is 56x112x176 in (z, y, x).
TUMOR_PLAN = {
    "features": [32, 64, 128, 256, 320],
    "strides": [[1, 1, 1], [2, 2, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]],
    "kernels": [[3, 3, 1], [3, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]],
    "classes": 2,
}
TUMOR_PARAMETERS = 16_462_056
SMALL_PLAN = {
    "spacing": [1.0, 1.0, 2.5],
    "features": [4, 6, 8, 8],
    "strides": [[1, 1, 1], [2, 2, 1], [2, 2, 2], [2, 1, 2]],
    "kernels": [[3, 3, 1], [3, 3, 3], [3, 3, 3], [3, 3, 3]],
    "classes": 5,
}


def nnunet_network(plan, biases=False):
    """The same plan in nnU-Net's own code, without its biases where not asked for."""
    stages = len(plan["features"])
    return PlainConvUNet(
        1, stages, plan["features"], nn.Conv3d, plan["kernels"], plan["strides"], 2, plan["classes"], 2,
        conv_bias=biases, norm_op=nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU, deep_supervision=True,
    )  # fmt: skip


def test_paper_b_tumor_network_costs_what_the_paper_says():
    with torch.device("meta"):
        network = build_dynunet(TUMOR_PLAN)

    assert giga_macs(network, (176, 112, 56)) == pytest.approx(290.2, rel=0.01)
    # 16.47 M with the biases of nnU-Net's convolutions, which DynUNet leaves out before an instance norm.
    assert parameter_count(network) == TUMOR_PARAMETERS
    assert parameter_count(network) == pytest.approx(16.47e6, rel=1e-3)


def test_paper_bs_parameter_count_counts_shared_modules_twice():
    # The paper's 48.88 M: each convolution stands twice in its block, and the decoder names the encoder again.
    with torch.device("meta"):
        theirs = nnunet_network(TUMOR_PLAN, biases=True)
    twice = sum(value.numel() for value in theirs.state_dict().values())

    assert parameter_count(theirs) == pytest.approx(16.47e6, rel=1e-3)
    # Two convolutions a stage, 800 maps on the way down and 480 on the way up, and 480 of transposed convolutions.
    assert parameter_count(theirs) - TUMOR_PARAMETERS == 2 * (800 + 480) + 480
    assert twice == pytest.approx(48.88e6, rel=1e-3)


@pytest.mark.parametrize("plan", [TUMOR_PLAN, SMALL_PLAN])
def test_convolutions_are_those_of_nnunet(plan):
    with torch.device("meta"):
        ours, theirs = build_dynunet(plan), nnunet_network(plan)

    def kernels(network):
        shapes = {id(module): tuple(module.weight.shape) for module in network.modules() if hasattr(module, "weight")}
        return sorted(shape for shape in shapes.values() if len(shape) == 5)

    assert kernels(ours) == kernels(theirs)


def test_answers_are_those_of_nnunet_with_the_same_weights():
    torch.manual_seed(0)
    ours, theirs = build_dynunet(SMALL_PLAN).train(), nnunet_network(SMALL_PLAN).train()
    weights = theirs.state_dict()
    ours.load_state_dict({name: weights[nnunet_name(name, stages=4)] for name in ours.state_dict()})
    image = torch.randn(2, 1, 16, 16, 8)

    heads = theirs(image)

    assert len(heads) == 3
    for mine, head in zip(ours(image).unbind(1), heads, strict=True):
        torch.testing.assert_close(mine, functional.interpolate(head, (16, 16, 8)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.eval()(image), heads[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("deep_supervision", [True, False])
def test_shapes_in_training_and_evaluation_eager_and_scripted(deep_supervision):
    network = build_dynunet(SMALL_PLAN, deep_supervision=deep_supervision)
    scripted = torch.jit.script(network)
    image = torch.randn(2, 1, 16, 8, 8)

    stacked, scripted_stacked = network.train()(image), scripted.train()(image)
    logits, scripted_logits = network.eval()(image), scripted.eval()(image)

    assert logits.shape == (2, 5, 16, 8, 8)
    assert stacked.shape == ((2, 3, 5, 16, 8, 8) if deep_supervision else logits.shape)
    # There is no dropout, so training's first head is the output.
    torch.testing.assert_close(stacked[:, 0] if deep_supervision else stacked, logits)
    torch.testing.assert_close(scripted_logits, logits)
    torch.testing.assert_close(scripted_stacked, stacked)


def test_lower_heads_are_coarser_maps_in_order():
    # Nearest-neighbor stretching repeats voxels: level 1 has strides (2, 2, 1), level 2 in all (4, 4, 2).
    network = build_dynunet(SMALL_PLAN).train()

    heads = network(torch.randn(1, 1, 16, 8, 8))[0]

    assert torch.equal(heads[1, :, ::2, ::2], heads[1, :, 1::2, 1::2])
    assert not torch.equal(heads[1, :, :, :, ::2], heads[1, :, :, :, 1::2])
    assert torch.equal(heads[2, :, ::4, ::4, ::2], heads[2, :, 3::4, 3::4, 1::2])
    assert not torch.equal(heads[0, :, ::2], heads[0, :, 1::2])


def test_names_are_the_same_with_and_without_deep_supervision_and_unique():
    with_heads, without = build_dynunet(SMALL_PLAN), build_dynunet(SMALL_PLAN, deep_supervision=False)

    without.load_state_dict(with_heads.state_dict())

    assert len(with_heads.state_dict()) == len(list(with_heads.parameters()))
    image = torch.randn(1, 1, 16, 8, 8)
    assert torch.equal(with_heads.eval()(image), without.eval()(image))


def test_every_trained_parameter_gets_a_gradient():
    # DistributedDataParallel stops on parameters that take part in nothing.
    for deep_supervision in (True, False):
        network = build_dynunet(SMALL_PLAN, deep_supervision=deep_supervision).train()
        network(torch.randn(1, 1, 16, 8, 8)).square().mean().backward()
        for name, parameter in network.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, name


def test_a_network_that_was_trained_can_be_copied_and_pickled():
    network = build_dynunet(SMALL_PLAN).train()
    network(torch.randn(1, 1, 16, 8, 8)).mean().backward()

    twin = copy.deepcopy(network).eval()

    torch.save(network, io.BytesIO())
    image = torch.randn(1, 1, 16, 8, 8)
    assert torch.equal(twin(image), network.eval()(image))


def test_bfloat16_forward_is_finite():
    network = build_dynunet(SMALL_PLAN).train()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(network(torch.randn(1, 1, 16, 8, 8))).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": [4, 6, 8]}, "3 features, 4 strides and 4 kernels"),
        ({"features": [4, 6], "strides": [[1, 1, 1], [2, 2, 2]], "kernels": [[3, 3, 3]] * 2}, "at least 3"),
        ({"strides": [[2, 2, 2], [2, 2, 1], [2, 2, 2], [2, 1, 2]]}, r"the first stride \[1, 1, 1\]"),
        ({"kernels": [[3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]]}, r"one \[x, y, z\] for each stage"),
    ],
)
def test_a_plan_that_makes_no_network_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build_dynunet({**SMALL_PLAN, **change})


def test_missing_keys_of_a_plan_are_named():
    with pytest.raises(ValueError, match="lacks strides, classes"):
        build_dynunet({"features": [4, 6, 8], "kernels": [[3, 3, 3]] * 3})
