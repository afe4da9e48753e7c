"""The demo's chain as jobs of a real Slurm: `make slurm-demo`, which gives the demo's data by --demo-data."""

import json
import time
from pathlib import Path

import pytest

from abdoseg.files import glob
from tests.tools.slurm_machine import lacking, running_slurm, told, wait_until
from tools.__main__ import main
from tools.pipeline import load_pipeline

SECONDS = 3600
PAUSE = 10


@pytest.mark.slow
def test_the_demo_runs_as_jobs_one_after_the_other(tmp_path, request):
    data = request.config.getoption("--demo-data", None)
    if data is None:
        pytest.skip("it takes a quarter of an hour; make slurm-demo runs it")
    assert lacking() is None  # who asks for it by name is told, and not that it was skipped
    work = tmp_path / "work"
    options = {"data_dir": str(Path(data).absolute()), "work_dir": str(work)}
    stages = load_pipeline("two_stage", "demo", options)
    start = time.monotonic()

    def over() -> bool:
        jobs = told("squeue", "-h", "-o", "%j", "--sort=i").splitlines()
        print(f"{time.monotonic() - start:.0f} s: {jobs[0] if jobs else 'done'}, {len(jobs)} jobs left", flush=True)
        return not jobs

    with running_slurm(tmp_path / "slurm"):
        arguments = [f"--{name}={value}" for name, value in options.items()]
        assert main(["run", "two_stage", *arguments, "--preset=demo", "--slurm=time=60,mem=0,exclusive"]) == 0
        waiting = told("squeue", "-h", "-o", "%j %E", "--sort=i").splitlines()
        names = [stage.name for stage in stages]
        assert [line.split()[0] for line in waiting] == names[-len(waiting) :], "the first may be over by now"
        assert "afterok" in waiting[-1]
        wait_until(over, SECONDS, PAUSE)
    logs = "\n".join(path.read_text()[-2000:] for path in sorted((work / "slurm").glob("*_log.*")))
    ends = {path.stem: json.loads(path.read_text()) for path in glob(work / "manifests", "*.json")}
    assert {name: end["status"] for name, end in ends.items()} == dict.fromkeys(names, "done"), logs
    assert not any(end.get("failed") for end in ends.values()), logs
    assert len(glob(work / "predictions" / "student", "*.nii.gz")) == len(glob(Path(data) / "validation", "*.nii.gz"))
    student = json.loads((work / "results.json").read_text())["arms"]["student"]
    means = {name: student[name] for name in ("organ_mean_dsc", "organ_mean_nsd", "tumor_dsc", "tumor_nsd")}
    print(f"{time.monotonic() - start:.0f} s, student: {means}")
    assert student["organ_mean_dsc"] >= 0.78  # what `make demo` is to reach
