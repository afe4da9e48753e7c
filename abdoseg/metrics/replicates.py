"""Means over an experiment done several times, each time with data and a training of its own."""

from collections.abc import Mapping, Sequence

import numpy as np

from abdoseg.metrics.intervals import CONFIDENCE, RESAMPLES, plain


def replicated_mean(replicates: Sequence[Mapping[str, float]]) -> dict:
    """Mean over replicates of an experiment of the mean over their scans, with an interval for both sources of chance.

    The interval is a 95 % percentile bootstrap of two levels: replicates are drawn with replacement, then scans within
    each. Unlike `paired_difference` it holds what another training seed and another data set change. With few
    replicates it is rather too narrow: the mean of each one is given too.

    Parameters
    ----------
    replicates : one mapping of scan id -> score (or difference of scores) a replicate; empty ones are left out.

    Returns
    -------
    ``{"mean", "interval": [lower, upper], "replicates": [mean of each], "n": number of scans}``, rounded to 4 decimals.
    The mean over nothing is None; so is the interval of fewer than two replicates.
    """
    groups = [np.array(list(scores.values()), dtype=np.float64) for scores in replicates if scores]
    means = [group.mean() for group in groups]
    result = {"mean": None, "interval": None, "replicates": [], "n": sum(map(len, groups))}
    if groups:
        result["mean"] = plain(np.mean(means))
        result["replicates"] = [plain(mean) for mean in means]
    if len(groups) > 1:
        bounds = np.quantile(_resampled(groups), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        result["interval"] = [plain(bound) for bound in bounds]
    return result


def _resampled(groups: Sequence[np.ndarray]) -> np.ndarray:
    """Means of `RESAMPLES` bootstrap samples, the same ones each time."""
    rng = np.random.default_rng(0)
    total = np.zeros(RESAMPLES)
    chosen = rng.integers(len(groups), size=(RESAMPLES, len(groups)))
    for index, group in enumerate(groups):
        for column in chosen.T:
            rows = np.flatnonzero(column == index)
            total[rows] += group[rng.integers(len(group), size=(len(rows), len(group)))].mean(axis=1)
    return total / len(groups)
