"""A tiny chain that is killed at random moments and started again, until it is done; and what it must leave behind."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
import yaml

from abdoseg.files import glob
from tests.tools.small_data import FIVE, ORGANS, OVERLAYS, save_data_set, save_scan

ROOT = Path(__file__).parents[2]
EPOCHS = {"max_epochs": 3, "num_workers": 0, "val_interval": 1}
STARTING_SECONDS = 4  # Python, PyTorch and MONAI: to kill that tells little
LONGEST_SECONDS = 900


@dataclass(frozen=True)
class Kill:
    """Seconds after the start, and the stage that was running."""

    seconds: float
    stage: str


def write_data(folder: Path) -> list[str]:
    """Write a data set and overlays for chains of trainings of three epochs; give the options of `run`.

    Both papers: teacher, pseudo labels, merge, students, organ network, tumor networks in two rounds, combination.
    """
    data = save_data_set(folder / "data", [ORGANS, ORGANS, FIVE, (*FIVE, 14), (1, 14)], testing=2)
    save_scan(data / "unlabelTr1800" / "0051_0000.nii.gz", 51)
    overlays = {name: {**overlay, **EPOCHS} for name, overlay in OVERLAYS.items()}
    overlays |= {name: {**EPOCHS, "iterations_per_epoch": 2} for name in ("organ", "tumor")}
    options = [f"--data_dir={data}", "--families=[liver,rest]", "--pseudo_min_voxels=1", "--mirror_axes=[]"]
    for name, overlay in overlays.items():
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(overlay))
        options.append(f"--{name}_overlay={path}")
    for plan in ("plan", "organ_plan", "tumor_plan", "rest_plan"):
        options += [f"--{plan}_patch_size=16,16,16", f"--{plan}_spacing=12,12,14"]
    options += ["--plan_batch_size=1", "--organ_plan_batch_size=1", "--tumor_plan_batch_size=1"]
    options += ["--plan_base_features=4", "--plan_max_features=8", "--tumor_base_features=4", "--tumor_max_features=8"]
    return [*options, "--validation_cases=1", "--trust"]


def start(options: list[str], work: Path) -> subprocess.Popen:
    work.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (work / "log.txt").open("a") as log:
        command = [sys.executable, "-m", "tools", "run", "cascade", *options, f"--work_dir={work}"]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)


def run_undisturbed(options: list[str], work: Path) -> float:
    """Run the chain to its end; give the seconds that it takes."""
    begin = time.monotonic()
    code = start(options, work).wait(LONGEST_SECONDS)
    assert code == 0, log_end(work)
    return time.monotonic() - begin


def run_and_kill(options: list[str], work: Path, seconds: float, kills: int, rng: np.random.Generator) -> list[Kill]:
    """Run the chain, kill it at random moments, at most so many times, and start it again until it is done."""
    done: list[Kill] = []
    while True:
        process = start(options, work)
        begin = time.monotonic()
        # A third of the whole on the average: a run is killed a few times, wherever it is by then.
        delay = STARTING_SECONDS + rng.uniform(0, seconds / 2) if len(done) < kills else LONGEST_SECONDS
        try:
            code = process.wait(delay)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert len(done) < kills, f"the chain does not end: {log_end(work)}"
            done.append(Kill(time.monotonic() - begin, running_stage(work)))
            continue
        assert code == 0, f"after {done}: {log_end(work)}"
        return done


def running_stage(work: Path) -> str:
    """Stage whose manifest says that it runs, or what comes between two stages."""
    for path in glob(work / "manifests", "*.json"):
        manifest = json.loads(path.read_text())  # written whole or not at all
        if manifest["status"] == "running":
            return manifest["stage"]
    return "between stages"


def log_end(work: Path) -> str:
    return (work / "log.txt").read_text(errors="replace")[-3000:]


def results(work: Path) -> dict[str, str]:
    """What must not depend on kills: label maps, weights, learning curves, scores, states of stages."""
    found = {}
    for path in sorted(path for path in work.rglob("*") if path.is_file()):
        name = str(path.relative_to(work))
        if name.endswith((".nii.gz", ".jsonl")) or name.startswith("scores/"):
            found[name] = sha256(path.read_bytes()).hexdigest()
        elif path.suffix == ".zip":  # its plans tell paths and times of the labels that they were made for
            with zipfile.ZipFile(path) as archive:
                found[name] = " ".join(archive.namelist())
        elif path.name == "model.pt":
            state = torch.load(path, weights_only=True)
            digest = sha256()
            for key, value in state.items():
                digest.update(key.encode() + value.contiguous().numpy().tobytes())
            found[name] = digest.hexdigest()
        elif name.startswith("manifests/"):
            manifest = json.loads(path.read_text())
            found[name] = f"{manifest['status']} {manifest.get('failed')}"
        elif path.name.startswith(".tmp-") or path.name == "resume.pt":
            found[name] = "left behind"
    return found


def differences(work: Path, undisturbed: Path) -> list[str]:
    """Names of results that differ, or are there in one of the folders alone.

    What a killed process was writing aside stays under a name of its own, and nobody takes it for anything.
    """
    found, expected = results(work), results(undisturbed)
    names = {name for name in found.keys() | expected.keys() if not Path(name).name.startswith(".tmp-")}
    return sorted(name for name in names if found.get(name) != expected.get(name))
