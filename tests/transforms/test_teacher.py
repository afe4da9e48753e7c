"""Teacher preparation: the plan's spacing and normalization, with aligned edges."""

import numpy as np
import torch
from monai.data import MetaTensor

from abdoseg.transforms import PrepareTeacherd
from abdoseg.transforms.teacher import edge_aligned_affine, plan_shape

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
