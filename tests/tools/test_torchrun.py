"""Labeling under torchrun: two processes give what one gives, also when one of them is killed on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tools.small_data import TEACHER, save_scan, save_weights
from tools.chain import BUNDLES
from tools.predict import predict

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
SCANS = 8


def process_of_rank(launcher: int, rank: int) -> int:
    """Process that torchrun started as this rank."""
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            return int(child)
    raise LookupError(rank)


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.nii.gz")}


def test_a_killed_process_is_started_again_and_no_scan_is_labeled_twice(tmp_path):
    scans, weights, out = tmp_path / "scans", tmp_path / "weights", tmp_path / "out"
    for number in range(SCANS):
        save_scan(scans / f"{number}_0000.nii.gz", number)
    save_weights(weights, TEACHER)
    options = {"bundle": str(BUNDLES / "teacher_nnunet"), "input": str(scans), "weights": str(weights)}
    settings = {"mirror_axes": ["left-right", "posterior-anterior", "inferior-superior"], "device": "cpu"}

    command = [*TORCHRUN, "--max_restarts=1", "-m", "tools", "predict", f"--output={out}"]
    command += [f"--{name}={value}" for name, value in (options | settings).items()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as launcher:
        while not (out / "1.nii.gz").exists():  # the first scan of the second process
            assert launcher.poll() is None, launcher.stderr.read()
            time.sleep(0.002)
        victim = process_of_rank(launcher.pid, 1)
        os.kill(victim, signal.SIGSTOP)
        while not (out / f"{SCANS - 2}.nii.gz").exists():  # the last scan of the first process, which then waits
            time.sleep(0.01)
        time.sleep(0.5)
        before = stamps(out)
        os.kill(victim, signal.SIGKILL)
        errors = launcher.communicate()[1]
    assert launcher.returncode == 0, errors
    assert 5 <= len(before) < SCANS
    after = stamps(out)
    assert {name: after[name] for name in before} == before

    alone = tmp_path / "alone"
    predict(**options, output=str(alone), **settings)
    maps = [path.name for path in sorted(alone.glob("*.nii.gz"))]
    assert sorted(after) == maps == [f"{number}.nii.gz" for number in range(SCANS)]
    assert [(out / name).read_bytes() for name in maps] == [(alone / name).read_bytes() for name in maps]
    told, expected = (json.loads((folder / "manifest.json").read_text()) for folder in (out, alone))
    # Killed between writing a label map and saying so, it leaves no time.
    assert set(expected.pop("seconds")) - set(told.pop("seconds")) <= {"1"}
    assert told == expected
