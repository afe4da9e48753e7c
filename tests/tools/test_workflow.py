"""One training of a chain: killed, resumed, changed, seeded, recorded, and stopped by a broken file."""

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from abdoseg.files import CaseError
from abdoseg.networks import read_state
from tests.tools.small_data import ORGANS, OVERLAYS, save_data_set, truncate
from tools.__main__ import main
from tools.run import run

ROOT = Path(__file__).parents[2]


def status(work: Path) -> str:
    return json.loads((work / "manifests" / "coarse.json").read_text())["status"]


def one_training(folder: Path, classes: list, overlay: dict) -> list[str]:
    """A chain of the coarse training alone, on a data list of its own, and the options of `run`."""
    data = save_data_set(folder / "data", classes)
    training = [
        {
            "id": f"{number:04}",
            "image": str(data / "imagesTr2200" / f"{number:04}_0000.nii.gz"),
            "label": str(data / "labelsTr2200" / f"{number:04}.nii.gz"),
            "kind": "strong",
            "annotated_classes": list(drawn),
        }
        for number, drawn in enumerate(classes, 1)
    ]
    (folder / "list.json").write_text(json.dumps({"training": training}))
    (folder / "overlay.yaml").write_text(yaml.safe_dump({**OVERLAYS["coarse"], **overlay}))
    stage = {
        "name": "coarse",
        "bundle": "coarse_seg",
        "run": "training",
        "configs": ["train.yaml", str(folder / "overlay.yaml")],
        "arguments": {
            "seed": "{seed}",
            "datalist": str(folder / "list.json"),
            "ckpt_dir": "{work_dir}/weights",
            "output_dir": "{work_dir}",
        },
        "outputs": ["{work_dir}/weights/model.pt"],
        "state": ["{work_dir}/weights", "{work_dir}/resume.pt"],
    }
    (folder / "one.yaml").write_text(yaml.safe_dump({"parameters": {"seed": 0}, "stages": [stage]}))
    return [str(folder / "one.yaml"), str(data), str(folder / "work")]


def epochs(work: Path) -> list[str]:
    path = work / "learning_curve.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def test_a_killed_training_goes_on_and_a_changed_one_starts_anew(tmp_path):
    arguments, work = one_training(tmp_path, [ORGANS] * 4, {"max_epochs": 25}), tmp_path / "work"
    process = subprocess.Popen([sys.executable, "-m", "tools", "run", *arguments], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while len(epochs(work)) < 4:
            assert process.poll() is None, "training ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    before = epochs(work)
    assert status(work) == "running"
    assert not (work / "weights" / "model.pt").exists()
    shutil.copytree(work, tmp_path / "other")

    run(*arguments)
    # The epoch in which it was killed may have been done twice; those before it were not.
    assert epochs(work)[: len(before) - 1] == before[:-1]
    assert [json.loads(line)["epoch"] for line in epochs(work)] == list(range(1, 26))
    assert status(work) == "done"
    assert not (work / "resume.pt").exists()

    # What the killed training of other settings left is not resumed: it is past the second epoch already.
    (tmp_path / "overlay.yaml").write_text(yaml.safe_dump({**OVERLAYS["coarse"], "max_epochs": 2}))
    run(*arguments[:2], str(tmp_path / "other"))
    assert [json.loads(line)["epoch"] for line in epochs(tmp_path / "other")] == [1, 2]


def test_a_data_list_without_training_cases_stops_the_bundle_itself(tmp_path):
    arguments = one_training(tmp_path, [ORGANS] * 2, {})
    content = json.loads((tmp_path / "list.json").read_text())
    content["training"] = [{**case, "validation": True} for case in content["training"]]
    (tmp_path / "list.json").write_text(json.dumps(content))
    with pytest.raises(CaseError, match=r"Stage coarse: .*list\.json: has no suitable case left to take"):
        run(*arguments)


def test_the_seed_decides_the_weights(tmp_path):
    chain, data, work = one_training(tmp_path, [ORGANS] * 2, {})
    weights = {}
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        run(chain, data, f"{work}_{name}", seed=seed)
        weights[name] = read_state(f"{work}_{name}/weights/model.pt")
    assert all(torch.equal(value, weights["again"][name]) for name, value in weights["first"].items())
    assert not all(torch.equal(value, weights["other"][name]) for name, value in weights["first"].items())


@pytest.mark.slow
def test_mlflow_records_a_training(tmp_path):
    chain, data, work = one_training(tmp_path, [ORGANS] * 3, {"max_epochs": 2})
    assert main(["run", chain, data, work, "--tracking=mlflow"]) == 0
    with sqlite3.connect(f"{work}/mlruns.db") as database:
        assert database.execute("select name, status from runs").fetchall() == [("coarse", "FINISHED")]
        assert database.execute("select name from experiments where name = 'one'").fetchall()
        (steps,) = database.execute("select count(*) from metrics where key = 'train_loss'").fetchone()
    assert steps == 6


def test_a_scan_that_stops_a_training_is_named(tmp_path, capsys):
    arguments = one_training(tmp_path, [ORGANS] * 3, {})
    broken = tmp_path / "data" / "imagesTr2200" / "0002_0000.nii.gz"
    truncate(broken)
    assert main(["run", *arguments]) == 2
    told = capsys.readouterr().err
    assert f"error: Stage coarse: {broken}: cannot be read" in told
    assert "Traceback" not in told
    assert status(tmp_path / "work") == "failed"
    shifted = tmp_path / "data" / "labelsTr2200" / "0001.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), shifted)
    with pytest.raises(CaseError, match=rf"Stage coarse: {shifted}: shape \(4, 4, 4\) instead of"):
        run(*arguments)
