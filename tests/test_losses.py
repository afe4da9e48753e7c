"""Training losses against values worked out by hand for two voxels."""

from math import log
from types import SimpleNamespace

import pytest
import torch

from abdoseg.losses import (
    DiceBinaryCrossEntropyLoss,
    DiceCrossEntropyLoss,
    frequency_weights,
    head_weights,
)

# Two voxels. The probability of class 1 is 3/4 in the first, which is of class 1, and 1/2 in the second, which is not.
LOGITS = torch.tensor([[0.0, 0.0], [log(3), 0.0]]).reshape(1, 2, 2, 1, 1)
LABELS = torch.tensor([1, 0]).reshape(1, 1, 2, 1, 1)
CROSS_ENTROPY = (-log(3 / 4) - log(1 / 2)) / 2
DICE = 1 - 2 * (3 / 4) / (3 / 4 + 1 / 2 + 1)  # of class 1 alone
SQUARED_DICE = 1 - 2 * (3 / 4) / (9 / 16 + 1 / 4 + 1)


def test_dice_and_cross_entropy_by_hand():
    assert DiceCrossEntropyLoss(smooth=0)(LOGITS, LABELS).item() == pytest.approx(DICE + CROSS_ENTROPY, abs=1e-6)


def test_class_weights_act_on_the_cross_entropy_alone():
    """A weighted mean: the voxel of class 1 counts three times."""
    weighted = (3 * -log(3 / 4) + 1 * -log(1 / 2)) / 4
    loss = DiceCrossEntropyLoss(class_weights=[1, 3], smooth=0)
    assert loss(LOGITS, LABELS).item() == pytest.approx(DICE + weighted, abs=1e-6)


@pytest.mark.parametrize(("progress", "weight"), [(0, 9), (0.5, 9), (0.65, 3), (0.8, 1), (1, 1)])
def test_class_weights_fade_as_a_training_goes_on(progress, weight):
    """The voxel of class 1 counts 9 times, then 3, then as the other."""
    weighted = (weight * -log(3 / 4) + 1 * -log(1 / 2)) / (weight + 1)
    loss = DiceCrossEntropyLoss(class_weights=[1, 9], smooth=0, clock=SimpleNamespace(progress=progress))
    assert loss(LOGITS, LABELS).item() == pytest.approx(DICE + weighted, abs=1e-6)
    assert loss.state_dict() == DiceCrossEntropyLoss(smooth=0).state_dict()


@pytest.mark.parametrize(
    ("heads", "weights"), [(1, [1]), (2, [1, 0]), (3, [2 / 3, 1 / 3, 0]), (5, [8 / 15, 4 / 15, 2 / 15, 1 / 15, 0])]
)
def test_head_weights_halve_and_the_coarsest_is_left_out(heads, weights):
    assert head_weights(heads) == pytest.approx(weights)


def test_deep_supervision_weighs_the_stacked_heads():
    heads = torch.stack([LOGITS, torch.zeros_like(LOGITS), 5 * LOGITS], dim=1).requires_grad_()
    loss = DiceCrossEntropyLoss(smooth=0)
    total = loss(heads, LABELS)
    uniform = log(2) + 1 - 2 * (1 / 2) / (1 / 2 + 1 / 2 + 1)
    assert total.item() == pytest.approx(2 / 3 * (DICE + CROSS_ENTROPY) + 1 / 3 * uniform, abs=1e-6)
    total.backward()
    assert heads.grad[:, :2].abs().sum() > 0
    assert heads.grad[:, 2].abs().sum() == 0


def test_cases_of_a_batch_count_alike():
    """A batch of two has the mean loss of its cases: what processes of a distributed training rely on."""
    other = torch.tensor([[0.0, 0.0], [-1.0, 2.0]]).reshape(1, 2, 2, 1, 1)
    batch, labels = torch.cat([LOGITS, other]), torch.cat([LABELS, LABELS])
    for loss in (DiceCrossEntropyLoss(), DiceBinaryCrossEntropyLoss()):
        mean = (loss(LOGITS, LABELS) + loss(other, LABELS)) / 2
        torch.testing.assert_close(loss(batch, labels), mean)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, SQUARED_DICE + CROSS_ENTROPY),
        ({"cross_entropy_weight": 0}, SQUARED_DICE),
    ],
)
def test_dice_and_binary_cross_entropy_by_hand(settings, expected):
    assert DiceBinaryCrossEntropyLoss(**settings)(LOGITS, LABELS).item() == pytest.approx(expected, abs=1e-4)


def test_the_background_channel_of_the_students_takes_no_part():
    logits = LOGITS.clone().requires_grad_()
    DiceBinaryCrossEntropyLoss()(logits, LABELS).backward()
    assert logits.grad[:, 0].abs().sum() == 0
    assert logits.grad[:, 1].abs().sum() > 0
    moved = LOGITS + torch.tensor([7.0, 0.0]).reshape(1, 2, 1, 1, 1)
    assert torch.equal(DiceBinaryCrossEntropyLoss()(moved, LABELS), DiceBinaryCrossEntropyLoss()(LOGITS, LABELS))


def sample(*labels):
    return {"label": torch.tensor(labels).reshape(1, -1, 1, 1)}


def test_frequency_weights_by_hand():
    """8 voxels of background, 2 of class 1, none of class 2, which counts as the rarest: 8, 2, 2 of 12.

    1 / sqrt(2/3, 1/6, 1/6) is (1, 2, 2) times 1.22; scaled to a mean of 1 that is (0.6, 1.2, 1.2).
    """
    labels = [0, 0, 0, 0, 1], [0, 0, 0, 0, 1]
    assert frequency_weights([sample(*row) for row in labels], 3) == pytest.approx([0.6, 1.2, 1.2])
    assert frequency_weights([[sample(*row) for row in labels]], 3) == pytest.approx([0.6, 1.2, 1.2])


def test_power_and_factors_of_frequency_weights():
    """Frequencies 3/4 and 1/4: power 1 gives 1 : 3; a factor of 2 on class 1 makes that 1 : 6, mean 3.5."""
    samples = [sample(0, 0, 0, 1)]
    assert frequency_weights(samples, 2, power=1) == pytest.approx([0.5, 1.5])
    assert frequency_weights(samples, 2, power=0) == pytest.approx([1, 1])
    assert frequency_weights(samples, 2, power=1, factors={"1": 2}) == pytest.approx([1 / 3.5, 6 / 3.5])


def test_frequency_weights_read_no_more_than_asked():
    def samples():
        yield sample(0, 1)
        raise AssertionError("read on")

    assert frequency_weights(samples(), 2, limit=1) == pytest.approx([1, 1])


def test_frequency_weights_of_nothing_are_refused():
    with pytest.raises(ValueError, match="need at least one training sample"):
        frequency_weights([], 3)
