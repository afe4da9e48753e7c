"""Hosts of tumor foci: worked out by hand, with the notebook's box, and against SciPy."""

import numpy as np
import pytest
from scipy import ndimage

from abdoseg.files import CaseError
from abdoseg.labels import ORGAN_IDS
from abdoseg.tumors import (
    FAMILIES,
    REST,
    TooManyFoci,
    TumorFocus,
    family_of,
    family_organs,
    host_map,
    most_frequent_organ,
    tumor_foci,
)
from tests.tumors.random_cases import random_labels


def volume(shape=(20, 12, 10)) -> np.ndarray:
    return np.zeros(shape, dtype=np.uint8)


def hosts(labels: np.ndarray, **options) -> list[int]:
    return [focus.host for focus in tumor_foci(labels, **options)[1]]


def test_families():
    assert [family_of(organ) for organ in (1, 4, 2, 13)] == ["liver", "pancreas", "kidneys", "kidneys"]
    assert {family_of(organ) for organ in (0, 3, 5, 6, 7, 8, 9, 10, 11, 12)} == {REST}
    assert family_organs("kidneys") == (2, 13)
    assert family_organs(REST) == ORGAN_IDS
    for family, organs in FAMILIES.items():
        assert all(family_of(organ) == family for organ in organs)


def test_unknown_family_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'spleen'.*'liver', 'pancreas', 'kidneys', 'rest'"):
        family_organs("spleen")


def test_two_foci_by_hand():
    labels = volume()
    labels[0:10, 0:6, 0:5] = 1
    labels[12:18, 0:6, 0:5] = 2
    # An L of 3 voxels in a 2x2x1 box: one voxel of liver is left in it.
    labels[3:5, 2, 2] = 14
    labels[3, 3, 2] = 14
    # A diagonal of two voxels, joined by a corner, half outside the kidney: in its 2x2x2 box 4 voxels lie in the
    # kidney's last slice, one of them tumor: 3 are kidney.
    labels[13, 3, 4] = 14
    labels[14, 4, 5] = 14
    components, foci = tumor_foci(labels)
    assert foci == [
        TumorFocus(1, 3, (slice(3, 5), slice(2, 4), slice(2, 3)), 1),
        TumorFocus(2, 2, (slice(13, 15), slice(3, 5), slice(4, 6)), 2),
    ]
    expected = volume()
    expected[3:5, 2, 2] = expected[3, 3, 2] = 1
    expected[13, 3, 4] = expected[14, 4, 5] = 2
    assert np.array_equal(components, expected)


def test_most_voxels_in_the_box_win():
    labels = volume()
    labels[2:8, 2:8, 2] = 14
    labels[2, 2:8, 2] = 9  # 5 voxels of gallbladder stay in the box, for 6
    labels[3, 4:6, 2] = 4
    labels[2, 2, 2] = 14
    assert hosts(labels) == [9]


def test_ties_go_to_the_lowest_id():
    labels = volume()
    labels[4:7, 4, 4] = 14
    labels[4, 5, 4] = 14
    labels[5, 5, 4] = 13
    labels[6, 5, 4] = 2
    assert hosts(labels) == [2]
    assert most_frequent_organ(np.array([11, 11, 3, 3, 14, 14, 14, 0, 0, 0])) == 3


def test_a_tumor_that_fills_its_box_is_given_to_its_neighbors():
    labels = volume()
    labels[0:10, 0:6, 0:5] = 4
    labels[0:3, 0:6, 0:5] = 1
    labels[3, 3, 3] = 14  # one voxel at the border: of its 26 neighbors 9 are liver, 17 pancreas
    assert hosts(labels) == [4]
    assert hosts(labels, faithful_box=True) == [0]


def test_neighbors_count_only_where_the_box_holds_no_organ():
    labels = volume()
    labels[0:10, 0:6, 0:5] = 1
    labels[3:5, 2, 2] = 14
    labels[3, 3, 2] = 14
    labels[4, 3, 2] = 4  # one voxel of pancreas in the box, liver all around it
    assert hosts(labels) == [4]


