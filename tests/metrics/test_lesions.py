"""Tumors found, missed and made up, by hand."""

import numpy as np
import pytest

from abdoseg.metrics.lesions import match_lesions, summarize_lesions

TUMOR = 14


def rods(*spans, length=64):
    """Tumors as rods along x of one voxel each: (first, last + 1) pairs."""
    labels = np.zeros((length, 3, 3), dtype=np.uint8)
    for first, last in spans:
        labels[first:last, 1, 1] = TUMOR
    return labels


def ious(lesions):
    return [round(focus["iou"], 4) for focus in lesions["true"]]


@pytest.mark.parametrize(
    ("true", "found", "expected", "made_up"),
    [
        ([(0, 10)], [(0, 10)], [1.0], []),
        ([(0, 10)], [(9, 10)], [0.1], []),  # 1 / 10: just enough
        ([(0, 11)], [(10, 11)], [0.0], [1]),  # 1 / 11
        ([(0, 10)], [(20, 24)], [0.0], [4]),
        ([(0, 10)], [(0, 4), (5, 10)], [0.5], [4]),  # in two pieces: the larger one has it, the other one is false
        ([(0, 4), (6, 10)], [(0, 10)], [0.4, 0.0], []),  # two grown together count as one
        ([], [(3, 5)], [], [2]),
        ([(3, 5)], [], [0.0], []),
        ([], [], [], []),
    ],
)
def test_pairs(true, found, expected, made_up):
    lesions = match_lesions(rods(*found), rods(*true), voxel_ml=0.5)
    assert ious(lesions) == expected
    assert [focus["ml"] for focus in lesions["false_positives"]] == [0.5 * voxels for voxels in made_up]


def test_the_pairs_of_the_largest_overlaps_are_taken():
    """The long tumor could pair with either prediction; the short one only with the second, which it is given.

    True 0..19 and 21..26; found 0..9 (IoU 10 / 20 with the long one) and 17..26: 3 / 27 with the long one, 6 / 10 with
    the short one.
    """
    lesions = match_lesions(rods((0, 10), (17, 27)), rods((0, 20), (21, 27)), voxel_ml=1)
    assert ious(lesions) == [0.5, 0.6]
    assert lesions["false_positives"] == []


def test_foci_touch_by_corners_and_are_told_largest_first():
    labels = np.zeros((6, 6, 6), dtype=np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = labels[4, 4, 4] = TUMOR
    lesions = match_lesions(np.zeros_like(labels), labels, voxel_ml=1)
    assert [focus["ml"] for focus in lesions["true"]] == [2, 1]


def test_the_diameter_is_that_of_the_ball():
    """A ball of 10 mm across has pi / 6 mL."""
    (focus,) = match_lesions(rods((0, 1)), rods((0, 1)), voxel_ml=np.pi / 6)["true"]
    assert focus["mm"] == pytest.approx(10, abs=1e-5)


def focus(mm, iou=None):
    return {"ml": np.pi / 6000 * mm**3, "mm": mm} | ({} if iou is None else {"iou": iou})


def test_rates_by_size_and_in_scans_without_tumor():
    cases = {
        "a": {"true": [focus(30, 0.8), focus(9.9, 0.0)], "false_positives": [focus(12)]},
        "b": {"true": [focus(10, 0.1), focus(20, 0.0)], "false_positives": []},
        "c": {"true": [], "false_positives": [focus(5), focus(20)]},
        "d": {"true": [], "false_positives": []},
    }
    summary = summarize_lesions(cases)
    assert (summary["scans"], summary["lesions"], summary["detected"], summary["sensitivity"]) == (4, 4, 2, 0.5)
    assert (summary["false_positives"], summary["false_positives_per_scan"]) == (3, 0.75)
    assert {title: (s["lesions"], s["detected"], s["false_positives"]) for title, s in summary["sizes"].items()} == {
        "below 10 mm": (1, 0, 1),
        "10 to 20 mm": (1, 1, 1),
        "20 mm and above": (2, 1, 1),
    }
    assert summary["sizes"]["10 to 20 mm"]["sensitivity"] == 1
    ml = round(np.pi / 6000 * (5**3 + 20**3), 3)
    assert summary["tumor_free"] == {
        "scans": 2,
        "with_false_positives": 1,
        "false_positives": 2,
        "mean_ml": round(np.pi / 6000 * (5**3 + 20**3) / 2, 3),
        "largest_ml": ml,
    }
    # Both scans with tumors have half of them found: another choice of scans would not change that.
    assert summary["sensitivity_interval"] is None
    low, high = summary["false_positives_interval"]
    assert 0 <= low < 0.75 < high <= 2


def test_the_interval_of_the_sensitivity_is_over_scans_not_over_tumors():
    """One scan of ten tumors, all missed, and five of one, all found: 5 of 15, but other scans could give any share."""
    cases = {"x": {"true": [focus(8, 0.0)] * 10, "false_positives": []}}
    cases |= {str(n): {"true": [focus(8, 0.5)], "false_positives": []} for n in range(5)}
    summary = summarize_lesions(cases)
    assert summary["sensitivity"] == 0.3333
    low, high = summary["sensitivity_interval"]
    assert low < 0.2
    assert high > 0.6


def test_no_scan():
    summary = summarize_lesions({})
    assert summary["sensitivity"] is None
    assert summary["false_positives_per_scan"] is None
    assert summary["tumor_free"]["mean_ml"] is None
