"""Arms against the first one that knows the tumor: who is compared, over which scans, and how it is told."""

import pytest

from tools.comparison import MEANING, compare_arms, comparison_rows, format_comparisons


def content(tumors: dict[str, float | None], liver: float = 0.8) -> dict:
    """Scores of an arm: scan -> DSC of its tumor, None where the truth has none."""

    def case(tumor):
        score = {"dsc": 1.0, "present": False} if tumor is None else {"dsc": tumor, "present": True}
        return {"liver": {"dsc": liver, "present": True}, "spleen": {"dsc": 0.0, "present": False}, "tumor": score}

    return {"cases": {name: case(tumor) for name, tumor in tumors.items()}}


def test_differences_by_hand():
    """Scan c has no tumor; the cascade has not labeled scan d."""
    scores = {
        "cascade": content({"a": 0.5, "b": 0.9, "c": None}, liver=0.9),
        "student": content({"a": 0.4, "b": 0.4, "c": None, "d": 0.0}),
        "teacher": content({"a": 0.0, "b": 0.0, "c": None, "d": 0.0}),
    }
    (entry,) = compare_arms(scores)
    assert (entry["arm"], entry["baseline"]) == ("cascade", "student")
    assert entry["tumor_dsc"]["difference"] == pytest.approx(0.3)  # 0.1 and 0.5
    assert entry["tumor_dsc"]["n"] == 2
    low, high = entry["tumor_dsc"]["interval"]
    assert 0.1 <= low < 0.3 < high <= 0.5
    assert entry["organ_mean_dsc"] == {"difference": pytest.approx(0.1), "interval": None, "n": 3}


def test_each_arm_is_compared_with_the_first_that_knows_the_tumor():
    arms = ["student_cascade", "teacher", "cascade", "student", "cascade_labeled"]
    compared = compare_arms({arm: content({"a": 0.5, "b": 0.4}) for arm in arms})
    assert [(entry["arm"], entry["baseline"]) for entry in compared] == [
        ("cascade_labeled", "student"),
        ("cascade", "student"),
        ("student_cascade", "student"),
    ]


@pytest.mark.parametrize("arms", [(), ("teacher",), ("student",), ("teacher", "student")])
def test_nothing_to_compare(arms):
    comparisons = compare_arms({arm: content({"a": 0.5}) for arm in arms})
    assert comparisons == []
    assert format_comparisons(comparisons) == ""


def test_how_a_comparison_is_told():
    difference = {"difference": 0.1234, "interval": [-0.0456, 0.2], "n": 12}
    same = {"difference": 0.0, "interval": None, "n": 3}
    nothing = {"difference": None, "interval": None, "n": 0}
    comparisons = [
        {"arm": "cascade_labeled", "baseline": "student", "tumor_dsc": difference, "organ_mean_dsc": same},
        {"arm": "cascade", "baseline": "student", "tumor_dsc": nothing, "organ_mean_dsc": difference},
    ]
    assert comparison_rows(comparisons) == [
        ["cascade_labeled", "+0.123 [-0.046, +0.200]", "12", "+0.000 [no interval]", "3"],
        ["cascade", "-", "0", "+0.123 [-0.046, +0.200]", "12"],
    ]
    text = format_comparisons(comparisons)
    assert text.split("\n")[0].split("   ")[0] == "against student"
    assert " ".join(text.split("\n")[3:]) == MEANING
    assert max(map(len, text.splitlines())) <= 100
    assert "training seed" in MEANING
    assert "fewer than ten scans" in MEANING
