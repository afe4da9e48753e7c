"""The table of a chain's figures: order of arms, tumors by host, and what fits into a terminal."""

import pytest

from abdoseg.metrics import summarize
from abdoseg.tumors import FAMILIES, REST
from tools.results import ARMS, HOSTS, case_mean, collect_results, format_results, ordered_arms, tumor_arms


def content(liver: float, tumor: float, hosts: dict | None = None) -> dict:
    """Scores of one scan, as evaluate writes them; without ``hosts`` as older ones are."""
    cases = {
        "a": {
            "liver": {"dsc": liver, "nsd": 0.5, "present": True},
            "tumor": {"dsc": tumor, "nsd": 0.25, "present": True},
        }
    }
    summary = summarize(cases) | ({} if hosts is None else {"tumor_by_host": hosts})
    return {"summary": summary, "cases": cases, "failed": {}}


def hosts(liver: float, rest: float | None = None) -> dict:
    nothing = {"dsc": None, "n": 0}
    return {
        "liver": {"dsc": liver, "n": 1},
        "pancreas": nothing,
        "kidneys": nothing,
        "rest": nothing if rest is None else {"dsc": rest, "n": 2},
    }


def rows(text: str) -> dict[str, list[str]]:
    """Title of a row -> its figures."""
    return {line[:22].strip(): line[22:].split() for line in text.splitlines()}


def test_hosts_have_a_title_each():
    assert tuple(HOSTS) == (*FAMILIES, REST)


def test_order_of_the_arms():
    names = ["zeta", "student_cascade", "cascade", "alpha", "student", "cascade_labeled", "teacher"]
    assert ordered_arms(names) == [*ARMS, "alpha", "zeta"]
    assert ARMS == ("teacher", "student", "cascade_labeled", "cascade", "student_cascade")
    assert tumor_arms(names)[0] == "student"
    assert tumor_arms(["teacher"]) == []


def test_results_hold_the_summaries_in_the_order_of_the_arms():
    scores = {"cascade": content(0.9, 0.5, hosts(0.5)), "student": content(0.8, 0.4)}
    results = collect_results(scores, [{"arm": "cascade"}], {"audit": 1.5}, {"monai": "1"})
    assert list(results["arms"]) == ["student", "cascade"]
    assert results["arms"]["cascade"]["tumor_by_host"]["liver"] == {"dsc": 0.5, "n": 1}
    assert results["arms"]["student"]["tumor_by_host"] == {}
    assert results["arms"]["student"]["tumor_dsc"] == 0.4
    assert results["arms"]["student"]["cases"] == 1
    assert (results["comparisons"], results["seconds"]) == ([{"arm": "cascade"}], {"audit": 1.5})


def test_few_arms_stand_with_their_nsd_and_hosts_only_where_there_are_tumors():
    scores = {"student": content(0.8, 0.4, hosts(0.3, rest=0.6)), "teacher": content(0.9, 0.0)}
    table = format_results(collect_results(scores, [], {}, {}))
    found = rows(table)
    assert table.splitlines()[0].split() == ["class", "n", "teacher", "DSC", "NSD", "student", "DSC", "NSD"]
    assert found["liver"] == ["1", "0.900", "0.500", "0.800", "0.500"]
    assert found["spleen"] == ["0", "-", "-", "-", "-"]
    assert found["in the liver"] == ["1", "0.300"]  # the teacher's older file has no hosts, and no host an NSD
    assert found["elsewhere"] == ["2", "0.600"]
    assert not {"in the pancreas", "in the kidneys"} & set(found)
    titles = list(found)
    assert titles[titles.index("tumor") :] == ["tumor", "in the liver", "elsewhere", "mean of the organs"]
    assert found["mean of the organs"] == ["0.900", "0.500", "0.800", "0.500"]


def test_arms_scored_on_different_numbers_of_scans_tell_the_least_and_the_most():
    """The cascade has not labeled scan b, the mixed arm has labeled three: none of them shall pass for the others."""
    liver = {"dsc": 0.8, "nsd": 0.5, "present": True}
    scores = {
        arm: {"summary": summarize({case: {"liver": liver} for case in cases}), "cases": cases}
        for arm, cases in (("student", "ab"), ("cascade", "a"), ("student_cascade", "abc"))
    }
    table = format_results(collect_results(scores, [], {}, {}))
    (row,) = (line.split() for line in table.splitlines() if line.startswith("liver"))
    assert row[:3] == ["liver", "1-3", "0.800"]
    del scores["student_cascade"]
    (row,) = (line for line in format_results(collect_results(scores, [], {}, {})).splitlines() if "liver" in line)
    assert row.split()[1] == "1-2"


def test_a_hosts_figure_stands_below_its_arm():
    scores = {"cascade_labeled": content(0.8, 0.4), "cascade": content(0.9, 0.7, hosts(0.7))}
    lines = format_results(collect_results(scores, [], {}, {})).splitlines()
    end = lines[0].index("cascade DSC") + len("cascade DSC")
    (tumor,) = (line for line in lines if line.startswith("tumor"))
    (host,) = (line for line in lines if line.startswith("  in the liver"))
    assert tumor[:end].endswith(" 0.700")
    assert host[:end].rstrip() == host.rstrip()
    assert host.endswith("0.700" + " " * 8)


def test_five_arms_fit_into_a_terminal_with_their_dsc():
    scores = {arm: content(0.8, 0.1 * number, hosts(0.1 * number)) for number, arm in enumerate(ARMS)}
    table = format_results(collect_results(scores, [], {}, {}))
    assert max(map(len, table.splitlines())) <= 100
    assert table.splitlines()[0].split() == ["DSC", "by", "class", "n", *ARMS]
    assert rows(table)["in the liver"] == ["1", "0.000", "0.100", "0.200", "0.300", "0.400"]
    assert len({len(line) for line in table.splitlines()}) == 1


def test_no_arm():
    assert format_results(collect_results({}, [], {}, {})) == "No scores: no scan with truth was labeled."


def test_the_mean_of_a_case_is_over_what_it_contains():
    classes = {
        "liver": {"dsc": 0.5, "present": True},
        "spleen": {"dsc": 1.0, "present": False},
        "aorta": {"dsc": 0.7, "present": True},
    }
    assert case_mean(classes, ["liver", "spleen", "aorta", "stomach"]) == pytest.approx(0.6)
    assert case_mean(classes, ["spleen"]) is None
