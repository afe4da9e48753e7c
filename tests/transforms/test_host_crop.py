"""The crop of a tumor network: the box of its host and of the host's tumors, in world coordinates, as 0 and 1."""

import logging

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from abdoseg.transforms.host_crop import CropHostd
from abdoseg.tumors import CropRule, host_boxes

RULE = CropRule((2, 4, 5), "mm")
SPACING = (1.0, 2.0, 5.0)
# Margins of RULE: 2, 2 and 1 voxels.
RIGHT, LEFT = (slice(20, 26), slice(8, 12), slice(4, 8)), (slice(6, 12), slice(8, 12), slice(3, 6))
# Reaches two voxels out of the left kidney, and lies within its box for the most part.
TUMOR = (slice(10, 14), slice(9, 11), slice(4, 5))


def case(parts, organ=None, flip=False) -> dict:
    labels = np.zeros((32, 20, 12), np.uint8)
    for box, value in parts:
        labels[box] = value
    affine = np.diag([-1.0 if flip else 1.0, *SPACING[1:], 1.0])
    affine[:3, 3] = (-10, 20, 300)
    image = torch.arange(labels.size, dtype=torch.float32).reshape(1, *labels.shape)
    label = torch.as_tensor(labels)[None].float()
    meta = {"filename_or_obj": "0001.nii.gz"}
    result = {
        "image": MetaTensor(image, affine=torch.as_tensor(affine), meta=meta),
        "label": MetaTensor(label, affine=torch.as_tensor(affine), meta=meta),
        "id": "0001",
    }
    return result if organ is None else {**result, "organ": organ}


KIDNEYS = [(RIGHT, 2), (LEFT, 13), (TUMOR, 14)]


@pytest.mark.parametrize(
    ("organ", "box", "voxels"),
    [
        (2, (slice(18, 28), slice(6, 14), slice(3, 9)), 0),
        # Organ 6:12 and its tumor to 14, widened by 2.
        (13, (slice(4, 16), slice(6, 14), slice(2, 7)), 8),
        (None, (slice(4, 16), slice(6, 14), slice(2, 7)), 8),
    ],
)
def test_the_crop_is_the_box_of_one_organ_and_its_tumors(organ, box, voxels):
    given = case(KIDNEYS, organ)
    cropped = CropHostd("kidneys", RULE)(given)

    assert "organ" not in cropped
    assert cropped["id"] == "0001"
    torch.testing.assert_close(cropped["image"].as_tensor(), given["image"].as_tensor()[(slice(None), *box)])
    expected = given["label"].as_tensor()[(slice(None), *box)] == 14
    assert torch.equal(cropped["label"].as_tensor(), expected.to(torch.uint8))
    assert int(expected.sum()) == voxels
    for key in ("image", "label"):
        # The first voxel of the crop keeps its place in the world.
        corner = given["image"].affine @ torch.tensor([*(side.start for side in box), 1.0], dtype=torch.float64)
        torch.testing.assert_close(cropped[key].affine[:, 3], corner)
        torch.testing.assert_close(cropped[key].affine[:3, :3], given["image"].affine[:3, :3])
        assert cropped[key].meta["filename_or_obj"] == "0001.nii.gz"


def test_training_and_inference_cut_the_same_box_of_the_same_organ():
    labels = case(KIDNEYS)["label"].as_tensor()[0].numpy().astype(np.uint8)
    target = labels.copy()
    target[TUMOR] = 13
    for rule in (RULE, CropRule(), CropRule((5, 10, 10), "voxel", 8)):
        inference = dict(host_boxes(target, "kidneys", SPACING, rule))
        assert CropHostd("kidneys", rule).box(labels, SPACING, 13) == inference[13]


def test_rest_is_one_box_of_all_organs():
    cropped = CropHostd("rest", RULE)(case([*KIDNEYS, ((slice(0, 2), slice(0, 2), slice(0, 2)), 3)], 0))
    assert cropped["image"].shape == (1, 28, 14, 9)
    assert int(cropped["label"].sum()) == 8


@pytest.mark.parametrize("organ", [None, 4])
def test_without_the_organ_the_case_stays_whole(organ, caplog):
    with caplog.at_level(logging.WARNING):
        cropped = CropHostd("pancreas", RULE)(case(KIDNEYS, organ))
    assert "0001.nii.gz: no pancreas in the label map; the crop is the whole scan" in caplog.text
    assert cropped["image"].shape == (1, 32, 20, 12)
    assert int(cropped["label"].sum()) == 8


def test_more_than_six_tumors_are_cropped_as_well():
    foci = [((slice(6 + 2 * i, 7 + 2 * i), slice(9, 10), slice(4, 5)), 14) for i in range(3)]
    foci += [((slice(20 + 2 * i, 21 + 2 * i), slice(9, 10), slice(6, 7)), 14) for i in range(3)]
    foci += [((slice(6, 7), slice(8, 9), slice(3, 4)), 14)] * 1 + [((slice(25, 26), slice(11, 12), slice(4, 5)), 14)]
    cropped = CropHostd("kidneys", RULE)(case([(RIGHT, 2), (LEFT, 13), *foci], 13))
    assert cropped["image"].shape == (1, 10, 8, 5)


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="Unknown family 'colon'"):
        CropHostd("colon")
    with pytest.raises(ValueError, match="oriented LAS; it must be RAS"):
        CropHostd("kidneys")(case(KIDNEYS, flip=True))
