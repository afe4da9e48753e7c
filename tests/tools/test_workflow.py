"""One training of a chain: killed, resumed, changed, seeded, recorded, and stopped by a broken file."""

import gc
import json
import shutil
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
from abdoseg.networks import ResidualUNet, read_state
from tests.tools.small_data import ORGANS, OVERLAYS, one_training, truncate
from tools.__main__ import main
from tools.run import run

ROOT = Path(__file__).parents[2]


def status(work: Path) -> str:
    return json.loads((work / "manifests" / "coarse.json").read_text())["status"]


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


def test_no_network_of_a_stage_that_is_done_stays_in_memory(tmp_path):
    """With the memory of a GPU, which nothing gives back before Python looks for cycles."""
    arguments = one_training(tmp_path, [ORGANS] * 2, {})
    gc.collect()
    gc.disable()
    try:
        before = sum(type(one) is ResidualUNet for one in gc.get_objects())
        run(*arguments)
        assert sum(type(one) is ResidualUNet for one in gc.get_objects()) == before
    finally:
        gc.enable()


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
