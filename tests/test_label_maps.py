"""Label maps: faults named in one sentence, grids compared, voxels counted."""

import errno
import gzip
import os

import nibabel as nib
import numpy as np
import pytest

from abdoseg.files import CaseError, write_label_map
from abdoseg.label_maps import as_label_map, count_voxels, grid_difference, open_image, read_label_map, turned_to


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


@pytest.mark.parametrize(("value", "told"), [(1.0000001, "1.0000001"), (np.float32(0.9), "0.9"), (np.uint8(15), "15")])
def test_a_value_that_is_refused_is_told_to_its_last_digit(value, told):
    """A 1.0000001 that reads as 1 would be one of the values that the same sentence asks for."""
    with pytest.raises(CaseError, match=rf"^a\.nii: unknown label value {told.replace('.', '[.]')}; label values are"):
        as_label_map(np.array([[[0, value]]], dtype=np.asarray(value).dtype), "a.nii")


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


def declare(path, shape: tuple[int, int, int]) -> None:
    """Let a header declare another shape than its file holds."""
    raw = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    raw[42:48] = np.array(shape, "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(raw)) if path.suffix == ".gz" else bytes(raw))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_header_that_declares_more_than_its_file_can_hold_is_refused_before_anything_is_allocated(tmp_path, ending):
    path = tmp_path / f"0001{ending}"
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4)), path)
    assert open_image(path).shape == (3, 4, 5)
    declare(path, (30000, 30000, 30000))
    with pytest.raises(
        CaseError, match=rf"0001{ending}: its header declares the shape \(30000, 30000, 30000\), more than"
    ):
        open_image(path)


def test_the_best_that_gzip_can_do_is_believed(tmp_path):
    path = tmp_path / "0001.nii.gz"
    write_label_map(path, np.zeros((300, 300, 300), np.uint8), nib.Nifti1Image(np.zeros((300, 300, 300)), np.eye(4)))
    assert 27e6 / path.stat().st_size > 150
    assert not read_label_map(path)[0].any()
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 9))
    assert not read_label_map(path)[0].any()


def test_what_is_no_plain_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii.gz")
    (tmp_path / "folder.nii.gz").mkdir()
    (tmp_path / "loop.nii.gz").symlink_to("loop.nii.gz")
    for name, what in (("pipe", "is no plain file"), ("folder", "is no plain file"), ("loop", "there is no such file")):
        with pytest.raises(CaseError, match=rf"{name}\.nii\.gz: {what}"):
            open_image(tmp_path / f"{name}.nii.gz")


def test_a_plain_file_that_shrinks_after_it_was_opened_is_a_fault_and_kills_nobody(tmp_path):
    path = tmp_path / "0001.nii"
    nib.save(nib.Nifti1Image(np.zeros((64, 64, 64), np.uint8), np.eye(4)), path)
    image = open_image(path)
    os.truncate(path, 20_000)
    with pytest.raises(Exception, match="bytes") as error:  # were it mapped, the process would get SIGBUS
        np.asanyarray(image.dataobj)
    assert not isinstance(image.dataobj, np.memmap), error


def test_a_mount_that_has_gone_is_no_fault_of_the_file(tmp_path, monkeypatch):
    path = tmp_path / "0001.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4)), path)

    def gone(*_, **__):
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    monkeypatch.setattr(nib, "load", gone)
    with pytest.raises(OSError, match="Stale file handle"):
        open_image(path)
