"""The aorta crop: slices counted by hand, and nothing but what lies outside them is cleared."""

import numpy as np
import pytest

from abdoseg.tumors import AortaCrop, aorta_range, clear_other_slices
from tests.tumors.random_cases import random_labels


def column(slices: int, *aorta: int) -> np.ndarray:
    labels = np.ones((3, 3, slices), dtype=np.uint8)
    labels[1, 1, list(aorta)] = 5
    return labels


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (AortaCrop(), slice(10, 41)),  # aorta in 30..40, both kept, 20 slices below
        (AortaCrop(inclusive_top=False), slice(10, 40)),
        (AortaCrop(below_slices=0), slice(30, 41)),
        (AortaCrop(below_mm=50), slice(20, 41)),  # 10 slices of 5 mm
        (AortaCrop(below_mm=51), slice(19, 41)),  # begun slices count
        (AortaCrop(above_mm=12), slice(10, 44)),  # 2.4 slices
        (AortaCrop(above_mm=12, inclusive_top=False), slice(10, 43)),
        (AortaCrop(below_slices=31, above_mm=1000), slice(0, 60)),  # the scan's ends
    ],
)
def test_range_by_hand(rule, expected):
    assert aorta_range(column(60, 30, 33, 40), (0.8, 0.8, 5), rule) == expected


def test_a_thickness_rounded_to_float32_adds_no_slice():
    assert aorta_range(column(60, 30), np.float32([1, 1, 0.7]), AortaCrop(below_mm=7)) == slice(20, 31)


def test_range_at_the_bottom_starts_at_0():
    assert aorta_range(column(30, 5, 29), (1, 1, 1)) == slice(0, 30)


def test_one_slice():
    labels = column(1, 0)
    assert aorta_range(labels, (1, 1, 1)) == slice(0, 1)
    assert np.array_equal(clear_other_slices(labels, slice(0, 1)), labels)
    left = aorta_range(labels, (1, 1, 1), AortaCrop(inclusive_top=False))
    assert not clear_other_slices(labels, left).any()


def test_without_aorta_there_is_no_range():
    assert aorta_range(column(30), (1, 1, 1)) is None


@pytest.mark.parametrize("seed", range(8))
def test_all_outside_is_cleared_and_nothing_inside(seed):
    labels = random_labels(seed, shape=(10, 10, 60), organs=60, tumors=20)
    labels[labels == 5] = 0
    generator = np.random.default_rng(seed)
    top, bottom = sorted(generator.integers(15, 45, 2))[::-1]
    labels[4, 4, bottom : top + 1] = 5
    before = labels.copy()
    rule = AortaCrop(below_slices=int(generator.integers(0, 15)), inclusive_top=bool(seed % 2))
    stored = np.asfortranarray(labels) if seed % 3 else labels
    cropped = clear_other_slices(stored, aorta_range(stored, (1, 1, 3), rule))
    low, high = bottom - rule.below_slices, top + seed % 2
    assert np.array_equal(cropped[..., low:high], labels[..., low:high])
    assert labels[..., :low].any()
    assert labels[..., high:].any()
    assert not cropped[..., :low].any()
    assert not cropped[..., high:].any()
    assert cropped.dtype == np.uint8
    assert np.array_equal(labels, before)
