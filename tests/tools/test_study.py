"""The study: verdicts and tables by hand, and the command on made-up scores and on a chain that fails."""

import json

import pytest
import yaml

from abdoseg.files import CaseError, write_json
from abdoseg.labels import NAMES, ORGAN_IDS
from tools.pipeline import load_pipeline
from tools.study import DEFINITION, study
from tools.study_table import collect_study, format_study, verdict

ORGANS = [NAMES[organ] for organ in ORGAN_IDS]
SMALL = {
    "difficulties": [0.0],
    "seeds": [1, 2],
    "phantom": {"cases": 1, "unlabeled": 0, "test_cases": 0, "min_strong": 0},
    "chains": [],
    "arms": {"direct": "one", "student": "two"},
    "groups": {"all organs": ["liver", "spleen"], "tumor": ["tumor"]},
    "claims": [
        {"text": "loses", "arm": "direct", "than": "student", "group": "all organs", "below": 0, "paper": "A"},
        {"text": "finds", "arm": "student", "group": "tumor", "above": 0},
    ],
    "papers": {
        "direct": {"liver": 90.0, "spleen": 10.0},
        "student": {"liver": 95.0, "spleen": 85.0},
    },
}


def scores(**cases) -> dict:
    """Scores as evaluate writes them: scan -> class -> DSC; None: the reference has no such class."""
    return {
        "cases": {
            case: {
                name: {"dsc": 1.0 if dsc is None else dsc, "nsd": 0.0, "present": dsc is not None}
                for name, dsc in values
            }
            for case, values in cases.items()
        }
    }


def write_scores(root) -> None:
    for seed, shift in ((1, 0.0), (2, 0.1)):
        folder = root / f"d0.0_s{seed}" / "scores"
        direct = [("liver", 0.8 - shift), ("spleen", 0.2), ("tumor", 0.0)]
        student = [("liver", 0.9), ("spleen", 0.7 + shift), ("tumor", None)]
        write_json(folder / "direct.json", scores(x=direct))
        write_json(folder / "student.json", scores(x=student))


@pytest.mark.parametrize(
    ("interval", "claim", "expected"),
    [
        ([-0.01, 0.03], {"above": -0.02}, "held"),
        ([-0.03, 0.03], {"above": -0.02}, "open"),
        ([-0.05, -0.03], {"above": -0.02}, "failed"),
        ([-0.5, -0.3], {"below": -0.2}, "held"),
        ([-0.5, -0.1], {"below": -0.2}, "open"),
        ([-0.1, 0.1], {"below": -0.2}, "failed"),
        (None, {"above": 0}, "open"),
    ],
)
def test_a_verdict_needs_the_whole_interval(interval, claim, expected):
    assert verdict(interval, claim) == expected


def test_the_outcome_by_hand(tmp_path):
    write_scores(tmp_path)
    found = collect_study(SMALL, {0.0: [tmp_path / "d0.0_s1", tmp_path / "d0.0_s2"]})["0.0"]
    # Seed 1: (0.8 + 0.2) / 2 - (0.9 + 0.7) / 2 = -0.3; seed 2: (0.7 + 0.2) / 2 - (0.9 + 0.8) / 2 = -0.4.
    claim = found["claims"][0]
    assert claim["difference"]["replicates"] == [-0.3, -0.4]
    assert (claim["difference"]["mean"], claim["verdict"]) == (-0.35, "held")
    # No scan of the student contains a tumor: nothing is known.
    assert (found["claims"][1]["difference"]["n"], found["claims"][1]["verdict"]) == (0, "open")
    assert found["arms"]["direct"]["spleen"]["mean"] == 0.2
    table = format_study(SMALL, {"0.0": found})
    # The paper's difference: (90 + 10) / 2 - (95 + 85) / 2 percent.
    assert "| loses | -0.40 | **held** -0.35 [-0.40, -0.30]; seeds -0.30, -0.40 |" in table
    assert "| spleen | 0.20 [0.20, 0.20] (0.10) | 0.75 [0.70, 0.80] (0.85) |" in table
    alone = format_study(SMALL | {"papers": {}}, {"0.0": found})
    assert "| loses | **held** -0.35 [-0.40, -0.30]; seeds -0.30, -0.40 |" in alone
    assert "paper" not in alone


def definition_file(folder, **changes) -> str:
    path = folder / "definition.yaml"
    path.write_text(yaml.safe_dump(SMALL | changes))
    return str(path)


