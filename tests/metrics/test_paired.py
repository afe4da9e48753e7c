"""Paired differences and their intervals: by hand, at the edges, and against the normal distribution."""

import numpy as np
import pytest

from abdoseg.metrics.paired import paired_difference


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
