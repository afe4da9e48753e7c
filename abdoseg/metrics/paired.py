"""What one method gains over another on the same scans, with an interval and a test."""

from collections.abc import Mapping

import numpy as np
from scipy.stats import wilcoxon

from abdoseg.metrics.intervals import bootstrap_interval, plain

SMALLEST_SPREAD = 1e-6
# Differences are rounded before they are ranked, so that equal ones tie.
RANK_DECIMALS = 6


def differences(scores: Mapping[str, float], baseline: Mapping[str, float]) -> dict[str, float]:
    """Score less baseline of each scan that both have."""
    return {case: scores[case] - baseline[case] for case in sorted(scores.keys() & baseline.keys())}


def paired_difference(scores: Mapping[str, float], baseline: Mapping[str, float]) -> dict:
    """Mean difference of two methods over the scans that both have a score for.

    The interval is a 95 % bootstrap over scans, see `bootstrap_interval`. It tells what another choice of scans could
    have given; that of training seeds is not in it.

    Parameters
    ----------
    scores, baseline : case id -> score.

    Returns
    -------
    ``{"difference": mean of score - baseline, "interval": [lower, upper], "n": number of scans}``, rounded to 4
    decimals. The difference of no scan is None; so is the interval of fewer than two scans, or where all differ alike.
    """
    gains = np.array(list(differences(scores, baseline).values()))
    result = {"difference": None, "interval": None, "n": len(gains)}
    if len(gains):
        result["difference"] = plain(gains.mean())
    if len(gains) > 1 and np.ptp(gains) > SMALLEST_SPREAD:
        result["interval"] = bootstrap_interval(lambda scans: gains[scans].mean(axis=-1), len(gains))
    return result


def signed_rank_p(scores: Mapping[str, float], baseline: Mapping[str, float]) -> float | None:
    """Two-sided p of the Wilcoxon signed-rank test over the scans that both methods have a score for.

    Scans without a difference are left out, as Wilcoxon did; without any other the p is 1, without a scan None. It is
    exact for at most 50 scans, or 13 where some differ alike, else by the normal approximation.
    """
    gains = np.round(list(differences(scores, baseline).values()), RANK_DECIMALS)
    if len(gains) == 0:
        return None
    return float(wilcoxon(gains[gains != 0]).pvalue) if gains.any() else 1.0


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Holm's step-down correction (1979) of several tests' p values; None stays None and counts for no test."""
    ranked = sorted((name for name, p in p_values.items() if p is not None), key=p_values.get)
    corrected, highest = dict.fromkeys(p_values), 0.0
    for place, name in enumerate(ranked):
        highest = max(highest, min(1.0, (len(ranked) - place) * p_values[name]))
        corrected[name] = highest
    return corrected


def paired_test(scores: Mapping[str, float], baseline: Mapping[str, float]) -> dict:
    """What `paired_difference` gives, and ``"p"`` of `signed_rank_p` with 4 significant digits."""
    return {**paired_difference(scores, baseline), "p": _digits(signed_rank_p(scores, baseline))}


def compare_classes(scores: Mapping[str, Mapping[str, float]], baseline: Mapping[str, Mapping[str, float]]) -> dict:
    """Compare two methods in several classes at once.

    Parameters
    ----------
    scores, baseline : class -> case id -> score.

    Returns
    -------
    ``{class: {"difference", "interval", "n", "p", "p_holm": corrected for the number of classes}}`` for the classes of
    ``scores``, see `paired_test` and `holm`.
    """
    tests = {name: paired_test(scores[name], baseline.get(name, {})) for name in scores}
    corrected = holm({name: test["p"] for name, test in tests.items()})
    return {name: {**test, "p_holm": _digits(corrected[name])} for name, test in tests.items()}


def _digits(p: float | None) -> float | None:
    return None if p is None else float(f"{p:.4g}")
