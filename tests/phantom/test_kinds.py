"""Kinds of partial labels: FLARE23's counts, the floor of strong cases, and labels worked out by hand."""

import numpy as np
import pytest

from abdoseg.phantom import KINDS, PhantomError, allocate, partial_label


def test_2200_cases_have_the_counts_of_flare23():
    expected = [888, 10, 455, 597, 222, 28]
    assert list(allocate(2200, 0).values()) == expected
    assert [kind.count for kind in KINDS.values()] == expected


def test_48_cases_worked_out_by_hand():
    # 48/2200 of the counts: 19.37, 0.22, 9.93, 13.03, 4.84, 0.61; floors add up to 45, the three largest remainders
    # are .93, .84 and .61.
    assert list(allocate(48, 0).values()) == [19, 0, 10, 13, 5, 1]


def test_the_floor_of_strong_cases_is_taken_from_the_largest_kinds():
    # 10 cases: 4.04, 0.05, 2.07, 2.71, 1.01, 0.13 -> 4, 0, 2, 3, 1, 0; four more strong ones cost 4 -> 3 -> 2 and
    # 3 -> 2 and then one of the kinds of two, the first.
    counts = allocate(10, 5)
    assert sum(counts.values()) == 10
    assert counts["all_organs"] == 5
    assert list(counts.values()) == [1, 0, 2, 2, 5, 0]
    assert list(allocate(3, 5).values()) == [0, 0, 0, 0, 3, 0]


@pytest.mark.parametrize("cases", [0, 1, 7, 100, 999])
def test_every_case_has_a_kind(cases):
    assert sum(allocate(cases, 5).values()) == cases


def test_negative_numbers_are_refused():
    with pytest.raises(PhantomError, match="-1"):
        allocate(-1, 0)


def test_partial_labels_by_hand():
    # liver, liver tumor, spleen, aorta, colon tumor, kidney tumor, left kidney, background
    truth = np.array([1, 14, 3, 5, 14, 14, 13, 0], np.uint8)
    organs = np.array([1, 1, 3, 5, 0, 13, 13, 0], np.uint8)
    expected = {
        "tumor": [0, 14, 0, 0, 14, 14, 0, 0],
        "four_organs": [1, 1, 3, 0, 0, 13, 13, 0],
        "five_organs": [1, 1, 3, 0, 0, 13, 13, 0],
        "five_organs_tumor": [1, 14, 3, 0, 14, 14, 13, 0],
        "all_organs": [1, 1, 3, 5, 0, 13, 13, 0],
        "all_organs_some_missing": [1, 1, 3, 5, 0, 13, 13, 0],
    }
    assert set(expected) == set(KINDS)
    for name, label in expected.items():
        made = partial_label(KINDS[name], truth, organs)
        assert made.dtype == np.uint8
        assert made.tolist() == label, name


def test_no_kind_has_all_organs_and_tumor():
    assert all(not set(range(1, 15)) <= set(kind.classes) for kind in KINDS.values())
