"""Anatomical flips: sides are exchanged with the axis, and nothing else is."""

import pytest
import torch
from monai.data import MetaTensor

from abdoseg.transforms import FLIP_AXES, RandAnatomicalFlipd, flip_image, flip_labels, flip_logits

LABEL_LINE = torch.tensor([2, 7, 1, 14, 8, 13], dtype=torch.uint8).reshape(1, 6, 1, 1)


def test_left_right_flip_swaps_sides_by_hand():
    # Reversed: 13 8 14 1 7 2; then 13 <-> 2 and 8 <-> 7.
    assert flip_labels(LABEL_LINE, "left-right").flatten().tolist() == [2, 7, 14, 1, 8, 13]
    assert flip_labels(LABEL_LINE, "left-right", swap_sides=False).flatten().tolist() == [13, 8, 14, 1, 7, 2]


@pytest.mark.parametrize(
    ("axis", "dimension"), [("left-right", 1), ("posterior-anterior", 2), ("inferior-superior", 3)]
)
def test_axes_of_a_ras_image(axis, dimension):
    image = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert torch.equal(flip_image(image, axis), image.flip(dimension))


@pytest.mark.parametrize("axis", ["posterior-anterior", "inferior-superior"])
def test_other_flips_leave_ids(axis):
    labels = torch.randint(0, 15, (1, 3, 4, 5), generator=torch.Generator().manual_seed(0))
    assert torch.equal(flip_labels(labels, axis), flip_image(labels, axis))


@pytest.mark.parametrize("axis", FLIP_AXES)
def test_two_flips_are_none(axis):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 15, (1, 3, 4, 5), generator=generator)
    logits = torch.randn(2, 15, 3, 4, 5, generator=generator)
    assert torch.equal(flip_labels(flip_labels(labels, axis), axis), labels)
    assert torch.equal(flip_logits(flip_logits(logits, axis), axis), logits)


@pytest.mark.parametrize("axis", FLIP_AXES)
@pytest.mark.parametrize("classes", [14, 15])
def test_argmax_of_flipped_logits_is_the_flipped_label(axis, classes):
    logits = torch.randn(1, classes, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(flip_logits(logits, axis).argmax(1), flip_labels(logits.argmax(1), axis))


def test_logits_without_the_pair_are_not_exchanged():
    logits = torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(flip_logits(logits, "left-right"), logits.flip(1))


def test_unknown_axis_lists_the_known():
    with pytest.raises(ValueError, match=r"'lateral'.*'left-right', 'posterior-anterior', 'inferior-superior'"):
        RandAnatomicalFlipd("image", axis="lateral")


def test_transform_flips_image_and_label_together():
    data = {"image": LABEL_LINE.float(), "label": LABEL_LINE, "id": "a"}
    always = RandAnatomicalFlipd("image", "label", axis="left-right", prob=1.0)(data)
    assert torch.equal(always["image"], LABEL_LINE.float().flip(1))
    assert torch.equal(always["label"], flip_labels(LABEL_LINE, "left-right"))
    never = RandAnatomicalFlipd("image", "label", axis="left-right", prob=0.0)(data)
    assert torch.equal(never["label"], LABEL_LINE)
    assert data["label"] is LABEL_LINE


def test_transform_draws_with_its_probability():
    flip = RandAnatomicalFlipd("image", "label", prob=0.5)
    flip.set_random_state(seed=0)
    data = {"image": LABEL_LINE.float(), "label": LABEL_LINE}
    flips = sum(torch.equal(flip(data)["image"], data["image"].flip(1)) for _ in range(200))
    # 200 draws of probability 0.5: 60..140 is more than five standard deviations wide.
    assert 60 < flips < 140


def test_transform_refuses_another_orientation():
    affine = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0]))
    data = {"image": MetaTensor(torch.zeros(1, 3, 3, 3), affine=affine)}
    with pytest.raises(ValueError, match="oriented LAS; it must be RAS"):
        RandAnatomicalFlipd("image", (), prob=0.0)(data)
