"""The organ network's target: tumors go to their hosts or leave holes, and nothing else changes."""

import numpy as np
import pytest

from abdoseg.tumors import host_map, organ_target
from tests.tumors.random_cases import random_labels


def case() -> np.ndarray:
    labels = np.zeros((14, 8, 6), dtype=np.uint8)
    labels[1:6, 1:7, 1:5] = 1
    labels[7:11, 1:7, 1:5] = 3
    labels[3, 3:5, 3] = 14  # in the liver
    labels[10:12, 4, 3] = 14  # at the spleen, half outside
    labels[0, 0, 0] = 14
    labels[13, 7, 5] = 14  # beside nothing
    return labels


def test_enclosed_by_hand():
    expected = case()
    expected[3, 3:5, 3] = 1
    expected[10:12, 4, 3] = 3
    expected[0, 0, 0] = 1  # touches the liver's corner
    expected[13, 7, 5] = 0
    assert np.array_equal(organ_target(case()), expected)


def test_holes_by_hand():
    expected = case()
    expected[expected == 14] = 0
    assert np.array_equal(organ_target(case(), enclose=False), expected)


def test_any_number_of_foci():
    labels = np.ones((30, 3, 3), dtype=np.uint8)
    labels[1:29:2, 1, 1] = 14
    assert (organ_target(labels) == 1).all()
    assert (organ_target(labels, enclose=False) == 0).sum() == 14


def test_a_scan_of_tumor_alone_is_background():
    assert not organ_target(np.full((3, 3, 1), 14, dtype=np.uint8)).any()


@pytest.mark.parametrize("enclose", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_only_tumor_voxels_change(seed, enclose):
    labels = random_labels(seed)
    before = labels.copy()
    target = organ_target(labels, enclose)
    assert target.dtype == np.uint8
    assert target.max() <= 13
    assert np.array_equal(target[labels != 14], labels[labels != 14])
    assert np.array_equal(labels, before)
    hosts = host_map(labels)[labels == 14]
    assert np.array_equal(target[labels == 14], hosts * ((hosts < 14) & enclose))
