"""The merge rule against the worked examples of both papers, its invariants and a voxel-by-voxel formulation."""

import numpy as np
import pytest

from abdoseg.files import CaseError
from abdoseg.merge import merge_labels, merge_summary, provenance

STRONG = [*range(1, 14), 0]
# Number and reason as in the table of paper A's rule: weak label, pseudo label, merged label.
WORKED_EXAMPLES = {
    "1 tumor stays as a hole in the liver": ([0, 0, 14, 14, 0, 0, 0], [1, 1, 1, 1, 1, 0, 4], [1, 1, 14, 14, 1, 0, 4]),
    "2 liver drawn, liver predicted": ([1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 4, 4], [1, 1, 1, 0, 4, 4]),
    "3 nothing to add": ([1, 14, 14, 1, 0], [1, 1, 1, 1, 1], [1, 14, 14, 1, 0]),
    "4 another organ fills only background": ([3, 3, 0, 0], [11, 11, 11, 0], [3, 3, 11, 0]),
    "5 one stray voxel blocks the class": ([0, 0, 0, 2], [2, 2, 2, 2], [0, 0, 0, 2]),
    "6 the other one of a pair is filled": ([2, 2, 0, 0, 0], [2, 2, 0, 13, 13], [2, 2, 0, 13, 13]),
    "7 a hallucinated organ cannot be told": ([1, 1, 0, 0], [1, 1, 9, 9], [1, 1, 9, 9]),
    "8 a strong label stays": (STRONG, [4] * 14, STRONG),
    "9 an empty prediction changes nothing": ([14, 0, 0], [0, 0, 0], [14, 0, 0]),
    "10 an organ under a tumor vanishes": ([14, 14, 14], [4, 4, 4], [14, 14, 14]),
}  # fmt: skip
# Paper B; where the published organ target has a hole or the host organ, the merged label keeps the tumor.
OVERWRITE_EXAMPLES = {
    "host organ drawn": ([1, 1, 14, 0], [1, 1, 1, 1], [1, 1, 14, 0]),
    "host organ not drawn": ([0, 0, 14, 0], [1, 1, 1, 1], [1, 1, 14, 1]),
}


def volume(values) -> np.ndarray:
    return np.array(values, dtype=np.uint8).reshape(-1, 1, 1)


