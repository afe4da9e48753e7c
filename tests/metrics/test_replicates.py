"""Means over repeated experiments: hand-worked values, and an interval that covers both sources of chance."""

import numpy as np
import pytest

from abdoseg.metrics.replicates import replicated_mean


def test_each_replicate_counts_alike_whatever_its_scans():
    found = replicated_mean([{"a": 0.2, "b": 0.4}, {"a": 0.9}])
    assert (found["mean"], found["replicates"], found["n"]) == (0.6, [0.3, 0.9], 3)


def test_two_replicates_without_spread_inside_can_only_give_three_means():
    """Drawn with replacement, two of two replicates are (0, 0), (0, 1) or (1, 1)."""
    assert replicated_mean([{"a": 0.0, "b": 0.0}, {"a": 1.0, "b": 1.0}])["interval"] == [0.0, 1.0]
    assert replicated_mean([{"a": 0.5}, {"a": 0.5}])["interval"] == [0.5, 0.5]


def test_nothing_and_a_single_replicate_have_no_interval():
    assert replicated_mean([]) == {"mean": None, "interval": None, "replicates": [], "n": 0}
    assert replicated_mean([{}, {"a": 0.25}]) == {"mean": 0.25, "interval": None, "replicates": [0.25], "n": 1}


@pytest.mark.parametrize("between", [0.0, 0.5])
def test_the_interval_is_as_wide_as_theory_says(between):
    """Variance of the mean: that of the replicates over their number plus that of the scans over all of them."""
    rng = np.random.default_rng(0)
    count, scans = 40, 10
    scores = rng.normal(0, 1, (count, scans)) + rng.normal(0, between, (count, 1)) if between else None
    if scores is None:
        scores = rng.normal(0, 1, (count, scans))
        scores -= scores.mean(axis=1, keepdims=True)
    found = replicated_mean([dict(enumerate(row)) for row in scores])
    expected = scores.mean(axis=1).var() / count + scores.var(axis=1).mean() / (count * scans)
    width = found["interval"][1] - found["interval"][0]
    assert width == pytest.approx(2 * 1.96 * np.sqrt(expected), rel=0.06)
