"""Means over scans that contain a class, and the official means beside them."""

import pytest

from abdoseg.metrics import summarize


def score(dsc, nsd, present=True):
    return {"dsc": dsc, "nsd": nsd, "present": present}


def test_means_by_hand():
    """The gallbladder is in one scan of three; the official mean gives full marks for one of the two absences."""
    cases = {
        "a": {"liver": score(0.9, 0.8), "gallbladder": score(0.4, 0.2), "tumor": score(0.3, 0.1)},
        "b": {"liver": score(0.7, 0.6), "gallbladder": score(1, 1, False), "tumor": score(1, 1, False)},
        "c": {"liver": score(0.8, 0.7), "gallbladder": score(0, 0, False), "tumor": score(0.1, 0)},
    }
    summary = summarize(cases)
    assert summary["classes"]["liver"] == {"dsc": 0.8, "nsd": 0.7, "n": 3}
    assert summary["classes"]["gallbladder"] == {"dsc": 0.4, "nsd": 0.2, "n": 1}
    assert summary["classes"]["spleen"] == {"dsc": None, "nsd": None, "n": 0}
    assert summary["organ_mean_dsc"] == pytest.approx(0.6)
    assert summary["organ_mean_nsd"] == pytest.approx(0.45)
    assert summary["tumor_dsc"] == 0.2
    assert summary["tumor_nsd"] == 0.05
    official = summary["official"]
    assert official["classes"]["gallbladder"] == {"dsc": 0.4667, "nsd": 0.4, "n": 3}
    assert official["organ_dsc"] == 0.6334  # (0.8 + 0.4667) / 2 = 0.63335, as the class means are rounded first
    assert official["tumor_dsc"] == 0.4667


def test_the_organ_mean_leaves_out_the_tumor_and_weighs_classes_not_cases():
    cases = {str(n): {"liver": score(1, 1)} for n in range(9)} | {"x": {"spleen": score(0, 0), "tumor": score(0.5, 0)}}
    assert summarize(cases)["organ_mean_dsc"] == 0.5


def test_nothing_to_score_has_no_mean():
    summary = summarize({})
    assert summary["organ_mean_dsc"] is None
    assert summary["tumor_dsc"] is None
    assert summary["official"]["organ_nsd"] is None
    assert len(summary["classes"]) == 14
