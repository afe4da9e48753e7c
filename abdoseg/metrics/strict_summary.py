"""Strict scores of many cases: means with intervals, false positives, volumes, and paired tests."""

from collections.abc import Mapping, Sequence

import numpy as np

from abdoseg.labels import CLASS_IDS, NAMES
from abdoseg.metrics.intervals import bootstrap_interval, plain
from abdoseg.metrics.lesions import summarize_lesions
from abdoseg.metrics.paired import compare_classes, paired_test
from abdoseg.metrics.summary import ORGANS

MEASURES = ("dsc", "nsd")
CLASS_NAMES = tuple(NAMES[class_id] for class_id in CLASS_IDS)
ML_DECIMALS = 3


def summarize_strict(cases: Mapping[str, Mapping[str, Mapping]], lesions: Mapping[str, Mapping]) -> dict:
    """Means of the strict scores of many cases, each with its 95 % bootstrap interval over scans.

    Parameters
    ----------
    cases : ``{case id: {class name: see abdoseg.metrics.strict.strict_scores}}``; a case leaves out the classes that
        nobody looked for in it.
    lesions : ``{case id: see abdoseg.metrics.lesions.match_lesions}`` of the cases in which somebody looked for tumors.

    Returns
    -------
    dict
        ``"organ_mean"``: ``{"dsc", "dsc_interval", "nsd", "nsd_interval"}``, means of the organs' means;
        ``"classes"``: ``{name: {"n", the same four, "volume", "absent"}}``, over the n scans that contain the class.
        ``"volume"`` of these scans in mL: ``{"true_ml", "predicted_ml", "bias_ml": mean of predicted - true,
        "bias_interval"}``, for tubular organs also ``"outside_ml"``. ``"absent"``: of the scans in which the class was
        looked for and is not, ``{"scans", "with_false_positives", "mean_ml": of what is predicted, over them all}``;
        ``"lesions"``: see `summarize_lesions`, or None where nobody looked for tumors.
        A figure over nothing is None, an interval as `bootstrap_interval` tells.
    """
    classes = {name: _class_summary(cases, name) for name in CLASS_NAMES}
    return {
        "organ_mean": _organ_means(cases, classes),
        "classes": classes,
        "lesions": summarize_lesions(lesions) if lesions else None,
    }


def _class_summary(cases: Mapping[str, Mapping[str, Mapping]], name: str) -> dict:
    scores = [case[name] for case in cases.values() if name in case]
    present = [score for score in scores if score["present"]]
    made_up = [score["predicted_ml"] for score in scores if not score["present"]]
    summary = {"n": len(present)}
    for measure in MEASURES:
        summary |= _mean(measure, f"{measure}_interval", [score[measure] for score in present])
    volume = {key: _mean_ml([score[key] for score in present]) for key in ("true_ml", "predicted_ml")}
    differences = [score["predicted_ml"] - score["true_ml"] for score in present]
    volume |= _mean("bias_ml", "bias_interval", differences, ML_DECIMALS)
    if any("outside_ml" in score for score in present):
        volume["outside_ml"] = _mean_ml([score["outside_ml"] for score in present])
    found = sum(ml > 0 for ml in made_up)
    absent = {"scans": len(made_up), "with_false_positives": found, "mean_ml": _mean_ml(made_up)}
    return {**summary, "volume": volume, "absent": absent}


def _mean(name: str, interval: str, values: Sequence[float], decimals: int = 4) -> dict:
    array = np.array(values)
    bounds = bootstrap_interval(lambda scans: array[scans].mean(axis=-1), len(array), decimals=decimals)
    return {name: plain(array.mean(), decimals) if values else None, interval: bounds}


def _mean_ml(values: Sequence[float]) -> float | None:
    return plain(np.mean(values), ML_DECIMALS) if values else None


def _organ_means(cases: Mapping[str, Mapping[str, Mapping]], classes: Mapping[str, Mapping]) -> dict:
    """Mean over the organs of their means over scans; a resample of scans that lacks an organ goes without it."""
    summary = {}
    for measure in MEASURES:
        known = [classes[name][measure] for name in ORGANS if classes[name]["n"]]
        scores = np.array(
            [[_score(case, name, measure) for name in ORGANS] for case in cases.values()], dtype=float
        ).reshape(-1, len(ORGANS))
        summary[measure] = plain(np.mean(known)) if known else None
        summary[f"{measure}_interval"] = bootstrap_interval(
            lambda scans, scores=scores: np.nanmean(np.nanmean(scores[scans], axis=-2), axis=-1), len(scores)
        )
    return summary


def _score(case: Mapping[str, Mapping], name: str, measure: str) -> float | None:
    return case[name][measure] if name in case else None


def compare_strict(cases: Mapping[str, Mapping[str, Mapping]], baseline: Mapping[str, Mapping[str, Mapping]]) -> dict:
    """Paired tests between the strict scores of two methods on the same scans.

    Parameters
    ----------
    cases, baseline : as in `summarize_strict`.

    Returns
    -------
    ``{"dsc", "nsd": {"organ_mean": see paired_test, "classes": {name: see compare_classes}}}``; the organ mean of a
    scan is over the organs that it contains and that both methods were scored for, and is one test of its own, which is
    not corrected.
    """
    cases, baseline = _scored_in_both(cases, baseline), _scored_in_both(baseline, cases)
    return {
        measure: {
            "organ_mean": paired_test(_organ_means_by_case(cases, measure), _organ_means_by_case(baseline, measure)),
            "classes": compare_classes(_by_class(cases, measure), _by_class(baseline, measure)),
        }
        for measure in MEASURES
    }


def _scored_in_both(cases: Mapping[str, Mapping], others: Mapping[str, Mapping]) -> dict[str, dict]:
    """Scores of the scans, and in each of the classes, that the others have too."""
    return {
        case: {name: score for name, score in classes.items() if name in others[case]}
        for case, classes in cases.items()
        if case in others
    }


def _by_class(cases: Mapping[str, Mapping[str, Mapping]], measure: str) -> dict[str, dict[str, float]]:
    scores = {name: {case: _score(classes, name, measure) for case, classes in cases.items()} for name in CLASS_NAMES}
    return {name: {case: score for case, score in found.items() if score is not None} for name, found in scores.items()}


def _organ_means_by_case(cases: Mapping[str, Mapping[str, Mapping]], measure: str) -> dict[str, float]:
    scores = {case: [_score(classes, name, measure) for name in ORGANS] for case, classes in cases.items()}
    known = {case: [score for score in found if score is not None] for case, found in scores.items()}
    return {case: float(np.mean(found)) for case, found in known.items() if found}
