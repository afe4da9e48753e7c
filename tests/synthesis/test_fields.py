"""Smooth random fields: mean, deviation, correlation length and seeds."""

import numpy as np
import pytest

from abdoseg.synthesis.fields import smooth_field


def test_fields_have_mean_0_and_deviation_1_whatever_their_length():
    for length in (1.0, 3.0, 8.0):
        field = smooth_field(1, (72, 72, 72), length, 2)
        assert field.shape == (2, 72, 72, 72)
        assert field.dtype == np.float32
        assert field.mean() == pytest.approx(0, abs=0.25)  # some hundred blotches at length 8
        # Between two lattice points linear interpolation takes some of the deviation away.
        assert 0.65 < field.std() < 1.1, length


def test_neighbors_resemble_each_other_as_far_as_the_length():
    field = smooth_field(2, (96, 96, 96), 12.0)[0]
    near, far = (np.corrcoef(field[:-gap].ravel(), field[gap:].ravel())[0, 1] for gap in (2, 30))
    assert near > 0.9
    assert abs(far) < 0.2
    white = smooth_field(2, (64, 64, 64), 1.0)[0]
    assert abs(np.corrcoef(white[:-1].ravel(), white[1:].ravel())[0, 1]) < 0.02


def test_the_seed_decides_and_channels_differ():
    first, again, other = (smooth_field(seed, (20, 18, 16), (5, 4, 3), 2) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])
