"""The official FLARE23 rules: worked out by hand, and against a plain transcription on the surface-distance package."""

import numpy as np
import pytest

from abdoseg.labels import CLASS_IDS
from abdoseg.metrics import case_presence, flare_scores
from abdoseg.metrics.flare import single_slice_tubes
from tests.metrics.official_script import official_scores

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:surface_distance")

LIVER, RIGHT_KIDNEY, AORTA, VENA_CAVA, ESOPHAGUS, TUMOR = 1, 2, 5, 6, 10, 14
MM = (1, 1, 1)


def box(class_id, x, y, z, shape=(32, 16, 16)):
    """Label map with one box; each of x, y, z is (first, last + 1)."""
    labels = np.zeros(shape, dtype=np.uint8)
    labels[slice(*x), slice(*y), slice(*z)] = class_id
    return labels


def cube_at(class_id, x):
    return box(class_id, (x, x + 10), (3, 13), (3, 13))


@pytest.mark.parametrize(
    ("class_id", "shift", "dsc", "nsd"),
    [
        (LIVER, 0, 1, 1),
        (LIVER, 5, 0.5, 1),  # tolerance 5 mm: every surface element has its twin 5 mm away
        (RIGHT_KIDNEY, 3, 0.7, 1),  # tolerance 3 mm
        (LIVER, 9, 0.1, 0),  # DSC < 0.2
        (LIVER, 15, 0, 0),
    ],
)
def test_shifted_cubes(class_id, shift, dsc, nsd):
    scores = flare_scores(cube_at(class_id, 4 + shift), cube_at(class_id, 4), MM)
    assert scores[class_id] == {"dsc": dsc, "nsd": nsd}


def test_nsd_counts_from_a_dsc_of_exactly_one_fifth():
    """Shifted by 8 of 10 voxels, DSC = 2 * 200 / 2000 = 0.2, which is not below 0.2."""
    score = flare_scores(cube_at(LIVER, 12), cube_at(LIVER, 4), MM)[LIVER]
    assert score["dsc"] == 0.2
    assert 0.3 < score["nsd"] < 1


def test_tolerance_is_in_mm_along_the_right_axis():
    """A shift of 3 voxels along x is 3 mm (within the kidney's tolerance) or 6 mm (beyond), whatever y and z are."""
    kidney, shifted = cube_at(RIGHT_KIDNEY, 4), cube_at(RIGHT_KIDNEY, 7)
    assert flare_scores(shifted, kidney, (1, 4, 4))[RIGHT_KIDNEY]["nsd"] == 1
    assert flare_scores(shifted, kidney, (2, 1, 1))[RIGHT_KIDNEY]["nsd"] < 0.8


def test_absent_classes():
    empty = np.zeros((8, 8, 8), dtype=np.uint8)
    full = box(TUMOR, (2, 5), (2, 5), (2, 5), (8, 8, 8))
    assert flare_scores(empty, empty, MM) == {class_id: {"dsc": 1, "nsd": 1} for class_id in CLASS_IDS}
    assert flare_scores(full, empty, MM)[TUMOR] == {"dsc": 0, "nsd": 0}
    assert flare_scores(empty, full, MM)[TUMOR] == {"dsc": 0, "nsd": 0}
    assert flare_scores(full, empty, MM, classes=[LIVER]) == {LIVER: {"dsc": 1, "nsd": 1}}


@pytest.mark.parametrize("tube", [AORTA, VENA_CAVA, ESOPHAGUS])
def test_tubes_are_cut_to_the_reference_s_slices_but_the_last(tube):
    """Reference z 2..11, prediction z 0..7. Cut to 2 <= z < 11: 9 and 6 slices, 6 shared, DSC = 2 * 6 / (9 + 6)."""
    reference, prediction = box(tube, (4, 8), (4, 8), (2, 12)), box(tube, (4, 8), (4, 8), (0, 8))
    assert flare_scores(prediction, reference, MM)[tube]["dsc"] == 0.8
    reference[reference == tube] = LIVER
    prediction[prediction == tube] = LIVER
    assert flare_scores(prediction, reference, MM)[LIVER]["dsc"] == 0.6667  # uncut: 2 * 6 / (10 + 8)


