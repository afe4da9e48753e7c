"""Scores of one case from arrays of any orientation and any type of whole numbers."""

import nibabel as nib
import numpy as np
import pytest

from abdoseg.metrics import score_label_maps, to_ras

AORTA = 5
AFFINE = np.array([[0, -0.8, 0.1, 7], [0, 0.1, 0.9, -3], [2.5, 0, 0, 400], [0, 0, 0, 1.0]])  # stored as SLA, tilted


def test_a_volume_is_turned_as_nibabel_turns_it():
    volume = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    expected = nib.as_closest_canonical(nib.Nifti1Image(volume, AFFINE))
    turned, spacing = to_ras(volume, AFFINE)
    assert turned.shape == (3, 4, 2)
    np.testing.assert_array_equal(turned, expected.dataobj)
    assert spacing == pytest.approx(nib.affines.voxel_sizes(expected.affine), abs=0)
    assert spacing == pytest.approx((0.65**0.5, 0.82**0.5, 2.5))


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint64])
def test_whole_numbers_of_any_type_are_scored(kind):
    """NumPy and PyTorch give the best class as int64. Of the aorta's slices 0..4 up the body the last is left out."""
    reference, prediction = np.zeros((6, 8, 8), kind), np.zeros((6, 8, 8), kind)
    reference[:5, 2:6, 2:6] = prediction[:4, 2:6, 2:6] = AORTA
    scores = score_label_maps(prediction, reference, AFFINE)
    assert scores["aorta"] == {"dsc": 1, "nsd": 1, "present": True}
    assert scores["liver"] == {"dsc": 1, "nsd": 1, "present": False}