def random_pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A weak label with some of the classes and a pseudo label with some of the organs, half of both background."""
    rng = np.random.default_rng(seed)
    shape = (5, 4, 6)
    drawn = [0, 0, 0, *rng.choice(np.arange(1, 15), rng.integers(0, 6), replace=False)]
    predicted = [0, 0, 0, *rng.choice(np.arange(1, 14), 6, replace=False)]
    return rng.choice(drawn, shape).astype(np.uint8), rng.choice(predicted, shape).astype(np.uint8)


@pytest.mark.parametrize("name", WORKED_EXAMPLES)
def test_fill_background_worked_examples(name):
    weak, pseudo, expected = map(volume, WORKED_EXAMPLES[name])
    merged = merge_labels(weak, pseudo, policy="fill_background")
    np.testing.assert_array_equal(merged, expected)
    assert merged.dtype == np.uint8


@pytest.mark.parametrize("name", OVERWRITE_EXAMPLES)
def test_overwrite_pseudo_worked_examples(name):
    weak, pseudo, expected = map(volume, OVERWRITE_EXAMPLES[name])
    np.testing.assert_array_equal(merge_labels(weak, pseudo, policy="overwrite_pseudo"), expected)


@pytest.mark.parametrize("policy", ["fill_background", "overwrite_pseudo"])
@pytest.mark.parametrize("seed", range(8))
def test_what_a_person_drew_stays_and_a_second_merge_changes_nothing(policy, seed):
    weak, pseudo = random_pair(seed)
    before = weak.copy(), pseudo.copy()
    merged = merge_labels(weak, pseudo, policy)
    np.testing.assert_array_equal(merged[weak > 0], weak[weak > 0])
    for present in set(np.unique(weak)) - {0}:
        np.testing.assert_array_equal(merged == present, weak == present)
    assert set(np.unique(merged)) <= set(np.unique(weak)) | set(np.unique(pseudo)) | {0}
    np.testing.assert_array_equal(merge_labels(merged, pseudo, policy), merged)
    np.testing.assert_array_equal(weak, before[0])
    np.testing.assert_array_equal(pseudo, before[1])


@pytest.mark.parametrize("policy", ["fill_background", "overwrite_pseudo"])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_rule_spelled_out_voxel_by_voxel(policy, seed):
    weak, pseudo = random_pair(100 + seed)
    expected = weak.copy()
    for index in np.ndindex(weak.shape):
        if weak[index] == 0 and pseudo[index] not in weak:
            expected[index] = pseudo[index]
    np.testing.assert_array_equal(merge_labels(weak, pseudo, policy), expected)


@pytest.mark.parametrize(
    ("policy", "expected"), [("fill_background", [2, 2, 2, 2, 3]), ("overwrite_pseudo", [2, 2, 2, 2, 3])]
)
def test_stray_voxels_do_not_block_a_class_below_the_threshold(policy, expected):
    # The single voxel of the right kidney stays a person's voxel; two voxels of the spleen count as drawn.
    weak, pseudo = volume([0, 0, 0, 2, 3]), volume([2, 2, 2, 1, 2])
    np.testing.assert_array_equal(merge_labels(weak, pseudo, policy, min_present_voxels=2), volume(expected))
    weak = volume([0, 0, 2, 2, 3])
    np.testing.assert_array_equal(merge_labels(weak, pseudo, policy, min_present_voxels=2), weak)


@pytest.mark.parametrize("policy", ["fill_background", "overwrite_pseudo"])
def test_an_organ_that_was_looked_for_and_is_not_there_is_absent(policy):
    """Liver drawn, pancreas (4) looked for in vain, aorta (5) with one stray voxel, spleen (3) not looked for."""
    weak, pseudo = volume([1, 1, 5, 0, 0, 0]), volume([1, 1, 5, 5, 4, 3])
    merged = [merge_labels(weak, pseudo, policy, least, annotated=[1, 4, 5]).ravel().tolist() for least in (1, 2)]
    assert merged == [[1, 1, 5, 0, 0, 3], [1, 1, 5, 5, 0, 3]]


@pytest.mark.parametrize("policy", ["fill_background", "overwrite_pseudo"])
def test_a_predicted_tumor_is_never_taken(policy):
    np.testing.assert_array_equal(merge_labels(volume([0, 1]), volume([14, 14]), policy), volume([0, 1]))


def test_provenance_and_summary_of_a_hand_worked_case():
    # Person: liver twice, tumor once. Teacher: liver four times (1 on the tumor), spleen twice (1 on the liver).
    weak = volume([1, 1, 14, 0, 0, 0])
    pseudo = volume([1, 3, 1, 1, 3, 0])
    merged = merge_labels(weak, pseudo)
    np.testing.assert_array_equal(merged, volume([1, 1, 14, 0, 3, 0]))
    np.testing.assert_array_equal(provenance(weak, pseudo, merged), volume([1, 1, 1, 0, 2, 0]))
    summary = merge_summary(weak, pseudo, merged)
    assert list(summary) == [str(c) for c in range(1, 15)]
    assert summary["1"] == {"name": "liver", "kept": 2, "filled": 0, "discarded": 3}
    assert summary["3"] == {"name": "spleen", "kept": 0, "filled": 1, "discarded": 1}
    assert summary["14"] == {"name": "tumor", "kept": 1, "filled": 0, "discarded": 0}
    assert summary["2"] == {"name": "right kidney", "kept": 0, "filled": 0, "discarded": 0}
    with pytest.raises(ValueError, match="neither the weak nor the pseudo label"):
        provenance(weak, pseudo, volume([1, 1, 14, 5, 3, 0]))


def test_bad_settings_and_arrays_are_refused_in_one_sentence():
    good = volume([0, 1])
    with pytest.raises(
        ValueError, match=r"^Unknown merge policy 'fil'\. Use 'fill_background' or 'overwrite_pseudo'\.$"
    ):
        merge_labels(good, good, "fil")
    with pytest.raises(ValueError, match="min_present_voxels is 0; use 1"):
        merge_labels(good, good, min_present_voxels=0)
    with pytest.raises(CaseError, match=r"weak label: unknown label value 15; .* from 0 .* to 14"):
        merge_labels(volume([0, 15]), good)
    with pytest.raises(CaseError, match=r"pseudo label: unknown label value 0\.5"):
        merge_labels(good, good * 0.5)
    with pytest.raises(CaseError, match="unknown label value -2"):
        merge_labels(good.astype(np.int16) - 2, good)
    with pytest.raises(CaseError, match="unknown label value nan"):
        merge_labels(good * np.nan, good)
    with pytest.raises(CaseError, match="unknown label value 257"):
        merge_labels(good.astype(np.int32) * 257, good)
    with pytest.raises(CaseError, match=r"shape \(2, 1, 1\), the pseudo label \(3, 1, 1\)"):
        merge_labels(good, volume([0, 1, 1]))
    # Whole numbers stored as floating point are label values like any other.
    np.testing.assert_array_equal(merge_labels(good.astype(float), volume([4, 0])), volume([4, 1]))