def test_a_tumor_beside_no_organ_has_no_host():
    labels = volume()
    labels[0:5, 0:6, 0:5] = 1
    labels[6, 3, 3] = 14  # one voxel of background between
    labels[19, 11, 9] = 14  # the last voxel of the volume
    assert hosts(labels) == [0, 0]
    labels[5, 3, 3] = 14
    assert hosts(labels) == [1, 0]


def test_the_notebooks_box_loses_the_last_row_and_slice():
    labels = volume()
    labels[5, 5, 5] = labels[6, 6, 6] = labels[7, 7, 7] = 14
    labels[5:8, 5:8, 7] = 3  # 8 voxels of spleen in the last slice
    labels[7, 7, 7] = 14
    labels[5, 6, 5] = 11  # one of stomach in the first
    assert hosts(labels) == [3]
    assert hosts(labels, faithful_box=True) == [11]
    labels[5, 6, 5] = 0
    assert hosts(labels, faithful_box=True) == [0]


def test_the_box_of_a_focus_is_true_in_both_ways():
    labels = volume()
    labels[2:5, 2:6, 2:7] = 14
    for faithful in (False, True):
        assert tumor_foci(labels, faithful_box=faithful)[1][0].box == (slice(2, 5), slice(2, 6), slice(2, 7))


@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 5, 1), (1, 1, 1)])
def test_without_tumor_there_is_nothing(shape):
    labels = np.ones(shape, dtype=np.uint8)
    components, foci = tumor_foci(labels)
    assert foci == []
    assert components.shape == shape
    assert not components.any()
    assert not host_map(labels).any()


def test_one_slice():
    labels = volume((8, 8, 1))
    labels[1:7, 1:7] = 1
    labels[2, 2] = labels[3, 3] = 14
    assert hosts(labels) == [1]
    assert hosts(labels, faithful_box=True) == [0]


def test_six_foci_are_taken_and_seven_are_not():
    labels = volume()
    labels[0:12:2, 0, 0] = 14
    assert len(tumor_foci(labels)[1]) == 6
    labels[12, 0, 0] = 14
    with pytest.raises(TooManyFoci, match="7 tumor foci; at most 6"):
        tumor_foci(labels)
    assert issubclass(TooManyFoci, CaseError)
    assert len(tumor_foci(labels, max_foci=None)[1]) == 7


def test_host_map_by_hand():
    labels = volume()
    labels[0:5, 0:6, 0:5] = 13
    labels[2, 2:4, 2] = 14
    labels[10:12, 10, 8] = 14
    expected = volume()
    expected[2, 2:4, 2] = 13
    expected[10:12, 10, 8] = 14
    assert host_map(labels).dtype == np.uint8
    assert np.array_equal(host_map(labels), expected)


@pytest.mark.parametrize("seed", range(12))
def test_foci_agree_with_scipy(seed):
    labels = random_labels(seed)
    if seed % 2:
        labels = np.asfortranarray(labels)[::-1]
    components, foci = tumor_foci(labels, max_foci=None)
    expected, count = ndimage.label(labels == 14, structure=np.ones((3, 3, 3)))
    assert len(foci) == count > 0
    for index, box in enumerate(ndimage.find_objects(expected), start=1):
        focus = next(focus for focus in foci if (components[expected == index] == focus.index).all())
        assert focus.box == box
        assert np.array_equal(components == focus.index, expected == index)
        assert focus.voxels == (expected == index).sum()
        organs = labels[box][(labels[box] > 0) & (labels[box] < 14)]
        if len(organs):
            values, counts = np.unique(organs, return_counts=True)
            assert focus.host == values[counts == counts.max()].min()
    assert np.array_equal(host_map(labels) > 0, labels == 14)
