"""Shapes: nothing changed by default, sizes and turns by hand, and the sides of the body stay where they are."""

import numpy as np
import pytest

from abdoseg.synthesis import Frame, Shape, Swelling, draw_frame, draw_shape, positions, sample
from abdoseg.synthesis.tissues import FAT, LIVER, OUTSIDE, SPLEEN
from tests.synthesis.small import SPACING, block_patient, block_tissues, middle_of

PATIENT = block_patient()
WHOLE = Frame((48, 40, 44), (SPACING,) * 3, tuple(SPACING * (np.array([48, 40, 44]) - 1) / 2))


def test_the_default_shape_on_the_maps_own_grid_gives_the_map():
    tissues, depth = sample(PATIENT, positions(Shape(), WHOLE))
    np.testing.assert_array_equal(tissues, block_tissues())
    np.testing.assert_array_equal(depth, PATIENT.depth * np.float32(0.25))


def test_scale_makes_organs_larger():
    frame = Frame((40, 40, 40), (SPACING,) * 3, tuple(PATIENT.centers[LIVER]))
    plain, scaled = (sample(PATIENT, positions(Shape(scale=s), frame))[0] == LIVER for s in ((1, 1, 1), (1, 1.5, 1)))
    assert plain.any((0, 2)).sum() == 16
    assert scaled.any((0, 2)).sum() == 24
    assert scaled.any((1, 2)).sum() == plain.any((1, 2)).sum()


def test_a_quarter_turn_about_the_long_axis():
    tissues, _ = sample(PATIENT, positions(Shape(angles=(0, 0, 90)), WHOLE))
    # x of the anatomy becomes y of the scan: the liver, on the right, comes to lie in front.
    liver, spleen = (middle_of(tissues == organ) for organ in (LIVER, SPLEEN))
    assert liver[1] > spleen[1] + 5


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_swelling_changes_the_volume_of_its_organ(factor):
    center = tuple(PATIENT.centers[SPLEEN])
    shape = Shape(swellings=(Swelling(center, 60.0, factor),))
    before, after = (np.count_nonzero(sample(PATIENT, positions(s, WHOLE))[0] == SPLEEN) for s in (Shape(), shape))
    # The spleen is small beside 60 mm, so that it grows in all directions by nearly the whole factor.
    assert after / before == pytest.approx(factor**3, rel=0.2)


def test_left_and_right_stay_where_they_are():
    for seed in range(12):
        rng = np.random.default_rng(seed)
        shape = draw_shape(rng, PATIENT)
        frame = draw_frame(rng, PATIENT, "scan", (40, 32, 40), None, shape.scale)
        tissues, _ = sample(PATIENT, positions(shape, frame))
        middles = {
            organ: middle_of(tissues == organ)[0] for organ in (LIVER, SPLEEN, 2, 13) if (tissues == organ).any()
        }
        assert middles[LIVER] > middles[SPLEEN]
        if {2, 13} <= set(middles):
            assert middles[2] > middles[13]


def test_beyond_the_sides_is_air_and_beyond_the_ends_the_last_slice():
    at = np.zeros((3, 1, 1, 3), np.float32)
    at[:, 0, 0, 0] = (-30, 80, 60)
    at[:, 0, 0, 1] = (20, 20, 900)
    at[:, 0, 0, 2] = (20, 20, -50)
    tissues, _ = sample(PATIENT, at)
    assert tissues.ravel().tolist() == [OUTSIDE, FAT, FAT]


def test_bending_moves_by_the_asked_deviation():
    at = positions(Shape(elastic=((60.0, 5.0, 3),)), WHOLE) - positions(Shape(), WHOLE)
    assert 3.0 < at.std() < 6.0
    np.testing.assert_array_equal(
        positions(Shape(elastic=((60.0, 5.0, 3),)), WHOLE), positions(Shape(elastic=((60.0, 5.0, 3),)), WHOLE)
    )
