"""Strict scores of many cases: means, intervals, volumes, false positives, and one run against another."""

import pytest

from abdoseg.metrics.strict_summary import compare_strict, summarize_strict


def score(dsc, nsd=0.5, true=10.0, predicted=12.0, **more):
    present = dsc is not None
    nsd, true = (nsd, true) if present else (None, 0.0)
    return {"present": present, "dsc": dsc, "nsd": nsd, "true_ml": true, "predicted_ml": predicted, **more}


CASES = {
    "a": {"liver": score(0.9), "spleen": score(0.5), "tumor": score(0.4)},
    "b": {"liver": score(0.7, predicted=7.0), "tumor": score(None, predicted=3.0)},
    "c": {"liver": score(0.8), "spleen": score(None, predicted=0.0), "tumor": score(None, predicted=0.0)},
}


def test_means_by_hand():
    summary = summarize_strict(CASES, {})
    liver, spleen, tumor = (summary["classes"][name] for name in ("liver", "spleen", "tumor"))
    assert (liver["n"], liver["dsc"], liver["nsd"]) == (3, 0.8, 0.5)
    assert 0.7 <= liver["dsc_interval"][0] < 0.8 < liver["dsc_interval"][1] <= 0.9
    assert liver["nsd_interval"] is None
    # Predicted 12, 7 and 12 mL of 10 mL each.
    assert (liver["volume"]["true_ml"], liver["volume"]["predicted_ml"], liver["volume"]["bias_ml"]) == (
        10,
        10.333,
        0.333,
    )
    assert liver["volume"]["bias_interval"][0] < 0 < liver["volume"]["bias_interval"][1]
    assert spleen["n"] == 1
    assert spleen["absent"] == {"scans": 1, "with_false_positives": 0, "mean_ml": 0}
    assert tumor["absent"] == {"scans": 2, "with_false_positives": 1, "mean_ml": 1.5}
    assert summary["classes"]["aorta"]["dsc"] is None
    assert summary["organ_mean"]["dsc"] == 0.65
    low, high = summary["organ_mean"]["dsc_interval"]
    assert 0.5 <= low < 0.65 < high <= 0.9
    assert summary["lesions"] is None


def test_what_is_predicted_beyond_a_tube_is_told():
    cases = {"a": {"aorta": score(0.9, outside_ml=1.0)}, "b": {"aorta": score(0.8, outside_ml=4.0)}}
    assert summarize_strict(cases, {})["classes"]["aorta"]["volume"]["outside_ml"] == 2.5
    assert "outside_ml" not in summarize_strict(CASES, {})["classes"]["liver"]["volume"]


def test_lesions_are_summed_up_where_somebody_looked_for_them():
    lesions = {"a": {"true": [{"ml": 1.0, "mm": 12.4, "iou": 0.5}], "false_positives": []}}
    assert summarize_strict(CASES, lesions)["lesions"]["sensitivity"] == 1


def test_nothing_to_score():
    summary = summarize_strict({}, {})
    assert summary["organ_mean"] == {"dsc": None, "dsc_interval": None, "nsd": None, "nsd_interval": None}
    assert len(summary["classes"]) == 14


def test_one_run_against_another():
    """Better by 0.1 in each liver but that of scan c, which the other run lacks; the spleen is in scan a only."""
    worse = {
        case: {name: {**s, "dsc": s["dsc"] and s["dsc"] - 0.1} for name, s in classes.items()}
        for case, classes in CASES.items()
        if case != "c"
    }
    comparison = compare_strict(CASES, worse)
    liver = comparison["dsc"]["classes"]["liver"]
    assert (liver["difference"], liver["n"]) == (pytest.approx(0.1), 2)
    assert comparison["dsc"]["classes"]["spleen"]["n"] == 1
    assert comparison["dsc"]["classes"]["aorta"] == {
        "difference": None,
        "interval": None,
        "n": 0,
        "p": None,
        "p_holm": None,
    }
    organs = comparison["dsc"]["organ_mean"]
    assert (organs["difference"], organs["n"]) == (pytest.approx(0.1), 2)
    assert comparison["nsd"]["classes"]["liver"]["p"] == 1


def test_the_organ_means_of_two_runs_are_over_the_same_organs():
    """The other run was scored for the liver alone, 0.1 worse in each scan: the spleen is in neither mean."""
    liver = {case: {"liver": score(classes["liver"]["dsc"] - 0.1)} for case, classes in CASES.items()}
    for runs, sign in (((CASES, liver), 1), ((liver, CASES), -1)):
        organs = compare_strict(*runs)["dsc"]["organ_mean"]
        assert (organs["difference"], organs["n"]) == (pytest.approx(sign * 0.1), 3)
