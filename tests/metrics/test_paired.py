"""Paired differences and their intervals: by hand, at the edges, and against the normal distribution."""

import numpy as np
import pytest

from abdoseg.metrics.paired import compare_classes, differences, holm, paired_difference, signed_rank_p


def test_differences_are_of_scans_that_both_have():
    assert differences({"a": 0.5, "b": 0.75, "c": 1.0}, {"b": 0.5, "a": 0.75}) == {"a": -0.25, "b": 0.25}


def test_only_scans_that_both_have_count():
    result = paired_difference({"a": 0.5, "b": 0.9, "c": 0.1}, {"a": 0.4, "b": 0.5, "d": 0.9})
    assert (result["difference"], result["n"]) == (0.25, 2)
    # Two scans differ by 0.1 and 0.4: no resample has a mean beyond them.
    low, high = result["interval"]
    assert 0.1 <= low < 0.25 < high <= 0.4


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({}, {"difference": None, "interval": None, "n": 0}),
        ({"a": 0.5}, {"difference": 0.25, "interval": None, "n": 1}),
        ({"a": 0.5, "b": 0.75, "c": 0.25}, {"difference": 0.25, "interval": None, "n": 3}),
    ],
)
def test_no_interval_without_two_scans_that_differ(scores, expected):
    assert paired_difference(scores, {"a": 0.25, "b": 0.5, "c": 0.0}) == expected


def test_the_interval_is_that_of_the_normal_distribution_where_the_scans_are_many():
    generator = np.random.default_rng(1)
    baseline = dict(enumerate(generator.uniform(0, 0.5, 400)))
    gains = generator.normal(0.05, 0.1, 400)
    scores = {case: baseline[case] + gain for case, gain in enumerate(gains)}
    result = paired_difference(scores, baseline)
    half = 1.96 * gains.std(ddof=1) / 20
    assert result["interval"] == pytest.approx([gains.mean() - half, gains.mean() + half], abs=0.0008)
    # Unpaired it would be wider by far: the scans differ more than the methods do.
    assert half < 0.5 * 1.96 * np.sqrt(2 * np.var(list(baseline.values())) + gains.var()) / 20


def test_the_other_way_round_the_sign_turns_and_the_same_call_gives_the_same():
    scores, baseline = {"a": 0.9, "b": 0.5, "c": 0.8, "d": 0.4}, {"a": 0.3, "b": 0.4, "c": 0.75, "d": 0.5}
    first, back = paired_difference(scores, baseline), paired_difference(baseline, scores)
    assert first == paired_difference(scores, baseline)
    assert back["difference"] == -first["difference"]
    assert back["interval"] == pytest.approx([-bound for bound in first["interval"][::-1]], abs=0.03)


def test_signed_rank_by_hand():
    """Gains of 1, 2, 3 and 4 in scans a to d and a loss of 5 in e: the ranks of the gains sum to 10, of the loss to 5.

    Of the 32 equally likely signs, these have a rank sum of at most 5 on the smaller side: none, {1}, {2}, {3}, {4},
    {5}, {1,2}, {1,3}, {1,4}, {2,3}: 10, on either side, so p = 20 / 32.
    """
    gains = {"a": 1, "b": 2, "c": 3, "d": 4, "e": -5}
    assert signed_rank_p(gains, dict.fromkeys(gains, 0)) == pytest.approx(20 / 32)


def test_signed_rank_leaves_out_scans_without_a_difference_or_a_partner():
    scores = {"a": 0.3, "b": 0.5, "c": 0.7, "d": 0.9, "x": 0.1}
    baseline = {"a": 0.2, "b": 0.4, "c": 0.7, "d": 0.8, "y": 0.2}
    assert signed_rank_p(scores, baseline) == pytest.approx(2 / 2**3)
    assert signed_rank_p(scores, scores) == 1
    assert signed_rank_p({}, scores) is None


def test_holm_by_hand():
    """0.01 * 4, 0.015 * 3, 0.03 * 2 and 0.031 * 1, which must not come below the one before it."""
    found = holm({"d": 0.031, "a": 0.01, "c": 0.03, "none": None, "b": 0.015})
    assert found == pytest.approx({"d": 0.06, "a": 0.04, "c": 0.06, "none": None, "b": 0.045})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_classes_are_corrected_together():
    generator = np.random.default_rng(3)
    baseline = {name: dict(enumerate(generator.uniform(0, 0.5, 12))) for name in ("liver", "spleen")}
    scores = {
        "liver": {case: value + 0.1 + 0.001 * case for case, value in baseline["liver"].items()},
        "spleen": {case: value + (0.1 if case % 2 else -0.1) for case, value in baseline["spleen"].items()},
        "aorta": {},
    }
    found = compare_classes(scores, baseline)
    assert found["liver"]["p"] == float(f"{2 / 2**12:.4g}")
    assert found["liver"]["p_holm"] == float(f"{4 / 2**12:.4g}")
    assert found["spleen"]["p_holm"] == found["spleen"]["p"] == 1
    assert found["aorta"] == {"difference": None, "interval": None, "n": 0, "p": None, "p_holm": None}
