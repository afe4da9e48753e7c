"""What one method gains over another on the same scans, with an interval."""

from collections.abc import Mapping

import numpy as np
from scipy.stats import bootstrap

from abdoseg.metrics.flare import DECIMALS

CONFIDENCE = 0.95
RESAMPLES = 9999
SMALLEST_SPREAD = 1e-6


def paired_difference(scores: Mapping[str, float], baseline: Mapping[str, float], seed: int = 0) -> dict:
    """Mean difference of two methods over the scans that both have a score for.

    The interval is a 95 % bootstrap over scans (bias-corrected and accelerated, 9999 resamples). It tells what another
    choice of scans could have given; that of training seeds is not in it.

    Parameters
    ----------
    scores, baseline : case id -> score.
    seed : of the resampling.

    Returns
    -------
    ``{"difference": mean of score - baseline, "interval": [lower, upper], "n": number of scans}``, rounded to 4
    decimals. The difference of no scan is None; so is the interval of fewer than two scans, or where all differ alike.
    """
    differences = np.array([scores[case] - baseline[case] for case in sorted(scores.keys() & baseline.keys())])
    result = {"difference": None, "interval": None, "n": len(differences)}
    if len(differences):
        result["difference"] = _rounded(differences.mean())
    if len(differences) > 1 and np.ptp(differences) > SMALLEST_SPREAD:
        found = bootstrap(
            (differences,),
            np.mean,
            n_resamples=RESAMPLES,
            batch=1000,
            confidence_level=CONFIDENCE,
            method="BCa",
            rng=np.random.default_rng(seed),
        )
        result["interval"] = [_rounded(bound) for bound in found.confidence_interval]
    return result


def _rounded(value: float) -> float:
    # Adding 0 turns -0.0 into 0.0.
    return round(float(value), DECIMALS) + 0.0
