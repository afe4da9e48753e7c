"""Survival of predicted tumors: each limit from both sides by hand, and against SciPy."""

import numpy as np
import pytest
from scipy import ndimage

from abdoseg.tumors import SurvivalRules, paste_tumor, surviving_tumor
from tests.tumors.random_cases import random_labels

PAPER = SurvivalRules(adjacency=False)
SHAPE = (40, 20, 20)


def case() -> tuple[np.ndarray, np.ndarray]:
    """An organ of ten planes and a tumor of 160 voxels, 80 of them in the organ and 120 within a voxel of it."""
    organ = np.zeros(SHAPE, dtype=bool)
    organ[:10] = True
    tumor = np.zeros(SHAPE, dtype=bool)
    tumor[8:12, 0:10, 0:4] = True
    return tumor, organ


def test_published_numbers_are_the_defaults():
    assert SurvivalRules() == SurvivalRules(128, 32, 80, adjacency=True, max_fluid_share=0.5)


def test_eighty_voxels_of_overlap_are_enough_and_79_are_not():
    tumor, organ = case()
    assert np.array_equal(surviving_tumor(tumor, organ, PAPER), tumor)
    tumor[8, 0, 0] = False
    assert not surviving_tumor(tumor, organ, PAPER).any()
    # Within a voxel of the organ it has 119.
    assert np.array_equal(surviving_tumor(tumor, organ), tumor)


def test_a_focus_mainly_in_blood_or_bile_is_dropped():
    """80 of the 160 voxels are half; one more is too much. Another focus is not touched."""
    tumor, organ = case()
    tumor[2:6, 14:18, 14:18] = True  # 64, all in the organ
    fluid = np.zeros(SHAPE, dtype=bool)
    fluid[10:12] = True
    assert surviving_tumor(tumor, organ, fluid=fluid).sum() == 160 + 64
    fluid[9, 0, 0] = True
    assert not surviving_tumor(tumor, organ, fluid=fluid)[8:12].any()
    # 64 voxels in the organ are fewer than the 80 that survivors must have together.
    assert not surviving_tumor(tumor, organ, fluid=fluid).any()
    assert surviving_tumor(tumor, organ, SurvivalRules(min_total_overlap=64), fluid).sum() == 64
    assert surviving_tumor(tumor, organ, SurvivalRules(max_fluid_share=1.0), fluid).sum() == 160 + 64


def test_128_voxels_in_all_are_enough_and_127_are_not():
    organ = np.ones(SHAPE, dtype=bool)
    tumor = np.zeros(SHAPE, dtype=bool)
    tumor[2:10, 2:6, 2:6] = True
    assert surviving_tumor(tumor, organ, PAPER).sum() == 128
    tumor[2, 2, 2] = False
    assert not surviving_tumor(tumor, organ, PAPER).any()


def test_the_minimum_counts_all_foci_together():
    organ = np.ones(SHAPE, dtype=bool)
    tumor = np.zeros(SHAPE, dtype=bool)
    tumor[2:6, 2:6, 2:6] = True
    assert not surviving_tumor(tumor, organ, PAPER).any()
    tumor[12:16, 2:6, 2:6] = True
    assert surviving_tumor(tumor, organ, PAPER).sum() == 128


def test_each_focus_needs_32_voxels_in_the_organ():
    tumor, organ = case()
    tumor[2:4, 14:18, 14:18] = True  # 32 in the organ
    tumor[30:34, 0:10, 0:4] = True  # none
    survivors = surviving_tumor(tumor, organ, PAPER)
    assert survivors.sum() == 160 + 32
    assert not survivors[30:].any()
    tumor[2, 14, 14] = False
    assert surviving_tumor(tumor, organ, PAPER).sum() == 160


def test_survivors_need_80_voxels_together():
    organ = case()[1]
    tumor = np.zeros(SHAPE, dtype=bool)
    tumor[5:10, 0:4, 0:2] = True  # 40 in the organ
    tumor[5:20, 10:14, 0:2] = True  # 40 in the organ, 80 outside
    assert np.array_equal(surviving_tumor(tumor, organ, PAPER), tumor)
    tumor[5, 0, 0] = False
    assert not surviving_tumor(tumor, organ, PAPER).any()


def test_overlap_of_the_dropped_does_not_count_for_the_others():
    organ = case()[1]
    tumor = np.zeros(SHAPE, dtype=bool)
    tumor[5:20, 0:4, 0:2] = True  # 40 in the organ
    tumor[8:20, 10:14, 0:3] = True  # 24 in the organ: dropped
    tumor[8:20, 16:20, 0:3] = True  # 24 in the organ: dropped
    assert not surviving_tumor(tumor, organ, PAPER).any()


