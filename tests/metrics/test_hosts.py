"""Tumor DSC by host family: worked out by hand, stored in other orientations, and against the DSC of all tumors."""

import numpy as np
import pytest

from abdoseg.labels import TUMOR_ID
from abdoseg.metrics import dice, summarize_hosts
from abdoseg.metrics.hosts import score_tumors_by_host
from tests.tumors.random_cases import random_labels

LIVER, RIGHT_KIDNEY, SPLEEN, PANCREAS = 1, 2, 3, 4


def organs() -> np.ndarray:
    """Blocks side by side along x: liver 0..9, pancreas 10..19, right kidney 20..29, spleen 30..39."""
    labels = np.zeros((40, 10, 10), dtype=np.uint8)
    for start, organ in ((0, LIVER), (10, PANCREAS), (20, RIGHT_KIDNEY), (30, SPLEEN)):
        labels[start : start + 10] = organ
    return labels


def with_tumors(*boxes) -> np.ndarray:
    """The organs with tumors; a box is ((x from, x to), (y from, y to), (z from, z to))."""
    labels = organs()
    for box in boxes:
        labels[tuple(slice(*side) for side in box)] = TUMOR_ID
    return labels


IN_LIVER = (2, 6), (2, 6), (2, 6)  # 64 voxels
IN_PANCREAS = (13, 17), (2, 6), (2, 4)  # 32 voxels
IN_KIDNEY = (23, 25), (4, 6), (4, 6)  # 8 voxels
IN_SPLEEN = (33, 35), (4, 6), (4, 6)  # 8 voxels


def absent(predicted: int = 0) -> dict:
    return {"dsc": None, "present": False, "true_voxels": 0, "predicted_voxels": predicted}


def test_found_missed_and_false_tumors_by_hand():
    """Liver: half is found, and one voxel beside it is false: 2 * 32 / (64 + 33) = 0.6598. The kidney's is missed; what
    is predicted in the pancreas touches no true tumor."""
    truth = with_tumors(IN_LIVER, IN_KIDNEY)
    predicted = with_tumors(((2, 6), (2, 6), (2, 4)), ((6, 7), (2, 3), (2, 3)), ((13, 15), (2, 4), (2, 4)))
    assert score_tumors_by_host(predicted, truth) == {
        "liver": {"dsc": 0.6598, "present": True, "true_voxels": 64, "predicted_voxels": 33},
        "pancreas": absent(8),
        "kidneys": {"dsc": 0.0, "present": True, "true_voxels": 8, "predicted_voxels": 0},
        "rest": absent(),
    }


def test_a_predicted_focus_belongs_to_the_true_one_it_overlaps_most_whatever_surrounds_it_in_the_prediction():
    """The predicted organs are all spleen, so that the host rule alone would say "rest"."""
    predicted = with_tumors(IN_LIVER, IN_SPLEEN)
    predicted[predicted != TUMOR_ID] = SPLEEN
    scores = score_tumors_by_host(predicted, with_tumors(IN_LIVER, IN_SPLEEN))
    assert {family: score["dsc"] for family, score in scores.items() if score["present"]} == {"liver": 1.0, "rest": 1.0}


def test_a_focus_that_joins_two_true_ones_counts_whole_for_the_larger_share():
    """A bar over x 4..13 (10 voxels) meets 3 of 5 voxels in the liver and 2 of 2 in the pancreas.

    Liver: 2 * 3 / (5 + 10) = 0.4. Pancreas: its two voxels are hit by a focus of another family, so 0."""
    truth = with_tumors(((2, 7), (4, 5), (4, 5)), ((12, 14), (4, 5), (4, 5)))
    scores = score_tumors_by_host(with_tumors(((4, 14), (4, 5), (4, 5))), truth)
    assert scores["liver"] == {"dsc": 0.4, "present": True, "true_voxels": 5, "predicted_voxels": 10}
    assert scores["pancreas"] == {"dsc": 0.0, "present": True, "true_voxels": 2, "predicted_voxels": 0}