def test_the_command_updates_its_document(tmp_path):
    write_scores(tmp_path / "work")
    document = tmp_path / "study.md"
    document.write_text("# Head\n<!-- study -->\nold\n<!-- /study -->\ntail\n")
    result = study(str(tmp_path / "work"), definition_file(tmp_path), str(document), workers=2)
    text = document.read_text()
    assert text.startswith("# Head\n<!-- study -->\n| claim |")
    assert text.endswith("|\n<!-- /study -->\ntail\n")
    assert "old" not in text
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")
    content = json.loads((tmp_path / "work" / "study.json").read_text())
    assert result["study"] == str(tmp_path / "work" / "study.json")
    assert content["outcome"]["0.0"]["claims"][0]["verdict"] == "held"
    assert (tmp_path / "work" / "d0.0_s2" / "data" / "phantom.json").is_file()


def test_every_arm_is_scored_by_a_chain():
    """What the last step reads is what the chains before it write, each from the same teacher."""
    content = yaml.safe_load(DEFINITION.read_text())
    written, teachers = [], []
    for chain in content["chains"]:
        values = {"data_dir": "data", "work_dir": "work", **chain.get("parameters", {})}
        only = values.pop("only", "").split(",")
        keys = {}
        for stage in load_pipeline(chain["chain"], "demo", values):
            keys[stage.name] = stage.key(keys, "the data")
            if only == [""] or stage.name in only:
                written += stage.outputs
        teachers.append(keys.get("teacher"))
    assert {f"work/scores/{arm}.json" for arm in content["arms"]} <= set(written)
    assert teachers[0] is None
    assert teachers[1] == teachers[2]


def test_a_set_that_fails_is_named_with_its_log(tmp_path, capsys):
    path = definition_file(tmp_path, chains=[{"chain": "no_such_chain"}], seeds=[1])
    result = study(str(tmp_path / "work"), path)
    assert list(result["failed"]) == ["d0.0_s1"]
    assert "d0.0_s1/log.txt" in result["failed"]["d0.0_s1"]
    assert "no_such_chain" in result["failed"]["d0.0_s1"]
    assert "failed: d0.0_s1" in capsys.readouterr().out


def test_a_document_without_a_place_for_the_tables_is_refused(tmp_path):
    document = tmp_path / "study.md"
    document.write_text("# Head\n")
    with pytest.raises(CaseError, match=r"study\.md: has no line '<!-- study -->'"):
        study(str(tmp_path / "work"), definition_file(tmp_path), str(document))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"than": "studnt"}, "'loses' has 'studnt' as its 'than'; use one of direct, student"),
        ({"group": "kidneys"}, "'loses' has 'kidneys' as its 'group'; use one of liver, spleen, all organs, tumor"),
        ({"above": 0}, "'loses' needs one bound"),
    ],
)
def test_a_claim_that_could_not_be_judged_is_refused_before_the_work(tmp_path, changes, message):
    path = definition_file(tmp_path, claims=[SMALL["claims"][0] | changes])
    with pytest.raises(CaseError, match=message):
        study(str(tmp_path / "work"), path)
    assert not (tmp_path / "work").exists()


def test_an_arm_that_no_chain_scores_is_named(tmp_path):
    write_scores(tmp_path)
    (tmp_path / "d0.0_s2/scores/student.json").unlink()
    with pytest.raises(CaseError, match=r"d0\.0_s2/scores/student\.json: no chain of the study has scored the arm"):
        collect_study(SMALL, {0.0: [tmp_path / "d0.0_s1", tmp_path / "d0.0_s2"]})


def test_no_worker_is_refused(tmp_path):
    with pytest.raises(CaseError, match="--workers is 0; use 1 or more"):
        study(str(tmp_path / "work"), definition_file(tmp_path), workers=0)


def test_the_definition_names_what_there_is():
    """Arms and chains that exist, classes by their names, and the means that the papers' tables give."""
    content = yaml.safe_load(DEFINITION.read_text())
    assert sorted(content["groups"]["all organs"]) == sorted(ORGANS)
    assert sorted(content["groups"]["rare organs"] + content["groups"]["common organs"]) == sorted(ORGANS)
    for claim in content["claims"]:
        assert {claim["arm"], claim.get("than", claim["arm"])} <= set(content["arms"])
        assert claim["group"] in content["groups"]
        assert ("above" in claim) != ("below" in claim)
    # Means of the 13 organs in paper A's Table 4, worked out from its rows.
    for arm, mean in (("direct", 43.86), ("teacher", 88.73), ("student", 89.18)):
        assert sum(content["papers"][arm][organ] for organ in ORGANS) / 13 == pytest.approx(mean, abs=0.006)
