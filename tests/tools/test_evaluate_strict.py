"""The evaluate command with --strict: beside the official scores, by annotated classes, against another run."""

import json

import numpy as np
import pytest

from abdoseg.files import CaseError
from tests.tools.score_data import save, save_folders, scan
from tools.evaluate import evaluate


@pytest.fixture
def folders(tmp_path):
    return save_folders(tmp_path)


def test_strict_scores_stand_beside_the_official_ones(folders, tmp_path, capsys):
    output = tmp_path / "scores.json"
    result = evaluate(*folders, output=output, strict=True)
    assert json.loads(output.read_text()) == result
    strict = result.pop("strict")
    assert result == evaluate(*folders)
    assert strict["cases"]["case_3"]["tumor"] == {
        "present": False,
        "dsc": None,
        "nsd": None,
        "true_ml": 0,
        "predicted_ml": 0,
    }
    # 8 voxels of 2 mm^3; the tumor of the second scan is half hit: IoU = 4 / 12.
    assert strict["lesions"]["0002"] == {
        "true": [
            {
                "ml": 0.016,
                "mm": pytest.approx((6 * 16 / np.pi) ** (1 / 3), abs=1e-5),
                "iou": pytest.approx(1 / 3, abs=1e-6),
            }
        ],
        "false_positives": [],
    }
    lesions = strict["summary"]["lesions"]
    assert (lesions["sensitivity"], lesions["tumor_free"]["scans"]) == (1, 1)
    printed = capsys.readouterr().out
    for words in ("strict, over the n scans", "tumors by diameter", "Of 1 scans without tumor 0 were given one"):
        assert words in printed


def test_only_annotated_classes_have_strict_scores(folders, tmp_path):
    datalist = {
        "training": [
            {
                "id": name,
                "image": f"images/{name}_0000.nii.gz",
                "label": f"truth/{name}.nii.gz",
                "kind": "weak",
                "annotated_classes": classes,
            }
            for name, classes in (("case_1", [1, 14]), ("0002", [5]))
        ]
    }
    path = tmp_path / "list.json"
    path.write_text(json.dumps(datalist))
    result = evaluate(folders[0], path, strict=True, section="training")
    assert {case: list(scores) for case, scores in result["strict"]["cases"].items()} == {
        "case_1": ["liver", "tumor"],
        "0002": ["aorta"],
    }
    assert list(result["strict"]["lesions"]) == ["case_1"]
    assert len(result["cases"]["0002"]) == 14
    named = evaluate(*folders, strict=True, annotated="liver,5", classes="1,3,5,14")["strict"]
    assert all(list(scores) == ["liver", "aorta"] for scores in named["cases"].values())
    assert named["summary"]["lesions"] is None
    cases = evaluate(*folders, cases="case_1,0002", strict=True, annotated=str(path), section="training")
    assert cases["strict"]["cases"] == result["strict"]["cases"]


def test_one_run_against_another_by_its_predictions_or_by_its_scores(folders, tmp_path, capsys):
    predicted, truth = folders
    for name in ("case_1", "0002", "case_3"):
        save(tmp_path / "other" / f"{name}.nii.gz", scan(2))
    evaluate(tmp_path / "other", truth, output=tmp_path / "other.json", strict=True)
    by_scores = evaluate(predicted, truth, strict=True, against=tmp_path / "other.json")["strict"]["comparison"]
    printed = capsys.readouterr().out
    by_folder = evaluate(predicted, truth, strict=True, against=tmp_path / "other")["strict"]["comparison"]
    assert {key: by_scores[key] for key in ("dsc", "nsd")} == {key: by_folder[key] for key in ("dsc", "nsd")}
    liver = by_scores["dsc"]["classes"]["liver"]
    assert liver["n"] == 3
    assert liver["difference"] > 0.05
    assert liver["p"] == 0.25
    assert any(
        line.startswith("liver") and line.split()[1] == "3" for line in printed.split("against ")[1].splitlines()
    )


def test_scores_of_other_scans_are_refused_before_any_is_scored(folders, tmp_path, capsys):
    (tmp_path / "other.json").write_text(json.dumps({"strict": {"cases": {"0815": {}}}}))
    with pytest.raises(CaseError, match=r"other\.json: has scores of other cases only; compare with a run on the same"):
        evaluate(*folders, strict=True, against=tmp_path / "other.json")
    assert "liver" not in capsys.readouterr().out
