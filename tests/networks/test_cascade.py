"""The cascade's container answers as its organ network, or as the tumor network that is trained."""

import copy

import pytest
import torch

from abdoseg.networks import CascadeNetwork, build_dynunet, build_network
from tests.networks.measure import parameter_count
from tests.networks.test_nnunet import SMALL_PLAN, TUMOR_PLAN

IMAGE_SIZE = (2, 1, 16, 8, 8)


def cascade(organs=True, families=("liver", "kidneys")) -> CascadeNetwork:
    torch.manual_seed(0)
    tumors = {family: build_dynunet({**SMALL_PLAN, "classes": 2}) for family in families}
    return CascadeNetwork(build_dynunet(SMALL_PLAN) if organs else None, tumors)


@pytest.mark.parametrize("families", [(), ("liver", "kidneys")])
def test_called_as_a_network_it_is_the_organ_network(families):
    container = cascade(families=families).eval()
    image = torch.randn(IMAGE_SIZE)

    logits = container(image)

    assert logits.shape == (2, 5, 16, 8, 8)
    assert torch.equal(logits, container.organs(image))
    torch.testing.assert_close(torch.jit.script(container)(image), logits)


@pytest.mark.parametrize("organs", [True, False])
def test_selected_it_is_a_tumor_network(organs):
    container = cascade(organs).eval()
    image = torch.randn(IMAGE_SIZE)
    names = list(container.state_dict())

    assert container.select("kidneys") is container

    assert torch.equal(container(image), container.tumors["kidneys"](image))
    assert not torch.equal(container(image), container.tumors["liver"](image))
    torch.testing.assert_close(torch.jit.script(container)(image), container(image))
    assert list(container.state_dict()) == names


def test_training_changes_the_selected_part_only():
    container = cascade().select("liver").train()
    before = copy.deepcopy(container.state_dict())
    optimizer = torch.optim.SGD((p for p in container.parameters() if p.requires_grad), lr=1.0, weight_decay=0.1)

    outputs = container(torch.randn(IMAGE_SIZE))
    outputs.square().mean().backward()
    optimizer.step()

    assert outputs.shape == (2, 3, 2, 16, 8, 8)
    assert container.tumors["liver"].training
    assert not container.organs.training
    assert not container.tumors["kidneys"].training
    for name, value in container.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith("tumors.liver."), name


def test_a_part_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"no tumor network 'rest'\. It has 'liver', 'kidneys'"):
        cascade().select("rest")
    with pytest.raises(RuntimeError, match="no organ network; put one in with assemble_cascade"):
        cascade(organs=False)(torch.randn(IMAGE_SIZE))


def test_a_published_cascade_has_the_tumor_network_three_times():
    plan = {"kind": "nnunet", "plan": TUMOR_PLAN}
    families = ("liver", "pancreas", "kidneys")
    with torch.device("meta"):
        container = build_network({"kind": "tumor_cascade", "tumors": dict.fromkeys(families, plan)})

    assert parameter_count(container) == 3 * parameter_count(build_network(plan).to("meta"))
