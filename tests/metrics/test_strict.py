"""Strict scores of a case, worked out by hand beside the official ones."""

import numpy as np
import pytest

from abdoseg.labels import CLASS_IDS
from abdoseg.metrics import flare_scores, strict_scores, surface_dsc

LIVER, SPLEEN, AORTA, TUMOR = 1, 3, 5, 14
MM = (1, 1, 1)
SHAPE = (20, 16, 16)


def box(class_id, x, y, z):
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[slice(*x), slice(*y), slice(*z)] = class_id
    return labels


def test_the_last_slice_of_a_tube_counts():
    """Reference z 2..11, prediction z 0..10: official 9 of 9 slices; strict 9 of 10, DSC = 2 * 9 / (10 + 9)."""
    reference, prediction = box(AORTA, (4, 8), (4, 8), (2, 12)), box(AORTA, (4, 8), (4, 8), (0, 11))
    assert flare_scores(prediction, reference, MM)[AORTA]["dsc"] == 1
    score = strict_scores(prediction, reference, (1, 1, 5), [AORTA])[AORTA]
    assert score["dsc"] == pytest.approx(18 / 19, abs=1e-6)
    # 16 voxels of 5 mm^3 a slice: 10, 9 and, outside, 2 slices.
    assert (score["true_ml"], score["predicted_ml"], score["outside_ml"]) == (0.8, 0.72, 0.16)


def test_a_tube_in_one_slice_and_one_predicted_beyond_the_reference():
    reference = box(AORTA, (4, 8), (4, 8), (5, 6))
    score = strict_scores(box(AORTA, (6, 10), (4, 8), (3, 9)), reference, MM, [AORTA])[AORTA]
    assert score["dsc"] == 0.5
    assert (score["predicted_ml"], score["outside_ml"]) == (0.016, 0.08)
    beyond = strict_scores(box(AORTA, (4, 8), (4, 8), (6, 9)), reference, MM, [AORTA])[AORTA]
    assert (beyond["dsc"], beyond["nsd"], beyond["predicted_ml"], beyond["outside_ml"]) == (0, 0, 0, 0.048)


def test_absent_classes_have_volumes_and_no_marks():
    nothing, tumor = np.zeros(SHAPE, dtype=np.uint8), box(TUMOR, (2, 12), (2, 12), (2, 12))
    expected = {"present": False, "dsc": None, "nsd": None, "true_ml": 0, "predicted_ml": 1}
    assert strict_scores(tumor, nothing, MM, [TUMOR]) == {TUMOR: expected}
    assert strict_scores(nothing, nothing, MM, [TUMOR]) == {TUMOR: {**expected, "predicted_ml": 0}}
    missed = {"present": True, "dsc": 0, "nsd": 0, "true_ml": 1, "predicted_ml": 0}
    assert strict_scores(nothing, tumor, MM, [TUMOR]) == {TUMOR: missed}


def test_nsd_counts_below_a_dsc_of_one_fifth():
    """Shifted by 9 of 10 voxels: DSC = 0.1; official NSD 0."""
    reference, prediction = box(LIVER, (0, 10), (3, 13), (3, 13)), box(LIVER, (9, 19), (3, 13), (3, 13))
    assert flare_scores(prediction, reference, MM)[LIVER] == {"dsc": 0.1, "nsd": 0}
    score = strict_scores(prediction, reference, MM, [LIVER])[LIVER]
    assert score["dsc"] == 0.1
    assert 0.1 < score["nsd"] == pytest.approx(surface_dsc(prediction == LIVER, reference == LIVER, MM, 5), abs=1e-6)


def test_only_what_somebody_looked_for_is_scored():
    reference, prediction = box(LIVER, (0, 10), (3, 13), (3, 13)), box(SPLEEN, (0, 10), (3, 13), (3, 13))
    assert list(strict_scores(prediction, reference, MM, [LIVER])) == [LIVER]
    assert list(strict_scores(prediction, reference, MM)) == list(CLASS_IDS)


@pytest.mark.parametrize("seed", range(4))
def test_other_organs_have_the_official_scores(seed):
    """Where both maps hold a class that is no tube and DSC >= 0.2, strict and official agree but for the rounding."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 15, size=(5, 4, 4))
    changed = np.where(rng.random(coarse.shape) < 0.3, rng.integers(0, 15, size=coarse.shape), coarse)
    reference, prediction = (np.kron(labels, np.ones((4, 4, 4), dtype=np.int16)) for labels in (coarse, changed))
    spacing = (0.8, 1.5, 2.5)
    official, strict = (score(prediction, reference, spacing) for score in (flare_scores, strict_scores))
    alike = [c for c in CLASS_IDS if c not in (5, 6, 10) and strict[c]["present"] and official[c]["dsc"] >= 0.2]
    assert len(alike) > 5
    for class_id in alike:
        assert strict[class_id]["dsc"] == pytest.approx(official[class_id]["dsc"], abs=6e-5)
        assert strict[class_id]["nsd"] == pytest.approx(official[class_id]["nsd"], abs=6e-5)


def test_maps_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 2, 2\), the reference \(2, 2, 3\)"):
        strict_scores(np.zeros((2, 2, 2), int), np.zeros((2, 2, 3), int), MM)
