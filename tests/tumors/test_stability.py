"""Changes of labels between rounds, and which cases are left out for them."""

import math

import numpy as np
import pytest

from abdoseg.tumors import label_change, unstable_cases


def test_change_by_hand():
    before = np.array([0, 1, 1, 2, 0, 3], dtype=np.uint8).reshape(1, 2, 3)
    after = np.array([0, 1, 2, 2, 14, 0], dtype=np.uint8).reshape(1, 2, 3)
    # Three voxels differ, four are labeled after.
    assert label_change(before, after) == 3 / 4
    before[0, 0, 1] = 0
    # One more differs; seen the other way round three are labeled.
    assert label_change(before, after) == 4 / 4
    assert label_change(after, before) == 4 / 3


def test_empty_maps():
    nothing, something = np.zeros((2, 2, 1), dtype=np.uint8), np.ones((2, 2, 1), dtype=np.uint8)
    assert label_change(nothing, nothing) == 0
    assert label_change(nothing, something) == 1
    assert label_change(something, nothing) == math.inf


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="must agree"):
        label_change(np.zeros((2, 2, 1)), np.zeros((2, 2, 2)))


def test_the_largest_change_comes_first():
    changes = {"a": 0.45, "b": 0.5, "c": 0.1, "d": math.inf}
    assert unstable_cases(changes, discard=0.5) == ["d", "b"]
    assert unstable_cases(changes, discard=1) == ["d", "b", "a", "c"]
    assert unstable_cases(changes, discard=0) == []


def test_equal_cases_are_named_in_order():
    assert unstable_cases({"c": 1, "a": 1, "b": 1}, discard=2 / 3) == ["a", "b"]


def test_the_winner_left_out_76_of_2000():
    changes = {f"{number:04d}": number / 2000 for number in range(2000)}
    assert unstable_cases(changes, discard=0.038) == [f"{number:04d}" for number in range(1999, 1923, -1)]


def test_of_few_cases_none():
    assert unstable_cases({str(number): 1.0 for number in range(13)}, discard=0.038) == []
    assert unstable_cases({str(number): 1.0 for number in range(14)}, discard=0.038) == ["0"]
    assert unstable_cases({}, discard=0.038) == []


def test_a_change_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="FLARE_7"):
        unstable_cases({"FLARE_7": math.nan}, discard=0.038)


@pytest.mark.parametrize("discard", [-0.1, 1.1])
def test_an_impossible_share_is_refused(discard):
    with pytest.raises(ValueError, match="from 0 to 1"):
        unstable_cases({"a": 1}, discard=discard)
