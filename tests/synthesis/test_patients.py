"""Phantom patients as anatomies: every organ, the right sides, the same bytes again."""

import numpy as np

from abdoseg.labels import ORGAN_IDS
from abdoseg.synthesis import phantom_tissues
from abdoseg.synthesis.tissues import FAT, TABLE, TUMOR


def test_a_phantom_patient_has_every_organ_on_its_side():
    tissues, affine = phantom_tissues([0, 1], 5.0)
    present = set(np.unique(tissues).tolist())
    assert set(ORGAN_IDS) | {0, FAT} <= present
    assert not {TABLE, TUMOR} & present
    np.testing.assert_array_equal(np.diag(affine), [5, 5, 5, 1])
    x = {organ: np.argwhere(tissues == organ)[:, 0].mean() for organ in (1, 2, 3, 7, 8, 13)}
    assert x[2] > x[13]
    assert x[7] > x[8]
    assert x[1] > x[3]
    np.testing.assert_array_equal(tissues, phantom_tissues([0, 1], 5.0)[0])
    assert not np.array_equal(tissues, phantom_tissues([0, 2], 5.0)[0])
