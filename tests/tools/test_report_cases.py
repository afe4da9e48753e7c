"""Which cases and which arms the report pictures."""

from tools.report_cases import pictured_arms, ranked_cases


def test_cases_are_ranked_by_the_classes_they_contain():
    def case(liver, spleen_present):
        return {
            "liver": {"dsc": liver, "nsd": 0, "present": True},
            "spleen": {"dsc": 1.0, "nsd": 1, "present": spleen_present},
        }

    cases = {"a": case(0.5, True), "b": case(0.8, False), "c": case(0.7, False)}  # means 0.75, 0.8, 0.7
    assert ranked_cases({"cases": cases}) == {"best": "b", "median": "a", "worst": "c"}
    assert ranked_cases({"cases": {"a": cases["a"]}}) == {"best": "a"}


def test_a_picture_has_room_for_three_arms():
    assert pictured_arms(["teacher", "student", "mine"]) == ["teacher", "student", "mine"]
    arms = ["teacher", "student", "cascade_labeled", "cascade", "student_cascade"]
    assert pictured_arms(arms) == ["student", "cascade", "student_cascade"]
    assert pictured_arms(["teacher", "a", "b", "c"]) == ["a", "b", "c"]
