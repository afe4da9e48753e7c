"""Faults of headers: dimensions, shear, the two forms of an affine, voxel sizes; legal affines are not accused."""

import copy
import itertools

import nibabel as nib
import numpy as np
import pytest
from monai.data.utils import correct_nifti_header_if_necessary

from abdoseg.checks import affine_faults, dimension_fault, open_checked, with_one_affine
from abdoseg.label_maps import has_meaning

SIDES = np.diag([-0.8, 0.8, 2.5, 1.0])


def image_of(affine, qform=None, sform_code=1, qform_code=1) -> nib.Nifti1Image:
    image = nib.Nifti1Image(np.zeros((50, 40, 30), np.int16), affine)
    image.set_sform(affine, sform_code)
    if qform is not None:
        image.set_qform(qform, qform_code)
    return image


def kinds(faults) -> list[str]:
    return [found.kind for found in faults]


def moved(affine, *mm) -> np.ndarray:
    result = np.array(affine, dtype=float)
    result[:3, 3] += mm
    return result


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((4, 5, 6), None),
        ((4, 5, 6, 1), "trailing_axis"),
        ((4, 5, 6, 1, 1), "trailing_axis"),
        ((4, 5, 6, 2), "dimensions"),
        ((4, 5, 1, 1), "dimensions"),
        ((4, 5), "dimensions"),
        ((4, 0, 6), "dimensions"),
        ((4, 5, 1), "one_slice"),
        ((1, 5, 6), "one_slice"),
        ((2, 2, 2), None),
    ],
)
def test_dimensions(shape, kind):
    found = dimension_fault("scan.nii", shape)
    assert (found.kind if found else None) == kind
    assert found is None or f"scan.nii: has shape {shape}" in found.message


def test_every_orientation_and_any_rotation_is_legal():
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            affine = np.eye(4)
            affine[:3, :3] = np.diag([0.8, 0.9, 5.0])[:, list(order)] * signs
            assert affine_faults("scan.nii", image_of(affine, affine)) == []
    for degrees in (7, 45, 80):
        turn = np.eye(4)
        angle = np.radians(degrees)
        turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        assert affine_faults("scan.nii", image_of(turn @ SIDES, turn @ SIDES)) == []
        assert affine_faults("scan.nii", image_of((turn @ SIDES).round(3))) == []


@pytest.mark.parametrize(("degrees", "named"), [(18.5, "18.5 degrees off"), (1, "1.0 degrees off"), (0.3, None)])
def test_gantry_tilt_is_a_fault(degrees, named):
    shear = np.eye(4)
    shear[1, 2] = np.tan(np.radians(degrees))
    found = affine_faults("scan.nii", image_of(shear @ SIDES))
    assert kinds(found) == (["sheared"] if named else [])
    assert named is None or named in found[0].message


@pytest.mark.parametrize("affine", [np.diag([1.0, 1, 0, 1]), np.full((4, 4), np.nan), np.ones((4, 4))])
def test_affines_without_meaning(affine):
    image = nib.Nifti1Image(np.zeros((5, 5, 5), np.int16), np.eye(4))
    image.set_sform(affine, 1)
    image._affine = np.array(affine)  # as nibabel reads it; its setters refuse some of these
    assert not has_meaning(affine)
    assert kinds(affine_faults("scan.nii", image)) == ["affine"]


def test_sform_and_qform():
    mirrored = np.diag([-1.0, 1, 1, 1]) @ SIDES
    found = affine_faults("scan.nii", image_of(SIDES, mirrored))
    assert kinds(found) == ["sform_qform"]
    # The far corner lies at voxel 49 one way and at -49 the other way: 98 voxels apart.
    assert "disagree by up to 98 voxels (they say LAS and RAS)" in found[0].message
    assert kinds(affine_faults("scan.nii", image_of(SIDES, SIDES @ np.diag([1, 1, 1.02, 1])))) == ["sform_qform"]
    # 0.3 voxels at slice 29; the qform sets the voxel size.
    assert kinds(affine_faults("scan.nii", image_of(SIDES, SIDES @ np.diag([1, 1, 1.01, 1])))) == ["pixdim"]
    # 3 mm by 4 mm.
    found = affine_faults("scan.nii", image_of(SIDES, moved(SIDES, 3, 4, 0)))
    assert kinds(found) == ["origin"]
    assert "origins 5 mm apart" in found[0].message
    assert affine_faults("scan.nii", image_of(SIDES, moved(SIDES, 0.2, 0, 0.2))) == []
    assert affine_faults("scan.nii", image_of(SIDES, mirrored, qform_code=0)) == []
    found = affine_faults("scan.nii", image_of(SIDES, SIDES, sform_code=0, qform_code=0))
    assert kinds(found) == ["no_orientation"]


def test_the_header_that_monai_would_read_another_way_is_mended(tmp_path):
    """MONAI's reader takes the qform where pixdim is not the sform's: here, it would mirror the scan."""
    image = image_of(SIDES)
    image.header.set_qform(np.eye(4), 0)  # declared unknown
    values = np.arange(image.dataobj.size, dtype=np.int16).reshape(image.shape)
    nib.save(nib.Nifti1Image(values, SIDES, image.header), tmp_path / "scan.nii")
    read = nib.load(tmp_path / "scan.nii")
    read.header.set_zooms((1, 1, 1))
    assert not np.allclose(correct_nifti_header_if_necessary(copy.deepcopy(read)).affine, SIDES)
    (found,) = affine_faults("scan.nii", read)
    assert found.kind == "pixdim"
    assert "voxels of 1 x 1 x 1 mm, its affine 0.8 x 0.8 x 2.5 mm" in found.message
    mended = with_one_affine(read)
    assert affine_faults("scan.nii", mended) == []
    assert np.allclose(correct_nifti_header_if_necessary(mended).affine, SIDES)
    assert np.allclose(mended.header.get_zooms(), (0.8, 0.8, 2.5))
    assert np.array_equal(mended.dataobj, values)


@pytest.mark.parametrize(("scale", "accused"), [(1, False), (0.001, True), (7, False), (9, True)])
def test_voxel_sizes(scale, accused):
    affine = SIDES @ np.diag([scale, scale, scale, 1])
    assert kinds(affine_faults("scan.nii", image_of(affine))) == ["spacing"] * accused


def test_files_are_opened_as_one_volume(tmp_path):
    path = tmp_path / "scan.nii.gz"
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    nib.save(nib.Nifti1Image(values[..., None], SIDES), path)
    image, found = open_checked(path)
    assert kinds(found) == ["trailing_axis"]
    assert image.shape == (3, 4, 5)
    assert np.array_equal(image.dataobj, values)
    assert np.allclose(image.affine, SIDES)
    nib.save(nib.Nifti1Image(values, SIDES), path)
    assert open_checked(path)[1] == []
    colors = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colors, SIDES), path)
    image, found = open_checked(path)
    assert (image, kinds(found)) == (None, ["unreadable"])
    for content in (b"", b"text"):
        path.write_bytes(content)
        assert kinds(open_checked(path)[1]) == ["unreadable"]
    assert "there is no such file" in open_checked(tmp_path / "none.nii")[1][0].message
