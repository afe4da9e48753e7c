"""Tests of the crops around patches: by hand, at the image's border, and against MONAI's own where no room is asked."""

from collections import Counter

import pytest
import torch
from monai.transforms import CenterSpatialCropd, ClassesToIndicesd, RandCropByLabelClassesd

from abdoseg.transforms.patch import RandCropWithRoomd, crop_around

CHOICE = {"label_key": "label", "num_classes": 2}
KEYS = ["image", "label"]


def case(shape):
    """An image whose voxels hold 1, 2, 3, ... and a label with a corner."""
    image = torch.arange(1.0, torch.Size(shape).numel() + 1).reshape(1, *shape)
    label = torch.zeros(1, *shape, dtype=torch.uint8)
    label[:, 0, 0, 0] = 1
    return {"image": image, "label": label}


def test_beyond_the_image_a_crop_is_zero():
    line = torch.arange(1, 6, dtype=torch.uint8).reshape(1, 5, 1, 1)
    assert crop_around(line, (2, 0, 0), (3, 1, 1)).flatten().tolist() == [2, 3, 4]
    assert crop_around(line, (0, 0, 0), (4, 1, 1)).flatten().tolist() == [0, 0, 1, 2]
    assert crop_around(line, (4, 0, 0), (5, 1, 1)).flatten().tolist() == [3, 4, 5, 0, 0]
    assert crop_around(line, (2, 0, 0), (9, 1, 1)).flatten().tolist() == [0, 0, 1, 2, 3, 4, 5, 0, 0]
    assert crop_around(line, (2, 0, 0), (3, 1, 1)).dtype == torch.uint8


def test_without_room_it_is_the_stock_crop():
    ours = RandCropWithRoomd(KEYS, (4, 5, 3), 0.5, spatial_size=(4, 5, 3), **CHOICE).set_random_state(3)
    stock = RandCropByLabelClassesd(KEYS, spatial_size=(4, 5, 3), **CHOICE).set_random_state(3)
    for _ in range(10):
        ((found,), (wanted,)) = ours(case((9, 8, 7))), stock(case((9, 8, 7)))
        for key in KEYS:
            assert torch.equal(found[key], wanted[key].as_tensor())


def test_the_patch_lies_in_the_middle_of_the_crop():
    ours = RandCropWithRoomd(KEYS, (7, 8, 3), 0.5, spatial_size=(4, 5, 3), **CHOICE).set_random_state(5)
    stock = RandCropByLabelClassesd(KEYS, spatial_size=(4, 5, 3), **CHOICE).set_random_state(5)
    middle = CenterSpatialCropd(KEYS, (4, 5, 3))
    for _ in range(20):
        ((found,), (wanted,)) = ours(case((9, 8, 7))), stock(case((9, 8, 7)))
        assert found["image"].shape == (1, 7, 8, 3)
        assert torch.equal(middle(found)["image"].as_tensor(), wanted["image"].as_tensor())


@pytest.mark.parametrize(("classes", "share"), [((1,), 0.25), ((1, 4), 0.25), ((2, 3, 5), 0.6), ((), 0.0)])
def test_the_share_of_patches_with_foreground_is_that_of_the_option_however_many_classes_a_case_has(classes, share):
    line = torch.zeros(1, 20, 1, 1, dtype=torch.uint8)
    for number, value in enumerate(classes):
        line[0, 5 + number] = value
    crop = RandCropWithRoomd(
        "label", (1, 1, 1), share or 0.25, spatial_size=(1, 1, 1), label_key="label", num_classes=6, indices_key="where"
    ).set_random_state(1)
    indices = ClassesToIndicesd("label", indices_postfix="_where", num_classes=6)({"label": line})["label_where"]
    n = 4000
    found = Counter(int(crop({"label": line, "where": indices})[0]["label"]) for _ in range(n))
    assert set(found) == {0, *classes}
    for value in classes:
        # Three standard deviations of a binomial share of 0.25 among 4000 are 0.02.
        assert found[value] / n == pytest.approx(share / len(classes), abs=0.025)
    assert found[0] / n == pytest.approx(1 - share, abs=0.025)
