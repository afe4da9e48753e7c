"""Decisions on predicted tumors by hand: hosts, one decision an organ, tumors without host."""

import numpy as np

from abdoseg.tumors import Decision, PseudoTumorRules, keep_pseudo_tumors
from tests.tumors.random_cases import random_labels
from tests.tumors.stage_cases import body, with_tumor

IN_STOMACH = (9, slice(6, 8), slice(3, 5))


def test_all_foci_of_an_organ_are_one_decision():
    # Two foci of three voxels in the liver: together they are six.
    tumor = with_tumor(body(), (2, 6, slice(2, 5)), (4, 8, slice(2, 5))) == 14
    kept, foci, decisions = keep_pseudo_tumors(body(), tumor, rules=PseudoTumorRules(6))
    assert decisions == [Decision("liver", 1, 2, 6, None)]
    assert [(focus.host, focus.voxels) for focus in foci] == [(1, 3)] * 2
    np.testing.assert_array_equal(kept, tumor)
    # Between them, in one box, lies a stomach: x 5:14, y 6:8, z 3 has 4 voxels of the liver and 10 of the stomach.
    organs = body()
    organs[13, 5:10, 2:8] = 1
    tumor = with_tumor(organs, (5, slice(6, 8), 3), (13, slice(6, 8), 3)) == 14
    kept, foci, decisions = keep_pseudo_tumors(organs, tumor, rules=PseudoTumorRules(4))
    assert decisions == [Decision("liver", 1, 2, 4, "most of the tumor's box is stomach, not liver")]
    assert not kept.any()
    assert not foci


def test_the_organ_under_the_tumor_counts():
    # All of the right kidney, 4 x 4 x 5 voxels, and of the liver 4 x 1 x 3: nothing but the liver is left beside it.
    tumor = np.zeros(body().shape, dtype=np.uint8)
    tumor[1:5, 0:6, 0:5] = 1
    kept, _, decisions = keep_pseudo_tumors(body(), tumor)
    assert decisions == [Decision("kidneys", 2, 1, 120, "the tumor has 120 voxels, fewer than 2048")]
    assert not kept.any()


def test_tumors_without_host_belong_to_the_rest():
    tumor = with_tumor(body(), IN_STOMACH, (7, slice(0, 4), 7)) == 14
    kept, foci, decisions = keep_pseudo_tumors(body(), tumor, rules=PseudoTumorRules(8))
    assert decisions == [Decision("rest", 0, 2, 8, None)]
    assert sorted(focus.host for focus in foci) == [0, 11]
    np.testing.assert_array_equal(kept, tumor)
    assert keep_pseudo_tumors(body(), np.zeros(body().shape))[1:] == ([], [])


def test_whatever_the_case_only_whole_decisions_are_kept():
    for seed in range(6):
        labels = random_labels(seed)
        organs, tumor = np.where(labels == 14, 0, labels), labels == 14
        kept, foci, decisions = keep_pseudo_tumors(organs, tumor, rules=PseudoTumorRules(40))
        assert not (kept & ~tumor).any()
        accepted = [decision for decision in decisions if decision.rejected is None]
        assert kept.sum() == sum(decision.voxels for decision in accepted) == sum(focus.voxels for focus in foci)
        assert tumor.sum() == sum(decision.voxels for decision in decisions)
        assert all(decision.voxels >= 40 for decision in accepted)
        assert not keep_pseudo_tumors(organs, tumor, families=(), rules=PseudoTumorRules(0))[0].any()
