"""Background is the zero logit, and the paper's rule lets the highest present id win."""

import pytest
import torch
from torch import nn

from abdoseg.networks import WithBackground, highest_id_logits


class Given(nn.Module):
    """A network whose logits are its input."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image


def column(*logits):
    """One voxel's logits as (1, C, 1, 1, 1)."""
    return torch.tensor(logits, dtype=torch.float32).reshape(1, -1, 1, 1, 1)


@pytest.mark.parametrize(
    ("logits", "best", "highest"),
    [
        ((-1.0, -2.0, -0.1), 0, 0),  # nothing present
        ((3.0, -2.0, -0.1), 1, 1),  # one present
        ((3.0, 0.5, -0.1), 1, 2),  # two present: the better one, or the later one
        ((3.0, 5.0, 0.2), 2, 3),
        ((-1.0, 0.0, -1.0), 0, 2),  # probability 1/2 counts as present in the paper's code
        ((0.0, 0.0, -1.0), 0, 2),
    ],
)
def test_arg_max_of_one_voxel(logits, best, highest):
    image = column(*logits)

    assert WithBackground(Given()).eval()(image).argmax(1).item() == best
    assert WithBackground(Given(), highest_id_wins=True).eval()(image).argmax(1).item() == highest
    assert WithBackground(Given(), highest_id_wins=True).eval()(image.half()).argmax(1).item() == highest


def test_highest_id_rule_is_thresholding_and_overwriting_in_order():
    torch.manual_seed(0)
    logits = torch.randn(2, 14, 5, 6, 7)
    expected = torch.zeros(2, 5, 6, 7, dtype=torch.long)
    for identifier in range(1, 15):
        expected[torch.sigmoid(logits[:, identifier - 1]) >= 0.5] = identifier

    with_background = torch.cat([torch.zeros(2, 1, 5, 6, 7), logits], dim=1)

    assert torch.equal(highest_id_logits(with_background).argmax(1), expected)


@pytest.mark.parametrize("highest_id_wins", [False, True])
def test_training_logits_are_untouched_below_the_zero_channel(highest_id_wins):
    logits = torch.randn(2, 14, 3, 3, 3)

    output = WithBackground(Given(), highest_id_wins).train()(logits)

    assert torch.equal(output[:, 0], torch.zeros(2, 3, 3, 3))
    assert torch.equal(output[:, 1:], logits)


def test_scripted_wrapper_follows_the_mode():
    logits = torch.randn(1, 14, 4, 4, 4)
    network = WithBackground(Given(), highest_id_wins=True)
    scripted = torch.jit.script(network)

    for training in (True, False):
        assert torch.equal(scripted.train(training)(logits), network.train(training)(logits))


def test_a_network_tells_its_rule():
    """Exports of a network are kept by what it says of itself and by its weights, which are the same."""
    assert str(WithBackground(Given(), True)) != str(WithBackground(Given(), False))
