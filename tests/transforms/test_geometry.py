"""Spacing and orientation from affines."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from abdoseg.transforms import file_name_of, require_ras, resized_spacing, spacing_of
from abdoseg.transforms.geometry import empty_image


def rotated(spacing, degrees: float) -> np.ndarray:
    """Affine turned about the x axis."""
    angle = np.deg2rad(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing)
    return affine


@pytest.mark.parametrize("degrees", [0, 17])
def test_spacing_of_one_image_and_of_a_batch(degrees):
    affine = torch.as_tensor(rotated((0.8, 0.7, 2.5), degrees))
    single = MetaTensor(torch.zeros(1, 1, 2, 2, 2), affine=affine)
    batch = MetaTensor(torch.zeros(2, 1, 2, 2, 2), affine=torch.stack([affine, 2 * affine]))
    np.testing.assert_allclose(spacing_of(single), (0.8, 0.7, 2.5))
    np.testing.assert_allclose(spacing_of(batch, 0), (0.8, 0.7, 2.5))
    np.testing.assert_allclose(spacing_of(batch, 1), (1.6, 1.4, 5.0))


def test_plain_tensor_is_refused():
    with pytest.raises(TypeError, match=r"got Tensor.*LoadImaged"):
        spacing_of(torch.zeros(1, 2, 2, 2))


def test_degenerate_affine_is_refused():
    with pytest.raises(ValueError, match="must be positive"):
        spacing_of(MetaTensor(torch.zeros(1, 2, 2, 2), affine=torch.diag(torch.tensor([1.0, 0.0, 1.0, 1.0]))))


def test_oblique_ras_passes_and_others_do_not():
    require_ras(MetaTensor(torch.zeros(1, 2, 2, 2), affine=torch.as_tensor(rotated((1, 1, 3), 20))))
    with pytest.raises(ValueError, match="oriented RSP"):
        require_ras(MetaTensor(torch.zeros(1, 2, 2, 2), affine=torch.as_tensor(rotated((1, 1, 3), 80))))


def test_file_name_of_images_and_batches():
    named = MetaTensor(torch.zeros(1), meta={"filename_or_obj": "a.nii.gz"})
    batch = MetaTensor(torch.zeros(2), meta={"filename_or_obj": ["a.nii.gz", "b.nii.gz"]})
    assert file_name_of(named) == "a.nii.gz"
    assert file_name_of(batch, 1) == "b.nii.gz"
    assert file_name_of(torch.zeros(1)) == "the image"


def test_resized_spacing_by_hand():
    # 5 voxels of 2 mm span 8 mm from center to center, one voxel 2 mm from edge to edge.
    assert resized_spacing((2,) * 3, (5, 5, 1), (3, 9, 4)).tolist() == [4.0, 1.0, 0.5]


def test_empty_image_has_the_grid():
    affine = rotated((1, 2, 3), 10)
    image = empty_image(MetaTensor(torch.ones(1, 2, 3, 4), affine=torch.as_tensor(affine)))
    assert image.shape == (2, 3, 4)
    np.testing.assert_allclose(image.affine, affine)
