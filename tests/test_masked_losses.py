"""Losses of cases with unknown classes, against values by hand, independent formulas and gradients."""

from math import log

import numpy as np
import pytest
import torch

from abdoseg.losses import DiceBinaryCrossEntropyLoss, DiceCrossEntropyLoss, head_weights
from abdoseg.partial_labels import merge_unknown
from tests.test_partial_labels import LOGITS, NO_2, labels_of

CLASSES = 5
KNOWN = torch.tensor([[1, 1, 0, 1, 0], [1, 0, 0, 1, 1]], dtype=torch.bool)
SOFTMAX = {
    "plain": DiceCrossEntropyLoss(),
    "batch": DiceCrossEntropyLoss(batch_dice=True),
    "weighted": DiceCrossEntropyLoss(class_weights=[0.5, 1, 2, 1, 3]),
}
SIGMOID = {
    "plain": DiceBinaryCrossEntropyLoss(),
    "dice": DiceBinaryCrossEntropyLoss(cross_entropy_weight=0),
}
LOSSES = pytest.mark.parametrize("loss", [*SOFTMAX.values(), *SIGMOID.values()], ids=[*SOFTMAX, *SIGMOID])


def batch(dtype=torch.float32):
    """Logits and labels of two cases; what is labeled is known."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, CLASSES, 4, 3, 2, generator=generator, dtype=dtype)
    labels = torch.randint(0, CLASSES, (2, 1, 4, 3, 2), generator=generator)
    return logits, torch.where(KNOWN.gather(1, labels.flatten(1)).view_as(labels), labels, 0)


def gradient(loss, logits, target):
    logits = logits.clone().requires_grad_()
    loss(logits, target).backward()
    return logits.grad


def test_marginal_loss_by_hand():
    """Voxel 1 is of class 1, at 2/8; voxel 2 of background or class 2, at 1/4 + 1/2. Class 2 has no Dice to lose."""
    cross_entropy = -(log(2 / 8) + log(3 / 4)) / 2
    dice = 1 - 2 * (2 / 8) / (2 / 8 + 1 / 4 + 1)
    total = DiceCrossEntropyLoss()(LOGITS, (labels_of(1, 0), NO_2)).item()
    assert total == pytest.approx(cross_entropy + (dice + 0) / 2, abs=1e-5)


def test_marginal_gradient_by_hand():
    """Cross-entropy alone: voxel 2 draws background and class 2 up together, each by its share of their 3/4.

    d(-log(p0 + p2))/dz = p - (p0/(p0 + p2), 0, p2/(p0 + p2)) = (1/4 - 1/3, 1/4, 1/2 - 2/3), over two voxels.
    """

    def cross_entropy(logits, labels):
        logits, labels = merge_unknown(logits, labels, NO_2)
        return torch.nn.functional.cross_entropy(logits, labels[:, 0].long())

    found = gradient(cross_entropy, LOGITS, labels_of(1, 0))[0, :, 1, 0, 0]
    torch.testing.assert_close(found, torch.tensor([-1 / 12, 1 / 4, -1 / 6]) / 2)


def independent_marginal(logits, labels, weights, batch_dice):
    """In NumPy, class by class and voxel by voxel, with the unknown classes' probability counted as background's."""
    logits, labels, known = logits.double().numpy(), labels.numpy()[:, 0], KNOWN.numpy()
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    entropy = norm = 0.0
    sums = np.zeros((2, CLASSES, 3))
    for case, voxel in ((b, v) for b in range(2) for v in np.ndindex(labels.shape[1:])):
        drawn = labels[(case, *voxel)]
        at = {c: probability[(case, c, *voxel)] for c in range(CLASSES)}
        own = sum(at[c] for c in range(CLASSES) if c == 0 or not known[case, c]) if drawn == 0 else at[drawn]
        entropy -= weights[drawn] * np.log(own)
        norm += weights[drawn]
        for c in (c for c in range(1, CLASSES) if known[case, c]):
            sums[case, c] += (at[c] * (drawn == c), at[c], drawn == c)
    groups = sums.sum(0, keepdims=True) if batch_dice else sums
    dice = [1 - (2 * both + 1e-5) / (found + there + 1e-5) for group in groups for both, found, there in group[1:]]
    return entropy / norm + np.mean(dice)


@pytest.mark.parametrize(("name", "loss"), SOFTMAX.items())
def test_marginal_loss_against_an_independent_one(name, loss):
    logits, labels = batch()
    weights = [0.5, 1, 2, 1, 3] if name == "weighted" else [1] * CLASSES
    expected = independent_marginal(logits, labels, weights, batch_dice=name == "batch")
    assert loss(logits, (labels, KNOWN)).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("loss", [SOFTMAX["plain"], SOFTMAX["batch"]])
def test_marginal_gradient_against_finite_differences(loss):
    logits, labels = batch(dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss.single(x, labels, KNOWN), logits.requires_grad_())


def test_merged_channels_need_only_their_sum():
    """Where nothing is drawn, it is all the same whether a network says background or an unknown class."""
    logits, labels = batch()
    moved = logits.clone()
    moved[:, [0, 2]] = moved[:, [2, 0]]
    found, other = (SOFTMAX["plain"](x, (labels, KNOWN)) for x in (logits, moved))
    torch.testing.assert_close(found, other)
    assert not torch.isclose(SOFTMAX["plain"](logits, labels), SOFTMAX["plain"](moved, labels))


@pytest.mark.parametrize("loss", SOFTMAX.values(), ids=SOFTMAX)
def test_every_head_takes_the_marginal_form(loss):
    logits, labels = batch()
    heads = torch.stack([logits, -logits, logits / 2], dim=1)
    total = loss(heads, (labels, KNOWN))
    single = [loss(head, (labels, KNOWN)) for head in heads.unbind(1)]
    torch.testing.assert_close(total, sum(w * x for w, x in zip(head_weights(3), single, strict=True)))


@LOSSES
def test_without_unknown_classes_nothing_changes(loss):
    """To the last bit, of the loss and of its gradient."""
    logits, labels = batch()
    every = torch.ones_like(KNOWN)
    assert torch.equal(loss(logits, (labels, every)), loss(logits, labels))
    assert torch.equal(gradient(loss, logits, (labels, every)), gradient(loss, logits, labels))
    if isinstance(loss, DiceCrossEntropyLoss):
        heads = torch.stack([logits, -logits, logits], dim=1)
        assert torch.equal(loss(heads, (labels, every)), loss(heads, labels))


@pytest.mark.parametrize("loss", SIGMOID.values(), ids=SIGMOID)
def test_an_unknown_sigmoid_channel_gets_no_gradient_and_a_known_one_its_own(loss):
    """The known channels learn exactly what they would learn if all were known."""
    logits, labels = batch()
    masked, full = gradient(loss, logits, (labels, KNOWN)), gradient(loss, logits, labels)
    for case, channel in np.ndindex(2, CLASSES):
        if channel == 0 or not KNOWN[case, channel]:
            assert not masked[case, channel].any()
        else:
            assert masked[case, channel].any()
            assert torch.equal(masked[case, channel], full[case, channel])
    moved = torch.where(KNOWN[:, :, None, None, None], logits, logits + 9)
    assert torch.equal(loss(moved, (labels, KNOWN)), loss(logits, (labels, KNOWN)))


def test_sigmoid_loss_by_hand():
    """Class 1 alone counts, 3/4 where it is and 1/2 where it is not; the means divide by both classes."""
    logits = torch.tensor([[0.0, 0.0], [log(3), 0.0], [5.0, -7.0]]).reshape(1, 3, 2, 1, 1)
    cross_entropy = (-log(3 / 4) - log(1 / 2)) / 2
    dice = 1 - 2 * (3 / 4) / (9 / 16 + 1 / 4 + 1)
    total = SIGMOID["plain"](logits, (labels_of(1, 0), NO_2)).item()
    assert total == pytest.approx((cross_entropy + dice) / 2, abs=1e-4)
    nothing = torch.tensor([[True, False, False]])
    assert SIGMOID["plain"](logits, (labels_of(1, 0), nothing)).item() == 0


@pytest.mark.parametrize("loss", [SOFTMAX["plain"], *SIGMOID.values()])
def test_cases_of_a_batch_count_alike_whatever_is_known(loss):
    """What processes of a distributed training rely on."""
    logits, labels = batch()
    alone = [loss(logits[b : b + 1], (labels[b : b + 1], KNOWN[b : b + 1])) for b in range(2)]
    torch.testing.assert_close(loss(logits, (labels, KNOWN)), sum(alone) / 2)
