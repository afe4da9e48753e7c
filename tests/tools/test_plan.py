"""Tests of `tools plan` on real files: what it writes, keeps, renews and refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from abdoseg.files import CaseError
from tools.plan import plan

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def datalist(tmp_path):
    """Two strong scans and a weak one, 40 x 36 x 30 voxels of 5 mm, organs at 100 HU, and the datalist."""
    entries = []
    for case, kind in (("0001", "strong"), ("0002", "strong"), ("0003", "weak")):
        image = np.full((40, 36, 30), -1000, np.int16)
        label = np.zeros((40, 36, 30), np.uint8)
        image[10:20, 10:20, 10:20], label[10:20, 10:20, 10:20] = (100 if kind == "strong" else 700), 1
        nib.save(nib.Nifti1Image(image, np.diag([5, 5, 5, 1])), tmp_path / f"{case}_0000.nii.gz")
        nib.save(nib.Nifti1Image(label, np.diag([5, 5, 5, 1])), tmp_path / f"{case}.nii.gz")
        files = {"image": f"{case}_0000.nii.gz", "label": f"{case}.nii.gz"}
        entries.append({"id": case, **files, "kind": kind, "annotated_classes": [1]})
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps({"training": entries}))
    return path


def test_writes_the_plan_and_says_it(datalist, tmp_path, capsys):
    plan(str(datalist), str(tmp_path / "new" / "plan.json"))
    written = json.loads((tmp_path / "new" / "plan.json").read_text())
    assert written["spacing"] == [5, 5, 5]
    assert written["patch_size"] == [40, 40, 32]  # 40 x 36 x 30, rounded up to what three halvings divide
    assert written["features"] == [32, 64, 128, 256]
    assert written["normalization"] == {"lower": 100, "upper": 100, "mean": 100, "std": 0}
    assert written["classes"] == 14
    assert written["fingerprint"]["cases"] == 2
    said = capsys.readouterr().out
    assert "40 x 40 x 32, batch 2" in said
    assert "clip to 100..100 HU" in said


def test_cases_of_every_kind_count_where_asked(datalist, tmp_path):
    all_cases = plan(str(datalist), str(tmp_path / "plan.json"), kind="all")
    assert all_cases["fingerprint"]["cases"] == len(json.loads(datalist.read_text())["training"]) > 2


def test_keeps_the_plan_while_its_inputs_stay(datalist, tmp_path, capsys):
    output = tmp_path / "plan.json"
    plan(str(datalist), str(output))
    first = output.stat().st_ino
    capsys.readouterr()
    assert plan(str(datalist), str(output))["patch_size"] == [40, 40, 32]
    assert "kept" in capsys.readouterr().out
    assert output.stat().st_ino == first
    plan(str(datalist), str(output), force=True)
    assert output.stat().st_ino != first


def test_plans_again_when_a_scan_or_an_option_changes(datalist, tmp_path):
    output = tmp_path / "plan.json"
    keys = [plan(str(datalist), str(output))["inputs_sha256"]]
    keys.append(plan(str(datalist), str(output), base_features=12)["inputs_sha256"])
    os.utime(tmp_path / "0002.nii.gz", (1, 1))
    keys.append(plan(str(datalist), str(output), base_features=12)["inputs_sha256"])
    assert len(set(keys)) == 3
    assert json.loads(output.read_text())["features"] == [12, 24, 48, 96]


def test_replaces_a_file_that_is_no_plan(datalist, tmp_path):
    output = tmp_path / "plan.json"
    output.write_text("half a pl")
    plan(str(datalist), str(output))
    assert json.loads(output.read_text())["patch_size"] == [40, 40, 32]


def test_command_line(datalist, tmp_path):
    (tmp_path / "0002_0000.nii.gz").write_bytes(b"no scan")
    command = [sys.executable, "-m", "tools", "plan", "--datalist", datalist, "--output", tmp_path / "plan.json"]
    command += ["--patch_size", "48,32,32", "--spacing", "4,4,5.5", "--batch_size", "1"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "left out: 0002: " in done.stdout
    written = json.loads((tmp_path / "plan.json").read_text())
    assert [case["id"] for case in written["fingerprint"]["excluded"]] == ["0002"]
    assert written["patch_size"] == [48, 32, 32]
    assert written["spacing"] == [4, 4, 5.5]
    assert written["batch_size"] == 1
    assert written["fingerprint"]["cases"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "unlabeled"}, "no training case of kind 'unlabeled'"),
        ({"preset": "paper_z"}, "Use one of automatic, paper_a"),
        ({"patch_size": (50, 48, 48)}, r"use \[56, 48, 48\]"),
        ({"spacing": 5}, "three positive numbers"),
        ({"hu_window": (240, -160)}, "the lower one first"),
    ],
)
def test_refuses_and_writes_nothing(datalist, tmp_path, options, message):
    with pytest.raises(CaseError, match=message):
        plan(str(datalist), str(tmp_path / "plan.json"), **options)
    assert not (tmp_path / "plan.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing": (2, 2)}, "three positive numbers"),
        ({"patch_size": (48, 32, "x")}, "three positive numbers"),
        ({"base_features": 0}, "base_features is 0; give a positive number"),
    ],
)
def test_what_no_data_set_makes_right_is_refused_before_a_scan_is_read(datalist, tmp_path, options, message):
    for scan in tmp_path.glob("*_0000.nii.gz"):
        scan.unlink()
    with pytest.raises(CaseError, match=message):
        plan(str(datalist), str(tmp_path / "plan.json"), **options)