def test_a_tube_that_is_too_long_is_perfect_and_one_only_beyond_the_end_scores_nothing():
    reference = box(AORTA, (4, 8), (4, 8), (2, 12))
    assert flare_scores(box(AORTA, (4, 8), (4, 8), (0, 16)), reference, MM)[AORTA] == {"dsc": 1, "nsd": 1}
    assert flare_scores(box(AORTA, (4, 8), (4, 8), (11, 16)), reference, MM)[AORTA] == {"dsc": 0, "nsd": 0}


def test_a_tube_in_one_slice_is_scored_on_that_slice():
    """The official script stops here: z_min = z_max leaves no slice."""
    reference = box(AORTA, (4, 8), (4, 8), (5, 6))
    assert flare_scores(box(AORTA, (4, 8), (4, 8), (3, 9)), reference, MM)[AORTA] == {"dsc": 1, "nsd": 1}
    assert flare_scores(box(AORTA, (6, 10), (4, 8), (3, 9)), reference, MM)[AORTA]["dsc"] == 0.5
    assert flare_scores(box(AORTA, (4, 8), (4, 8), (6, 9)), reference, MM)[AORTA] == {"dsc": 0, "nsd": 0}


def test_the_organs_on_which_the_official_script_stops():
    """Those in one slice of the reference that are predicted anywhere; an esophagus in two slices is scored."""
    reference = box(AORTA, (4, 8), (4, 8), (5, 6)) + box(VENA_CAVA, (10, 12), (4, 8), (2, 3))
    reference += box(ESOPHAGUS, (14, 16), (4, 8), (8, 10))
    prediction = np.where(reference == VENA_CAVA, 0, reference)
    assert single_slice_tubes(prediction, reference) == [AORTA]
    assert single_slice_tubes(np.where(reference == AORTA, LIVER, reference), reference) == [VENA_CAVA]


def test_scores_are_rounded_as_numpy_does():
    """DSC = 2 * 1 / 40000 = 0.00005: NumPy rounds this half to the even 0.0, Python to 0.0001, as it is a bit above."""
    reference, prediction = np.zeros((2, 100, 200), dtype=np.uint8), np.zeros((2, 100, 200), dtype=np.uint8)
    reference[0] = LIVER
    prediction[1] = LIVER
    prediction[1, 0, 0] = 0
    prediction[0, 0, 0] = LIVER
    assert round(2 / 40000, 4) == 0.0001
    assert round(np.float64(2 / 40000), 4) == 0
    assert flare_scores(prediction, reference, MM)[LIVER]["dsc"] == 0


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_a_transcription_of_the_official_rules(seed):
    """Blocks of random classes, mostly alike in both maps; some classes are absent from one or both."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 15, size=(5, 4, 4))
    changed = np.where(rng.random(coarse.shape) < 0.3, rng.integers(0, 15, size=coarse.shape), coarse)
    reference, prediction = (np.kron(labels, np.ones((4, 4, 4), dtype=np.int16)) for labels in (coarse, changed))
    prediction = np.roll(prediction, seed % 3, axis=seed % 2)
    spacing = (0.8, 1.5, 2.5)
    expected = official_scores(prediction, reference, spacing)
    assert len({score["nsd"] for score in expected.values()}) > 4
    assert flare_scores(prediction, reference, spacing) == expected


def test_case_presence():
    labels = np.array([[[0, 1, 14, 14, 99]]])
    assert case_presence(labels) == {1, 14}


@pytest.mark.parametrize(
    ("prediction", "reference", "spacing", "message"),
    [
        (np.zeros((2, 2, 2), int), np.zeros((2, 2, 3), int), MM, r"\(2, 2, 2\), the reference \(2, 2, 3\)"),
        (np.zeros((2, 2), int), np.zeros((2, 2), int), MM, "3-D"),
        (np.zeros((2, 2, 2)), np.zeros((2, 2, 2), int), MM, "prediction has dtype float64"),
        (np.zeros((2, 2, 2), int), np.zeros((2, 2, 2), int), (1, 0, 1), "three positive voxel sizes"),
        (np.zeros((2, 2, 2), int), np.zeros((2, 2, 2), int), (1, 1), "three positive voxel sizes"),
    ],
)
def test_bad_input_is_refused(prediction, reference, spacing, message):
    with pytest.raises(ValueError, match=message):
        flare_scores(prediction, reference, spacing)
