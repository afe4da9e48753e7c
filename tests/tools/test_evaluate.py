"""The evaluate command on real NIfTI files, healthy and faulty."""

import json

import nibabel as nib
import numpy as np
import pytest

from abdoseg.files import CaseError
from abdoseg.labels import CLASS_IDS, NAMES
from tests.metrics.official_script import official_means, official_scores
from tests.tools.score_data import AFFINE, AORTA, LIVER, SPLEEN, TUMOR, save, save_folders, scan
from tools.evaluate import evaluate


@pytest.fixture
def folders(tmp_path):
    return save_folders(tmp_path)


def test_scores_of_two_folders_by_hand(folders, tmp_path, capsys):
    """Case 2: of the 2 x 2 x 2 tumor half is hit (DSC 0.5); its surface is at most 1 mm away, tolerance 2 mm."""
    output = tmp_path / "scores" / "student.json"
    result = evaluate(*folders, output=output)
    assert json.loads(output.read_text()) == result
    assert result["failed"] == {}
    assert result["cases"]["0002"]["tumor"] == {"dsc": 0.5, "nsd": 1, "present": True}
    assert result["cases"]["case_3"]["tumor"] == {"dsc": 1, "nsd": 1, "present": False}
    summary = result["summary"]
    assert summary["classes"]["tumor"] == {"dsc": 0.75, "nsd": 1, "n": 2}
    assert summary["official"]["tumor_dsc"] == round(2.5 / 3, 4)
    assert summary["classes"]["spleen"]["n"] == 0
    table = capsys.readouterr().out
    assert [line.split() for line in table.splitlines() if line.startswith("tumor")] == [
        ["tumor", "0.7500", "1.0000", "2", "0.8333", "1.0000"]
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:surface_distance")
def test_the_command_gives_the_numbers_of_the_official_script(tmp_path):
    """Five scans of random blocks of classes, stored LPS with 0.8 x 1.5 x 2.5 mm voxels, against surface-distance."""
    rng = np.random.default_rng(0)
    spacing = (0.8, 1.5, 2.5)
    expected = {}
    for case in "abcde":
        coarse = rng.integers(0, 15, size=(5, 4, 4))
        changed = np.where(rng.random(coarse.shape) < 0.4, rng.integers(0, 15, size=coarse.shape), coarse)
        true, predicted = (np.kron(labels, np.ones((4, 4, 4), dtype=np.uint8)) for labels in (coarse, changed))
        predicted = np.roll(predicted, 1, axis=0)
        for folder, labels in (("truth", true), ("predicted", predicted)):
            save(tmp_path / folder / f"{case}.nii.gz", labels, np.diag([-0.8, -1.5, 2.5, 1]))
        header = nib.load(tmp_path / "truth" / f"{case}.nii.gz").header
        assert header.get_zooms() == pytest.approx(spacing)
        expected[case] = official_scores(predicted, true, header.get_zooms())
    result = evaluate(tmp_path / "predicted", tmp_path / "truth")
    for case, scores in result["cases"].items():
        for class_id in CLASS_IDS:
            assert {key: scores[NAMES[class_id]][key] for key in ("dsc", "nsd")} == expected[case][class_id]
    classes, organs = official_means(expected)
    official = result["summary"]["official"]
    for class_id, means in classes.items():
        assert {key: official["classes"][NAMES[class_id]][key] for key in means} == means
    assert (official["organ_dsc"], official["organ_nsd"]) == (organs["dsc"], organs["nsd"])
    assert 0.2 < official["organ_nsd"] < 0.95


def test_tumors_are_scored_by_host(folders, capsys):
    """The tumor of the second scan, half found, lies in the spleen; case 3 has none, and none is scored."""
    for folder in folders:
        path = folder / "0002.nii.gz"
        labels = np.asarray(nib.load(path).dataobj)
        save(path, np.where(labels == LIVER, SPLEEN, labels))
    result = evaluate(*folders)
    assert list(result["tumor_by_host"]) == list(result["cases"])
    assert result["tumor_by_host"]["0002"]["rest"] == {
        "dsc": 0.5,
        "present": True,
        "true_voxels": 8,
        "predicted_voxels": 8,
    }
    assert not any(score["present"] for score in result["tumor_by_host"]["case_3"].values())
    nothing = {"dsc": None, "n": 0}
    assert result["summary"]["tumor_by_host"] == {
        "liver": {"dsc": 1.0, "n": 1},
        "pancreas": nothing,
        "kidneys": nothing,
        "rest": {"dsc": 0.5, "n": 1},
    }
    lines = capsys.readouterr().out.splitlines()
    tumor = next(number for number, line in enumerate(lines) if line.startswith("tumor"))
    assert [line.split() for line in lines[tumor + 1 :]] == [
        ["in", "the", "liver", "1.0000", "1"],
        ["elsewhere", "0.5000", "1"],
    ]
    # The columns are those of the rows above: DSC, and the number of scans.
    assert lines[tumor + 1].rindex("1.0000") == lines[tumor].index("0.7500")
    assert len(lines[tumor + 1]) == lines[tumor].index(" 2 ") + 2


def test_no_hosts_where_there_is_no_tumor_or_nobody_asks_for_it(folders, capsys):
    assert evaluate(*folders, classes="liver")["tumor_by_host"] == {}
    assert evaluate(*folders, classes="liver")["summary"]["tumor_by_host"] == {}
    evaluate(*folders, cases="case_3")
    assert "in the liver" not in capsys.readouterr().out


def test_one_file_against_one_file_whatever_their_names(folders, tmp_path):
    prediction = save(tmp_path / "out" / "ct_seg.nii.gz", scan(1))
    result = evaluate(prediction, folders[1] / "case_1.nii.gz")
    assert list(result["cases"]) == ["case_1"]
    assert result["summary"]["tumor_dsc"] == 0.5


def test_one_file_against_a_folder_takes_the_reference_of_the_same_case(folders):
    result = evaluate(folders[0] / "0002.nii.gz", folders[1])
    assert list(result["cases"]) == ["0002"]
    assert result["summary"]["tumor_dsc"] == 0.5


def test_a_datalist_names_the_references(folders, tmp_path):
    testing = [
        {"id": name, "image": f"images/{name}_0000.nii.gz", "label": f"truth/{name}.nii.gz", "kind": "test"}
        for name in ("case_1", "0002")
    ]
    testing.append({"id": "case_3", "image": "images/case_3_0000.nii.gz", "kind": "test"})
    (tmp_path / "datalist.json").write_text(json.dumps({"training": [], "testing": testing}))
    result = evaluate(folders[0], tmp_path / "datalist.json")
    assert list(result["cases"]) == ["case_1", "0002"]


def test_some_cases_and_some_classes(folders):
    result = evaluate(*folders, cases="case_1,0002", classes="liver,14")
    assert {case: list(scores) for case, scores in result["cases"].items()} == {
        "case_1": ["liver", "tumor"],
        "0002": ["liver", "tumor"],
    }
    assert evaluate(*folders, cases="case_3", classes="1,14")["summary"]["classes"]["tumor"]["n"] == 0


def test_where_the_official_script_stops_a_note_says_what_is_scored(folders, capsys):
    predicted, truth = folders
    for folder in folders:
        labels = scan()
        labels[14:18, 8:12, 0:8] = 0
        labels[14:18, 8:12, 5] = AORTA
        save(folder / "case_3.nii.gz", labels)
    result = evaluate(predicted, truth)
    assert list(result["notes"]) == ["case_3"]
    assert result["cases"]["case_3"]["aorta"] == {"dsc": 1, "nsd": 1, "present": True}
    assert "note: case_3: The reference's aorta lies in one slice, where the official" in capsys.readouterr().out
    assert evaluate(predicted, truth, classes="liver")["notes"] == {}


def test_cases_in_processes_score_the_same_in_the_same_order(folders):
    predicted, truth = folders
    (predicted / "0002.nii.gz").write_bytes(b"broken")
    alone, together = (evaluate(predicted, truth, strict=True, num_workers=number) for number in (0, 2))
    assert together == alone
    assert list(together["cases"]) == ["case_1", "case_3"]
    assert list(together["failed"]) == ["0002"]


def test_faulty_cases_are_named_and_the_others_scored(folders, tmp_path, capsys):
    predicted, truth = folders
    (predicted / "case_1.nii.gz").unlink()
    for name in ("grid", "shape", "value", "broken", "float"):
        save(truth / f"{name}.nii.gz", scan())
    moved = AFFINE.copy()
    moved[0, 3] = 5
    save(predicted / "grid.nii.gz", scan(), moved)
    save(predicted / "shape.nii.gz", scan()[:-1])
    save(predicted / "value.nii.gz", np.where(scan() == TUMOR, 15, scan()))
    (predicted / "broken.nii.gz").write_bytes((predicted / "0002.nii.gz").read_bytes()[:-40])
    nib.save(nib.Nifti1Image((scan() * 0.9).astype(np.float32), AFFINE), predicted / "float.nii.gz")

    result = evaluate(*folders, output=tmp_path / "scores.json")
    assert list(result["cases"]) == ["0002", "case_3"]
    assert set(result["failed"]) == {"case_1", "grid", "shape", "value", "broken", "float"}
    assert "case_1.nii.gz: there is no such prediction" in result["failed"]["case_1"]
    for name, words in (("grid", "affine"), ("shape", "(19, 16, 12) instead of (20, 16, 12)")):
        assert words in result["failed"][name]
        assert str(predicted / f"{name}.nii.gz") in result["failed"][name]
        assert str(truth / f"{name}.nii.gz") in result["failed"][name]
    assert "unknown label value 15" in result["failed"]["value"]
    assert "broken.nii.gz" in result["failed"]["broken"]
    assert "unknown label value 0.9" in result["failed"]["float"]
    assert json.loads((tmp_path / "scores.json").read_text())["failed"] == result["failed"]
    assert "failed: value:" in capsys.readouterr().out


def test_what_cannot_start_is_refused_in_one_sentence(folders, tmp_path):
    predicted, truth = folders
    empty = tmp_path / "empty"
    empty.mkdir()
    output = tmp_path / "scores.json"
    for arguments, message in (
        ((tmp_path / "nowhere", truth), "nowhere: there is no such file or folder"),
        ((predicted, empty), "empty: this folder holds no label maps"),
        ((predicted, truth, None, "0009"), "no reference of case 0009; it has 0002, case_1, case_3"),
        ((predicted, truth, None, None, "livre"), "Unknown class 'livre'. Use an id from 1 to 14 or one of liver,"),
    ):
        with pytest.raises(CaseError, match=message):
            evaluate(*arguments[:2], output, *arguments[3:])
    for options, message in (
        ({"annotated": "1"}, "add --strict"),
        ({"against": "x.json"}, "add --strict"),
        ({"strict": True, "against": str(tmp_path / "x.json")}, "x.json: no strict scores to compare with"),
        ({"strict": True, "annotated": "livre"}, "Unknown class 'livre'"),
    ):
        with pytest.raises(CaseError, match=message):
            evaluate(predicted, truth, output, **options)
    volume = truth / "case_1.nii.gz"  # a third one, as *.nii.gz may hand over
    with pytest.raises(CaseError, match=r"--output .*case_1\.nii\.gz is no JSON file; name one that ends in \.json\."):
        evaluate(predicted / "0002.nii.gz", truth / "0002.nii.gz", volume)
    assert volume.read_bytes()[:2] == b"\x1f\x8b"
    save(truth / "0002.nii", scan())
    with pytest.raises(CaseError, match=r"case 0002 has a second file 0002\.nii"):
        evaluate(predicted, truth, output)
    assert not output.exists()


def test_a_mean_below_the_minimum_fails_the_command(folders):
    mean = evaluate(*folders)["summary"]["organ_mean_dsc"]
    assert mean < 1
    assert evaluate(*folders, minimum_dsc=mean)["failed"] == {}
    assert list(evaluate(*folders, minimum_dsc=mean + 0.0001)["failed"]) == ["minimum_dsc"]
