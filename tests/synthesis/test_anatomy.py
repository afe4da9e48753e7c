"""Anatomies: depth worked out by hand, boxes, resampling, and what is refused."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from abdoseg.files import CaseError
from abdoseg.synthesis import PrepareAnatomyd, check_tissues, make_anatomy
from abdoseg.synthesis.anatomy import DEPTH_STEP_MM
from abdoseg.synthesis.tissues import FAT, LIVER
from tests.synthesis.small import BLOCKS, SPACING, block_patient, block_tissues


def test_depth_by_hand():
    tissues = np.zeros((13, 13, 13), np.uint8)
    tissues[1:-1, 1:-1, 1:-1] = FAT
    tissues[3:10, 3:10, 3:10] = LIVER
    depth = make_anatomy(tissues, 2.0).depth * DEPTH_STEP_MM
    # The center of the outermost voxel of a tissue lies half a voxel, 1 mm, under its surface, the next 3 mm.
    assert depth[3, 6, 6] == 1.0
    assert depth[4, 6, 6] == 3.0
    assert depth[6, 6, 6] == 7.0
    assert depth[1, 6, 6] == 1.0
    assert depth[2, 6, 6] == 3.0
    assert depth[0, 6, 6] == 1.0  # air: 1 mm from the skin


def test_boxes_and_centers_are_in_mm():
    patient = block_patient()
    (x0, x1), (y0, y1), (z0, z1) = BLOCKS[LIVER]
    expected = SPACING * np.array([[x0, y0, z0], [x1 - 1, y1 - 1, z1 - 1]])
    np.testing.assert_array_equal(patient.boxes[LIVER], expected)
    np.testing.assert_array_equal(patient.centers[LIVER], expected.mean(0))
    assert sorted(patient.centers) == [1, 2, 3, 9, 11, 13]
    np.testing.assert_array_equal(patient.organs_box[0], SPACING * np.array([8, 5, 8]))
    np.testing.assert_array_equal(patient.body_box, SPACING * np.array([[2, 2, 0], [45, 37, 43]]))


def meta(tissues: np.ndarray, affine=None) -> MetaTensor:
    affine = np.diag([SPACING, SPACING, SPACING, 1.0]) if affine is None else affine
    return MetaTensor(torch.from_numpy(tissues)[None], affine=torch.as_tensor(affine))


def test_maps_are_resampled_to_the_spacing():
    anatomy = PrepareAnatomyd("label", 2.0)({"label": meta(block_tissues())})["anatomy"]
    assert anatomy.tissues.shape == (96, 80, 88)
    assert anatomy.spacing == 2.0
    # Every voxel became eight; what ties at a border may become background.
    assert np.count_nonzero(anatomy.tissues == LIVER) == pytest.approx(8 * 12 * 16 * 14, rel=0.08)


def test_what_is_no_tissue_map_is_refused():
    with pytest.raises(CaseError, match=r"map\.nii: has the value 28; a tissue map holds ids from 0 to 27"):
        check_tissues(np.array([1, 28]), "map.nii")
    with pytest.raises(CaseError, match=r"map\.nii: is empty; a tissue map has a body, ids from 1 to 27"):
        check_tissues(np.array([0, 0]), "map.nii")
    check_tissues(np.array([0, FAT]), "map.nii")  # a head, or a leg
    turned = nib.as_closest_canonical(nib.Nifti1Image(block_tissues(), np.diag([-4.0, 4, 4, 1]))).affine
    turned[0, 0] *= -1
    with pytest.raises(ValueError, match="must be RAS"):
        PrepareAnatomyd()({"label": meta(block_tissues(), turned)})
