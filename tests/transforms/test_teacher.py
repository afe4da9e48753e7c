"""Teacher preparation: the plan's spacing and normalization, with aligned edges."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from abdoseg.transforms import PrepareTeacherd
from abdoseg.transforms.teacher import edge_aligned_affine, image_at_plan, plan_shape

PLAN = {"spacing": [2.0, 2.0, 4.0], "normalization": {"lower": -100.0, "upper": 200.0, "mean": 50.0, "std": 100.0}}


def test_shape_at_the_plan_is_rounded():
    # 10.5, 11.6 and 0.25 voxels.
    assert plan_shape((30, 29, 1), (0.7, 0.8, 1.0), PLAN) == (10, 12, 1)


def test_prepared_case_by_hand():
    image = torch.tensor([0.0, 100.0, 200.0, 300.0]).reshape(1, 4, 1, 1).expand(1, 4, 2, 4)
    label = (image >= 200) * 13
    affine = torch.eye(4, dtype=torch.float64)
    data = {"image": MetaTensor(image.clone(), affine=affine), "label": MetaTensor(label, affine=affine)}
    result = PrepareTeacherd(PLAN)(data)
    assert result["image"].shape == (1, 2, 1, 1)
    # Clipped to 0, 100, 200, 200 and normalized to -0.5, 0.5, 1.5, 1.5 before pairs of voxels are averaged.
    torch.testing.assert_close(result["image"].as_tensor().flatten(), torch.tensor([0.0, 1.5]))
    assert result["label"].flatten().tolist() == [0, 13]
    assert result["label"].dtype == torch.uint8
    np.testing.assert_allclose(result["image"].affine.numpy().diagonal(), [2, 2, 4, 1])


def test_outer_edges_stay():
    affine = edge_aligned_affine(np.diag([1.0, 1.0, 3.0, 1.0]), (10, 10, 4), (5, 20, 3))
    edges = affine @ np.array([[-0.5, 4.5], [-0.5, 19.5], [-0.5, 2.5], [1, 1]])
    np.testing.assert_allclose(edges[:3], [[-0.5, 9.5], [-0.5, 9.5], [-1.5, 10.5]])


def test_area_mode_by_hand():
    # 1.5 mm to 2 mm: four voxels become three. Clipped and normalized: -0.5, 0.5, 1.5, 1.5.
    image = torch.tensor([0.0, 100.0, 200.0, 300.0]).reshape(1, 4, 1, 1)
    label = torch.tensor([1, 1, 13, 13]).reshape(1, 4, 1, 1)
    affine = torch.diag(torch.tensor([1.5, 2.0, 4.0, 1.0], dtype=torch.float64))
    data = {"image": MetaTensor(image, affine=affine), "label": MetaTensor(label, affine=affine)}
    by_area = PrepareTeacherd(PLAN, image_mode="area")(data)
    torch.testing.assert_close(by_area["image"].as_tensor().flatten(), torch.tensor([0.0, 1.0, 1.5]))
    assert torch.equal(by_area["image"].as_tensor(), image_at_plan(image, (1.5, 2, 4), PLAN, mode="area"))
    # Trilinear, at 1/6, 1.5 and 2.83; labels do not depend on the mode.
    trilinear = PrepareTeacherd(PLAN)(data)
    torch.testing.assert_close(trilinear["image"].as_tensor().flatten(), torch.tensor([-1 / 3, 1.0, 1.5]))
    assert torch.equal(by_area["label"].as_tensor(), trilinear["label"].as_tensor())
    assert set(by_area["label"].unique().tolist()) <= {0, 1, 13}


def test_unknown_mode_is_refused_before_the_first_case():
    with pytest.raises(ValueError, match=r"'cubic'.*'trilinear', 'area'"):
        PrepareTeacherd(PLAN, image_mode="cubic")
