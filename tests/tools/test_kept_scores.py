"""An evaluation that was interrupted goes on with the cases that are missing."""

import json

import pytest

from tests.tools.score_data import save, save_folders, scan
from tools import evaluate as module
from tools.evaluate import evaluate
from tools.kept_scores import KeptScores


@pytest.fixture
def scored(monkeypatch):
    """Ids of the cases that are scored; where it holds three, Ctrl-C."""
    ids = []
    score_case = module.score_case

    def counted(prediction, *arguments):
        if len(ids) == 2 and "stop" in ids:
            raise KeyboardInterrupt
        ids.append(prediction.name.removesuffix(".nii.gz"))
        return score_case(prediction, *arguments)

    monkeypatch.setattr(module, "score_case", counted)
    return ids


def test_what_was_scored_is_not_scored_again(tmp_path, scored, capsys):
    predicted, truth = save_folders(tmp_path)
    options = {"strict": True, "classes": "liver,aorta", "num_workers": 0}
    whole = evaluate(predicted, truth, **options)
    output = tmp_path / "scores" / "own.json"
    scored[:] = ["stop"]
    with pytest.raises(KeyboardInterrupt):
        evaluate(predicted, truth, output, **options)
    assert not output.exists()
    done = scored[1]
    # What a killed process was writing.
    with (tmp_path / "scores" / "own.unfinished.jsonl").open("a") as file:
        file.write('\n["half')

    scored.clear()
    assert evaluate(predicted, truth, output, **options) == whole
    assert json.loads(output.read_text()) == whole
    assert set(scored) == {"0002", "case_1", "case_3"} - {done}
    assert "1 of 3 cases are scored already." in capsys.readouterr().out
    assert [path.name for path in output.parent.iterdir()] == ["own.json"]


@pytest.mark.parametrize("change", ["prediction", "classes", "strict"])
def test_what_has_changed_is_scored_again(tmp_path, scored, change):
    predicted, truth = save_folders(tmp_path)
    options = {"classes": "liver,aorta", "num_workers": 0, "strict": False}
    scored[:] = ["stop"]
    with pytest.raises(KeyboardInterrupt):
        evaluate(predicted, truth, tmp_path / "own.json", **options)
    if change == "prediction":
        save(predicted / f"{scored[1]}.nii.gz", scan(3)[:, :, ::-1])
    options |= {"classes": {"classes": "liver"}, "strict": {"strict": True}}.get(change, {})
    scored.clear()
    found = evaluate(predicted, truth, tmp_path / "own.json", **options)
    assert set(scored) == {"0002", "case_1", "case_3"}
    assert found == evaluate(predicted, truth, **options)


def test_without_an_output_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = KeptScores(None)
    kept.keep("state", {})
    kept.forget()
    assert (kept.take("state"), list(tmp_path.iterdir())) == (None, [])
