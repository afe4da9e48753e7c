"""The container answers as its fine part, and training leaves its coarse part alone."""

import copy

import pytest
import torch

from abdoseg.networks import CoarseToFineNetwork, ResidualUNet, WithBackground

IMAGE_SIZE = (1, 1, 8, 8, 16)


def student(seed):
    torch.manual_seed(seed)
    return WithBackground(ResidualUNet(channels=(2, 3, 4)))


@pytest.mark.parametrize("coarse", [None, student(0)])
def test_called_as_a_network_it_is_the_fine_one(coarse):
    fine = student(1)
    container = CoarseToFineNetwork(coarse, fine).eval()
    image = torch.randn(IMAGE_SIZE)

    logits = container(image)

    assert logits.shape == (1, 15, 8, 8, 16)
    assert torch.equal(logits, fine(image))
    torch.testing.assert_close(torch.jit.script(container)(image), logits)
    assert any(name.startswith("coarse.") for name in container.state_dict()) == (coarse is not None)


def test_training_changes_the_fine_part_only():
    container = CoarseToFineNetwork(student(0), student(1)).train()
    before = copy.deepcopy(container.state_dict())
    optimizer = torch.optim.SGD((p for p in container.parameters() if p.requires_grad), lr=1.0, weight_decay=0.1)

    container(torch.randn(IMAGE_SIZE)).square().mean().backward()
    optimizer.step()

    assert not container.coarse.training
    assert container.fine.training
    for name, value in container.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("coarse."), name


def test_the_coarse_part_answers_the_same_in_training():
    container = CoarseToFineNetwork(student(0), student(1))
    image = torch.randn(IMAGE_SIZE)

    assert torch.equal(container.train().coarse(image), container.eval().coarse(image))