def test_a_tumor_beside_its_organ_survives_by_adjacency():
    organ = case()[1]
    tumor = np.zeros(SHAPE, dtype=bool)
    tumor[10:14, 0:10, 0:8] = True  # 80 voxels face the organ
    assert not surviving_tumor(tumor, organ, PAPER).any()
    assert np.array_equal(surviving_tumor(tumor, organ), tumor)
    apart = np.roll(tumor, 1, axis=0)  # one voxel between
    assert not surviving_tumor(apart, organ).any()


def test_a_tumor_that_replaces_its_organ_survives_by_adjacency():
    organ = np.zeros((14, 14, 14), dtype=bool)
    organ[1:13, 1:13, 1:13] = True
    organ[2:12, 2:12, 2:12] = False
    tumor = np.zeros_like(organ)
    tumor[2:12, 2:12, 2:12] = True
    assert not surviving_tumor(tumor, organ, PAPER).any()
    # Of 10^3 voxels all but 8^3 lie beside the rim: 488.
    assert surviving_tumor(tumor, organ, SurvivalRules(min_total_overlap=488)).sum() == 1000
    assert not surviving_tumor(tumor, organ, SurvivalRules(min_total_overlap=489)).any()


def test_corners_are_neighbors():
    organ = np.zeros((4, 4, 4), dtype=bool)
    organ[1, 1, 1] = True
    tumor = np.zeros_like(organ)
    tumor[2, 2, 2] = True
    rules = SurvivalRules(1, 1, 1)
    assert surviving_tumor(tumor, organ, rules).sum() == 1
    assert not surviving_tumor(np.roll(tumor, 1, axis=2), organ, rules).any()


@pytest.mark.parametrize("shape", [(5, 5, 5), (5, 5, 1), (1, 1, 1)])
def test_without_tumor_or_organ_nothing_survives(shape):
    nothing, everything = np.zeros(shape, dtype=np.uint8), np.ones(shape, dtype=np.uint8)
    rules = SurvivalRules(1, 1, 1)
    assert not surviving_tumor(nothing, everything, rules).any()
    assert not surviving_tumor(everything, nothing, rules).any()
    assert surviving_tumor(everything, everything, rules).all()


def test_rules_without_overlap_ask_for_no_organ():
    tumor, organ = case()
    rules = SurvivalRules(min_overlap=0, min_total_overlap=0)
    assert np.array_equal(surviving_tumor(tumor, np.zeros_like(organ), rules), tumor)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(2, 2, 2\).*\(2, 2, 3\)"):
        surviving_tumor(np.zeros((2, 2, 2)), np.zeros((2, 2, 3)))


def slow_survivors(tumor: np.ndarray, organ: np.ndarray, rules: SurvivalRules) -> np.ndarray:
    neighbors = np.ones((3, 3, 3))
    if rules.adjacency:
        organ = ndimage.binary_dilation(organ, neighbors)
    components, count = ndimage.label(tumor, neighbors)
    kept, total = np.zeros_like(tumor), 0
    for index in range(1, count + 1):
        focus = components == index
        if (focus & organ).sum() >= rules.min_overlap:
            kept |= focus
            total += (focus & organ).sum()
    return kept if tumor.sum() >= rules.min_voxels and total >= rules.min_total_overlap else np.zeros_like(tumor)


@pytest.mark.parametrize("seed", range(24))
def test_rules_agree_with_scipy_and_only_remove(seed):
    labels = random_labels(seed)
    tumor, organ = labels == 14, labels == labels[(labels > 0) & (labels < 14)][0]
    generator = np.random.default_rng(seed)
    rules = SurvivalRules(*generator.integers(0, 60, 3).tolist(), adjacency=bool(seed % 2))
    survivors = surviving_tumor(np.asfortranarray(tumor) if seed % 3 else tumor, organ, rules)
    assert survivors.dtype == bool
    assert np.array_equal(survivors, slow_survivors(tumor, organ, rules))
    assert not (survivors & ~tumor).any()


@pytest.mark.parametrize("seed", range(6))
def test_adjacency_keeps_what_overlap_keeps(seed):
    labels = random_labels(seed)
    tumor, organ = labels == 14, labels == labels[(labels > 0) & (labels < 14)][0]
    strict = surviving_tumor(tumor, organ, SurvivalRules(10, 5, 10, adjacency=False))
    assert (surviving_tumor(tumor, organ, SurvivalRules(10, 5, 10)) >= strict).all()


@pytest.mark.parametrize("seed", range(6))
def test_a_surviving_tumor_overwrites_and_changes_nothing_else(seed):
    labels = random_labels(seed, organs=40, tumors=0)
    tumor = random_labels(seed + 100) == 14
    before = labels.copy()
    pasted = paste_tumor(labels, tumor.astype(np.uint8))
    assert pasted.dtype == np.uint8
    assert (pasted[tumor] == 14).all()
    assert np.array_equal(pasted[~tumor], labels[~tumor])
    assert np.array_equal(labels, before)
    assert (labels[tumor] > 0).any()