def test_of_equal_shares_the_first_family_counts():
    """A bar from spleen to kidney to pancreas meets two voxels in each."""
    truth = with_tumors(*(((x, x + 2), (4, 5), (4, 5)) for x in (14, 24, 34)))
    scores = score_tumors_by_host(with_tumors(((14, 36), (4, 5), (4, 5))), truth)
    assert [score["predicted_voxels"] for score in scores.values()] == [0, 22, 0, 0]


def test_tumors_without_host_and_more_foci_than_any_network_is_trained_on():
    """Eight single voxels in the liver, of which the prediction has two; one tumor in no organ's reach."""
    truth = organs()
    truth[1, 1:9:2, 1] = truth[1, 1:9:2, 4] = TUMOR_ID
    truth = np.pad(truth, ((0, 9), (0, 0), (0, 0)))
    truth[45:47, 4, 4] = TUMOR_ID
    predicted = np.where(truth == TUMOR_ID, 0, truth).astype(np.uint8)
    predicted[1, 1, 1] = predicted[1, 3, 1] = TUMOR_ID
    predicted[45:47, 4, 4] = TUMOR_ID
    scores = score_tumors_by_host(predicted, truth)
    assert scores["liver"] == {"dsc": 0.4, "present": True, "true_voxels": 8, "predicted_voxels": 2}
    assert scores["rest"] == {"dsc": 1.0, "present": True, "true_voxels": 2, "predicted_voxels": 2}


def test_without_any_tumor():
    assert score_tumors_by_host(organs(), organs()) == dict.fromkeys(("liver", "pancreas", "kidneys", "rest"), absent())


@pytest.mark.parametrize("seed", range(12))
def test_the_families_share_all_voxels_however_a_case_is_stored(seed):
    """No voxel is lost or counted twice, storage does not matter, and one family alone scores as the class does."""
    truth, predicted = random_labels(seed), random_labels(seed + 100)
    predicted[truth == TUMOR_ID] = np.where(np.arange(np.count_nonzero(truth == TUMOR_ID)) % 3, TUMOR_ID, 1)
    scores = score_tumors_by_host(predicted, truth)
    assert sum(score["true_voxels"] for score in scores.values()) == np.count_nonzero(truth == TUMOR_ID)
    assert sum(score["predicted_voxels"] for score in scores.values()) == np.count_nonzero(predicted == TUMOR_ID)
    turned = [np.asfortranarray(labels.transpose(2, 0, 1)[::-1, :, ::-1]) for labels in (predicted, truth)]
    assert score_tumors_by_host(*turned) == scores
    one_host = [np.where(labels == TUMOR_ID, TUMOR_ID, LIVER).astype(np.uint8) for labels in (predicted, truth)]
    expected = round(dice(predicted == TUMOR_ID, truth == TUMOR_ID), 4)
    assert score_tumors_by_host(*one_host)["liver"]["dsc"] == expected


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(39, 10, 10\).*\(40, 10, 10\)"):
        score_tumors_by_host(organs()[1:], organs())


def test_means_over_the_scans_with_such_a_tumor():
    cases = {
        "a": score_tumors_by_host(with_tumors(IN_LIVER, IN_PANCREAS), with_tumors(IN_LIVER, IN_PANCREAS)),
        "b": score_tumors_by_host(with_tumors(((2, 6), (2, 6), (2, 4)), IN_KIDNEY), with_tumors(IN_LIVER)),
    }
    assert summarize_hosts(cases) == {
        "liver": {"dsc": 0.8334, "n": 2},  # 1 and 2 * 32 / 96 = 0.6667: 0.83335, rounded
        "pancreas": {"dsc": 1.0, "n": 1},
        "kidneys": {"dsc": None, "n": 0},
        "rest": {"dsc": None, "n": 0},
    }
    assert summarize_hosts({}) == {}
