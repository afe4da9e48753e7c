"""Heads as anatomies: nothing to find, in any view, and as large as heads are."""

import numpy as np
import pytest
from scipy.ndimage import label

from abdoseg.labels import CLASS_IDS
from abdoseg.synthesis import VIEWS, apply, draw, head_tissues, make_anatomy
from abdoseg.synthesis.tissues import BONE, OTHER, OUTSIDE

SPACING = 5.0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_head_is_one_body_without_organs(seed):
    tissues, affine = head_tissues([0, seed], SPACING)
    assert not set(np.unique(tissues).tolist()) & set(CLASS_IDS) - {BONE}
    assert label(tissues != OUTSIDE)[1] == 1
    liters = np.count_nonzero(tissues == OTHER) * SPACING**3 / 1e6
    assert 0.9 < liters < 2.2  # a brain with what little else is soft
    # The brain lies around the origin, in bone, above the neck.
    middle = np.linalg.inv(affine)[:3, 3].round().astype(int)
    assert tissues[tuple(middle)] == OTHER
    assert BONE in tissues[: middle[0], middle[1], middle[2]]
    assert (tissues[middle[0], middle[1], :3] != OUTSIDE).all()
    np.testing.assert_array_equal(tissues, head_tissues([0, seed], SPACING)[0])


@pytest.mark.parametrize("view", VIEWS)
def test_a_scan_of_a_head_has_no_labels_and_no_tumors(view):
    anatomy = make_anatomy(head_tissues(1, SPACING)[0], SPACING)
    rng = np.random.default_rng(0)
    for _ in range(5):
        parameters = draw(rng, anatomy, view, (32, 32, 32), (5.0, 5.0, 5.0), tumor_share=1.0)
        case = apply(anatomy, parameters)
        assert not parameters.tumors
        assert not case.label.any()
        assert np.isfinite(case.image).all()
        assert np.ptp(case.image) > 500
