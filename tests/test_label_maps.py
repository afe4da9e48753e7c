"""Label maps: faults named in one sentence, grids compared, voxels counted."""

import nibabel as nib
import numpy as np
import pytest

from abdoseg.files import CaseError, write_label_map
from abdoseg.label_maps import count_voxels, grid_difference, read_label_map, turned_to


def test_counts_agree_with_numpy_in_both_memory_orders():
    labels = np.random.default_rng(7).integers(0, 15, (5, 4, 6)).astype(np.uint8)
    expected = [np.count_nonzero(labels == c) for c in range(15)]
    assert count_voxels(labels).tolist() == expected
    assert count_voxels(np.asfortranarray(labels)).tolist() == expected


def test_grids_differ_by_shape_or_by_a_corner_that_moved():
    affine = np.array([[-0.8, 0, 0, 10], [0, 0.8, 0, 20], [0, 0, 5, 30], [0, 0, 0, 1.0]])
    reference = nib.Nifti1Image(np.zeros((101, 50, 20), np.uint8), affine)
    # A spacing rounded to 0.8005 moves the far corner by 100 x 0.0005 = 0.05 mm, less than 0.1 x 0.8 mm.
    for spacing, same in ((0.8005, True), (0.801, False)):
        moved = affine.copy()
        moved[0, 0] = -spacing
        difference = grid_difference(nib.Nifti1Image(reference.dataobj, moved), reference)
        assert (difference is None) == same, difference
    flipped = affine.copy()
    flipped[0, 0] *= -1
    assert "160 mm" in grid_difference(nib.Nifti1Image(reference.dataobj, flipped), reference)
    smaller = nib.Nifti1Image(np.zeros((101, 50, 19), np.uint8), affine)
    assert grid_difference(smaller, reference) == "shape (101, 50, 19) instead of (101, 50, 20)"


def test_a_volume_stored_in_another_order_is_turned_without_moving_a_voxel():
    values = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    # Oblique: 40 degrees about z, so that no axis of the world decides alone.
    cos, sin = np.cos(np.radians(40)), np.sin(np.radians(40))
    affine = np.array([[-0.8 * cos, sin, 0, 10], [-0.8 * sin, -cos, 0, 20], [0, 0, 5, 30], [0, 0, 0, 1.0]])
    reference = nib.Nifti1Image(values, affine)
    # Axes (z, x, y), the last one backwards: its origin is the last y of the reference.
    stored = affine[:, [2, 0, 1, 3]] @ np.diag([1, 1, -1, 1.0])
    stored[:, 3] = affine @ [0, 2, 0, 1]
    turned = turned_to(nib.Nifti1Image(values.transpose(2, 0, 1)[..., ::-1], stored), reference)
    assert grid_difference(turned, reference) is None
    np.testing.assert_array_equal(turned.dataobj, values)
    smaller = turned_to(nib.Nifti1Image(values.transpose(2, 0, 1)[:3], stored), reference)
    assert grid_difference(smaller, reference) == "shape (2, 3, 3) instead of (2, 3, 4)"


def test_unreadable_label_maps_are_named(tmp_path):
    # Large enough that the cut is behind the header, which stays readable.
    shape = (59, 48, 47)
    grid = nib.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4))
    path = tmp_path / "0001.nii.gz"
    write_label_map(path, np.random.default_rng(0).integers(0, 15, shape), grid)
    labels, image = read_label_map(path)
    assert labels.dtype == np.uint8
    assert image.shape == labels.shape
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(CaseError, match=r"0001\.nii\.gz: the voxels cannot be read"):
        read_label_map(path)
    path.write_bytes(b"not a volume")
    with pytest.raises(CaseError, match=r"0001\.nii\.gz: cannot be read"):
        read_label_map(path)
    with pytest.raises(CaseError, match=r"0002\.nii\.gz: there is no such file"):
        read_label_map(tmp_path / "0002.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3, 2), np.uint8), np.eye(4)), path)
    with pytest.raises(CaseError, match="three dimensions"):
        read_label_map(path)
