"""Labels beside their images: what is the same grid, what is mended, what is refused."""

import nibabel as nib
import numpy as np
import pytest

from abdoseg.checks import grid_fault, on_grid

SHAPE = (40, 30, 20)
AFFINE = np.array([[-0.8125, 0, 0, 140.3], [0, 0.8125, 0, -120.7], [0, 0, 2.5, 30.123], [0, 0, 0, 1]])


def volume(affine=AFFINE, shape=SHAPE, qform=None) -> nib.Nifti1Image:
    image = nib.Nifti1Image(np.zeros(shape, np.uint8), AFFINE)
    if np.isfinite(affine).all():
        image.set_sform(affine, 1)
    else:
        image._affine = affine  # as nibabel reads it from a file; its setters refuse it
    if qform is not None:
        image.set_qform(qform, 1)
    return image


def moved(*voxels) -> np.ndarray:
    shift = np.eye(4)
    shift[:3, 3] = voxels
    return AFFINE @ shift


def scaled(factor: float) -> np.ndarray:
    return AFFINE @ np.diag([factor, 1, 1, 1])


@pytest.mark.parametrize(
    ("label", "kind", "words"),
    [
        (volume(), None, None),
        (volume(moved(0.005, 0, 0)), None, None),
        (volume(moved(0.4, 0, 0)), "label_header", "by rounding (up to 0.4 voxels)"),
        (volume(moved(0.6, 0, 0)), "label_grid", "another affine (a corner lies 0.48"),
        (volume(moved(0, 0, 2)), "label_grid", "a corner lies 5 mm away"),
        (volume(scaled(1.01)), "label_header", "up to 0.39 voxels"),
        (volume(scaled(1.02)), "label_grid", "another affine"),
        (volume(AFFINE.round(2)), "label_header", "by rounding"),
        (volume(shape=(40, 30, 19)), "label_grid", "shape (40, 30, 19) instead of (40, 30, 20)"),
        (volume(shape=(30, 40, 20)), "label_grid", "shape (30, 40, 20)"),
        (volume(np.full((4, 4), np.nan)), "label_grid", "an affine without meaning"),
        (volume(qform=moved(9, 0, 0)), "label_header", "its qform or voxel size is not"),
    ],
)
def test_grids(label, kind, words):
    found = grid_fault("label.nii", label, "scan.nii", volume(qform=AFFINE))
    assert (found.kind if found else None) == kind
    assert found is None or words in found.message


def test_an_affine_that_is_the_images_rounded_is_mended_however_far_its_corners_move():
    affine = np.diag([0.3149, 0.3149, 1, 1])
    image = volume(affine, (512, 512, 20))
    found = grid_fault("label.nii", volume(affine.round(2), (512, 512, 20)), "scan.nii", image)
    # 511 voxels of 0.0049 mm too little.
    assert found.kind == "label_header"
    assert "up to 8 voxels" in found.message
    other = np.diag([0.3105, 0.3105, 1, 1])
    assert grid_fault("label.nii", volume(other, (512, 512, 20)), "scan.nii", image).kind == "label_grid"


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL"])
def test_another_orientation_of_the_same_grid_is_turned(codes):
    image = volume()
    values = np.random.default_rng(0).integers(0, 15, SHAPE).astype(np.uint8)
    wanted = nib.orientations.axcodes2ornt(codes)
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("LAS"), wanted)
    label = nib.Nifti1Image(values, AFFINE).as_reoriented(turn)
    found = grid_fault("label.nii", label, "scan.nii", image)
    assert found.kind == "label_turned"
    assert f"is stored as {codes}, its image as LAS" in found.message
    assert np.array_equal(on_grid(np.asarray(label.dataobj), label, image), values)
    label.affine[:3, 3] += 2
    assert grid_fault("label.nii", label, "scan.nii", image).kind == "label_grid"


def test_two_forms_that_disagree_are_the_images_fault_where_the_image_has_them_too():
    mirrored = np.diag([-1.0, 1, 1, 1]) @ AFFINE
    image, label = volume(qform=mirrored), volume(qform=mirrored)
    assert grid_fault("label.nii", label, "scan.nii", image) is None


def test_a_voxel_size_that_monai_would_follow_is_mended_in_the_label_though_its_image_has_it_too():
    image, label = volume(), volume()
    for one in (image, label):
        one.header.set_zooms((1, 1, 1))
    assert grid_fault("label.nii", label, "scan.nii", image).kind == "label_header"
