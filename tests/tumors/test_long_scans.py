"""The long-scan rule: its limits by hand, and shortened volumes that return to their length."""

import numpy as np
import pytest
import torch

from abdoseg.tumors import LongScan, lengthen, long_scan_rule, shorten


@pytest.mark.parametrize(
    ("slices", "spacing", "expected"),
    [
        (1, 5.0, LongScan(slice(0, 1), 1)),
        (199, 1.0, LongScan(slice(0, 199), 1)),
        (200, 1.0, LongScan(slice(0, 200), 2)),
        (120, 5.0, LongScan(slice(0, 120), 1)),  # 600 mm, too few slices to be cut
        (249, 4.0, LongScan(slice(0, 249), 2)),  # 996 mm, just too few
        (299, 2.0, LongScan(slice(0, 299), 2)),  # 598 mm, just too short
        (300, 2.0, LongScan(slice(75, 225), 1)),  # 600 mm; the middle has 150 slices
        (250, 2.5, LongScan(slice(62, 187), 1)),  # 62.5 and 187.5, rounded down
        (1200, 1.0, LongScan(slice(300, 900), 2)),
        (502, 2.0, LongScan(slice(125, 376), 2)),
    ],
)
def test_rule_by_hand(slices, spacing, expected):
    assert long_scan_rule(slices, spacing) == expected


def test_the_papers_script_drops_the_first_of_an_odd_number():
    assert long_scan_rule(502, 2.0, drop_odd=True) == LongScan(slice(126, 376), 2)
    assert long_scan_rule(201, 1.0, drop_odd=True) == LongScan(slice(1, 201), 2)
    assert long_scan_rule(200, 1.0, drop_odd=True) == LongScan(slice(0, 200), 2)
    assert long_scan_rule(199, 1.0, drop_odd=True) == LongScan(slice(0, 199), 1)


def test_every_limit_is_a_parameter():
    assert long_scan_rule(40, 1.0, crop_mm=40, crop_slices=40, direct_slices=30) == LongScan(slice(10, 30), 1)
    assert long_scan_rule(40, 1.0, crop_mm=41, crop_slices=40, direct_slices=40) == LongScan(slice(0, 40), 2)
    assert long_scan_rule(40, 1.0, crop_mm=40, crop_slices=41, direct_slices=41) == LongScan(slice(0, 40), 1)
    assert long_scan_rule(40, 1.0, 40, 40, middle=(0.1, 0.6)) == LongScan(slice(4, 24), 1)


def test_round_trip_by_hand():
    volume = np.arange(9, dtype=np.uint8).reshape(1, 1, 9)
    rule = LongScan(slice(2, 7), 2)
    assert shorten(volume, rule).tolist() == [[[2, 4, 6]]]
    assert lengthen(shorten(volume, rule), rule, 9).tolist() == [[[0, 0, 2, 2, 4, 4, 6, 0, 0]]]
    # As paper B's script halves it: the first slice is lost.
    rule = LongScan(slice(3, 7), 2)
    assert lengthen(shorten(volume, rule), rule, 9).tolist() == [[[0, 0, 0, 3, 3, 5, 5, 0, 0]]]


@pytest.mark.parametrize("drop_odd", [False, True])
@pytest.mark.parametrize("slices", [1, 2, 7, 19, 20, 21, 39, 40, 41, 42, 43, 101])
def test_any_length_returns(slices, drop_odd):
    rule = long_scan_rule(slices, 1.0, crop_mm=40, crop_slices=40, direct_slices=20, drop_odd=drop_odd)
    volume = np.broadcast_to(np.arange(1, slices + 1, dtype=np.uint8), (2, 3, slices))
    seen = shorten(volume, rule)
    assert torch.equal(shorten(torch.from_numpy(volume.copy()), rule), torch.from_numpy(seen.copy()))
    assert seen.shape[-1] < 20 or rule.step == 2
    restored = lengthen(seen, rule, slices)
    assert restored.shape == volume.shape
    assert restored.dtype == volume.dtype
    change = volume.astype(int) - restored
    # Nearest: each kept slice has its own label or that of the one before it.
    assert set(change[..., rule.keep].flat) <= {0, 1}
    outside = np.delete(np.arange(slices), rule.keep)
    assert not restored[..., outside].any()


def test_labels_of_another_scan_are_refused():
    with pytest.raises(ValueError, match="4 slices; the rule leaves 3 of 9"):
        lengthen(np.zeros((1, 1, 4), dtype=np.uint8), LongScan(slice(2, 7), 2), 9)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [((0, 1.0), "both must be positive"), ((5, 0.0), "both must be"), ((5, float("nan")), "both must be")],
)
def test_a_scan_without_length_is_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        long_scan_rule(*arguments)


@pytest.mark.parametrize("middle", [(0.5, 0.5), (-0.1, 0.5), (0.5, 1.1)])
def test_an_impossible_middle_is_refused(middle):
    with pytest.raises(ValueError, match="two fractions"):
        long_scan_rule(10, 1.0, middle=middle)
