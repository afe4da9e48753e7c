"""Bootstrap intervals: against the normal distribution, and where there is none to give."""

import tracemalloc

import numpy as np
import pytest
from scipy.stats import bootstrap

from abdoseg.metrics.intervals import bootstrap_interval


def mean_of(values):
    return lambda scans: values[scans].mean(axis=-1)


def test_of_many_scans_it_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(0.8, 0.1, 400)
    half = 1.96 * values.std(ddof=1) / 20
    expected = [values.mean() - half, values.mean() + half]
    assert bootstrap_interval(mean_of(values), 400) == pytest.approx(expected, abs=0.001)


def test_it_is_the_same_each_time():
    values = np.random.default_rng(0).normal(0.8, 0.1, 12)
    assert bootstrap_interval(mean_of(values), 12) == bootstrap_interval(mean_of(values), 12)


def test_many_scans_take_no_more_memory_and_give_what_all_resamples_at_once_would():
    """Means over 13 organs of 600 and of 2,400 scans: 9,999 resamples of the latter at once would be 2.5 GB."""
    scores = np.random.default_rng(0).normal(0.8, 0.1, (2400, 13))
    peaks = []
    for scans in (600, 2400):
        tracemalloc.start()
        found = bootstrap_interval(lambda chosen: scores[chosen].mean(axis=(-2, -1)), scans)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        if scans == 600:
            values = scores[:600].mean(axis=1)
            wanted = bootstrap((values,), np.mean, rng=np.random.default_rng(0)).confidence_interval
            assert found == pytest.approx(wanted, abs=1e-4)
    assert peaks[1] < 1.2 * peaks[0]


def test_decimals():
    low, high = bootstrap_interval(mean_of(np.array([0.123456, 0.654321, 0.3])), 3, decimals=1)
    assert (low, high) == (round(low, 1), round(high, 1))


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.5, 0.5], [np.nan, np.nan, np.nan]])
def test_nothing_to_vary(values):
    assert bootstrap_interval(mean_of(np.array(values)), len(values)) is None
