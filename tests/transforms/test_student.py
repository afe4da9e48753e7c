"""Student preparation: the right voxels, the right affine, and it collates."""

import logging

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor, list_data_collate

from abdoseg.transforms import PrepareStudentd, flip_labels, window_and_standardize

AFFINE = torch.tensor([[2.0, 0, 0, -10], [0, 2.0, 0, 5], [0, 0, 5.0, 100], [0, 0, 0, 1]], dtype=torch.float64)


def case(name: str = "A") -> dict:
    image = torch.randn(1, 30, 28, 20, generator=torch.Generator().manual_seed(0)) * 200
    label = torch.zeros(1, 30, 28, 20)
    label[:, 14:16, 13:15, 9:11] = 1
    return {
        "id": name,
        "image": MetaTensor(image, affine=AFFINE, meta={"filename_or_obj": f"{name}_0000.nii.gz"}),
        "label": MetaTensor(label, affine=AFFINE, meta={"filename_or_obj": f"{name}.nii.gz"}),
    }


def test_crop_of_its_own_size_is_the_standardized_crop():
    # Box 14..15, 13..14, 9..10 plus 20 mm: 10, 10 and 4 voxels on each side.
    data = case()
    crop = data["image"].as_tensor()[:, 4:26, 3:25, 5:15]
    result = PrepareStudentd((22, 22, 10), crop_margin_mm=20)(data)
    torch.testing.assert_close(result["image"].as_tensor(), window_and_standardize(crop))
    assert torch.equal(result["label"].as_tensor(), data["label"].as_tensor()[:, 4:26, 3:25, 5:15].to(torch.uint8))
    assert result["label"].dtype == torch.uint8
    assert result["image"].affine[:3, 3].tolist() == [-10 + 8, 5 + 6, 100 + 25]


def test_whole_volume_and_its_affine():
    result = PrepareStudentd((15, 10, 8))(case())
    assert result["image"].shape == result["label"].shape == (1, 15, 10, 8)
    affine = result["image"].affine.numpy()
    # The outermost voxel centers stay where they were.
    np.testing.assert_allclose(
        nib.affines.apply_affine(affine, [[0, 0, 0], [14, 9, 7]]),
        nib.affines.apply_affine(AFFINE.numpy(), [[0, 0, 0], [29, 27, 19]]),
    )
    assert result["image"].mean().abs() < 1e-4
    assert (result["image"].std() - 1).abs() < 1e-2


def test_statistics_are_those_of_the_resized_volume_in_the_window():
    data = case()
    data["image"][:, :2] = 3000
    image = PrepareStudentd((12, 12, 12), hu_window=(-100, 100))(data)["image"]
    bounds = [float(image.min()), float(image.max())]
    # Clipped at both ends of a window of 200 HU whose deviation is below 100 HU.
    assert bounds[1] - bounds[0] > 2
    assert (image == bounds[1]).sum() > 100


def test_empty_label_gives_the_whole_volume_and_a_warning(caplog):
    data = case("B")
    data["label"][:] = 0
    with caplog.at_level(logging.WARNING):
        result = PrepareStudentd((30, 28, 20), crop_margin_mm=20)(data)
    assert "B.nii.gz" in caplog.text
    torch.testing.assert_close(result["image"].as_tensor(), window_and_standardize(data["image"].as_tensor()))


def test_cases_collate():
    prepare = PrepareStudentd((8, 8, 8), crop_margin_mm=20)
    cases = [prepare(case("A")), prepare(case("B"))]
    cases[1]["label"] = flip_labels(cases[1]["label"], "left-right")
    batch = list_data_collate(cases)
    assert batch["image"].shape == (2, 1, 8, 8, 8)
    assert batch["image"].dtype == torch.float32
    assert batch["label"].dtype == torch.uint8


def test_label_may_be_missing_where_nothing_is_cropped():
    data = case()
    del data["label"]
    assert "label" not in PrepareStudentd((8, 8, 8))(data)


def test_another_orientation_is_refused():
    data = case()
    data["image"].affine = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="LPS"):
        PrepareStudentd((8, 8, 8))(data)
