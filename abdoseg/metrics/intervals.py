"""Bootstrap over scans: what another choice of scans could have given."""

import warnings
from collections.abc import Callable

import numpy as np
from scipy.stats import DegenerateDataWarning, bootstrap

from abdoseg.metrics.flare import DECIMALS

CONFIDENCE = 0.95
RESAMPLES = 9999
AT_ONCE = 50_000  # drawn scans that are in memory at a time, however many scans there are


def bootstrap_interval(
    statistic: Callable[[np.ndarray], np.ndarray], scans: int, decimals: int = DECIMALS
) -> list[float] | None:
    """95 % bootstrap interval over scans: bias-corrected and accelerated, 9999 resamples, the same ones each time.

    Parameters
    ----------
    statistic : function of an integer array (..., n) of scans 0..``scans`` - 1; gives the figure over its last axis.
    scans : number of scans.
    decimals : to round the bounds to.

    Returns
    -------
    ``[lower, upper]``; None for fewer than two scans, or where all resamples give the same or some give none (NaN).
    """
    if scans < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        found = bootstrap(
            (np.arange(scans),),
            lambda chosen, axis: statistic(chosen),
            n_resamples=RESAMPLES,
            batch=max(1, min(1000, AT_ONCE // scans)),
            confidence_level=CONFIDENCE,
            method="BCa",
            rng=np.random.default_rng(0),
        )
    bounds = found.confidence_interval
    if not np.isfinite(bounds).all():
        return None
    return [plain(bound, decimals) for bound in bounds]


def plain(value: float, decimals: int = DECIMALS) -> float:
    """Rounded Python number; -0.0 becomes 0.0."""
    return round(float(value), decimals) + 0.0
