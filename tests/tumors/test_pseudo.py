"""The filter of pseudo tumors: its limit from both sides, its host, and cases without any."""

import numpy as np
import pytest

from abdoseg.tumors import PseudoTumorRules, reject_pseudo_tumor

SHAPE = (40, 30, 20)


def case(organ: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A tumor of 16 x 16 x 8 = 2048 voxels, in an organ but for its last plane of x, in a duodenum."""
    organs = np.zeros(SHAPE, dtype=np.uint8)
    organs[5:20] = organ
    organs[20:25] = 12
    tumor = np.zeros(SHAPE, dtype=np.uint8)
    tumor[5:21, 4:20, 4:12] = 1
    return tumor, organs


def test_published_number_is_the_default():
    assert PseudoTumorRules() == PseudoTumorRules(min_voxels=2048)


def test_2048_voxels_are_enough_and_2047_are_not():
    tumor, organs = case()
    assert reject_pseudo_tumor(tumor, organs, "liver") is None
    tumor[5, 4, 4] = 0
    assert reject_pseudo_tumor(tumor, organs, "liver") == "the tumor has 2047 voxels, fewer than 2048"
    assert reject_pseudo_tumor(tumor, organs, "liver", PseudoTumorRules(min_voxels=2047)) is None


@pytest.mark.parametrize(
    ("organ", "family"), [(1, "liver"), (4, "pancreas"), (2, "kidneys"), (13, "kidneys"), (11, "rest"), (1, "rest")]
)
def test_the_familys_own_organ_is_right(organ, family):
    assert reject_pseudo_tumor(*case(organ), family) is None


@pytest.mark.parametrize(
    ("organ", "family", "reason"),
    [
        (3, "liver", "most of the tumor's box is spleen, not liver"),
        (1, "pancreas", "most of the tumor's box is liver, not pancreas"),
        (4, "kidneys", "most of the tumor's box is pancreas, not right kidney or left kidney"),
    ],
)
def test_another_host_is_wrong(organ, family, reason):
    assert reject_pseudo_tumor(*case(organ), family) == reason


def test_the_box_is_that_of_all_foci_together():
    tumor, organs = case()
    organs[25:40] = 12
    tumor[39, 29, 19] = 1
    # x 5..40, y 4..30, z 4..20: 15 planes of liver, 20 of duodenum.
    assert "duodenum" in reject_pseudo_tumor(tumor, organs, "liver")


def test_tumors_in_the_organ_map_are_no_organ():
    tumor, organs = case()
    organs[7:20] = 14  # 2 planes of liver against one of duodenum
    assert reject_pseudo_tumor(tumor, organs, "liver") is None


@pytest.mark.parametrize("family", ["liver", "rest"])
def test_no_tumor(family):
    nothing = np.zeros((4, 4, 1), dtype=np.uint8)
    assert reject_pseudo_tumor(nothing, nothing, family, PseudoTumorRules(min_voxels=0)) == "no tumor was found"


def test_no_organ():
    tumor = case()[0]
    assert "no organ" in reject_pseudo_tumor(tumor, np.zeros_like(tumor), "liver")


def test_one_voxel_in_its_organ():
    tumor, organs = np.zeros((5, 5, 1), dtype=bool), np.full((5, 5, 1), 4, dtype=np.uint8)
    tumor[2, 2, 0] = True
    assert reject_pseudo_tumor(tumor, organs, "pancreas", PseudoTumorRules(min_voxels=1)) is None


def test_wrong_arguments():
    tumor, organs = case()
    with pytest.raises(ValueError, match="must agree"):
        reject_pseudo_tumor(tumor[1:], organs, "liver")
    with pytest.raises(ValueError, match="Unknown family 'colon'"):
        reject_pseudo_tumor(tumor, organs, "colon")
