"""The report leaves out scores of what another run has made anew since."""

import json

from abdoseg.files import write_json
from tests.tools.score_data import save_folders
from tools.evaluate import evaluate
from tools.report import report


def test_scores_of_a_teacher_that_was_replaced_are_left_out(tmp_path, capsys):
    predicted, truth = save_folders(tmp_path)
    work = tmp_path / "work"
    for arm in ("teacher", "student"):
        evaluate(predicted, truth, work / "scores" / f"{arm}.json", classes="liver,tumor")
    write_json(work / "audit" / "datalist.json", {"training": [], "testing": []})
    for name, content in {
        "teacher": {"key": "new"},
        "score_teacher": {"key": "s", "after": {"teacher": "old"}},
        "score_student": {"key": "t", "after": {"teacher": "new"}},
    }.items():
        write_json(work / "manifests" / f"{name}.json", {"stage": name, "versions": {}, **content})
    for name in ("scores/.tmp-1-student.json", "manifests/.tmp-1-report.json"):
        (work / name).touch()  # of a process that was killed while it wrote
    report(str(work))
    assert "left out: teacher, scored before what they use was made anew" in capsys.readouterr().out
    assert list(json.loads((work / "results.json").read_text())["arms"]) == ["student"]
