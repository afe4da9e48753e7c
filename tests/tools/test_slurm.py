"""Stages as jobs of Slurm: options and commands read back, what is missing said, and a chain on a real Slurm."""

import inspect
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from abdoseg.files import CaseError
from tests.tools.shared_chain import chain_of
from tests.tools.slurm_machine import running_slurm, told, wait_until
from tests.tools.small_data import save_data_set
from tools.__main__ import main, parse
from tools.chain import Stage
from tools.run import run
from tools.slurm import command_of, job_options, submit


def test_options_of_jobs_are_those_of_sbatch():
    assert job_options("partition=gpu,time=1-00:00:00,exclude=node[1,7],gpus-per-node=8,exclusive") == {
        "partition": "gpu",
        "time": "1-00:00:00",
        "exclude": "node[1,7]",
        "gpus_per_node": "8",
        "exclusive": True,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("partition=gpu", "has no time; give each job's limit, such as time=1-00:00:00"),
        ("", "has no time"),
        ("time=10,nodes=4", "--slurm must not set nodes, which the chain decides; --nnodes and"),
    ],
)
def test_options_that_the_chain_decides_or_needs(text, words):
    with pytest.raises(CaseError, match=words):
        job_options(text)


def test_a_job_reads_the_options_that_it_was_submitted_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {
        "data_dir": "/data/a b",
        "work_dir": "/work",
        "preset": None,
        "seed": 3,
        "mirror_axes": [],
        "teacher_model": "0012",
    }
    options |= {"plan_patch_size": [16, 16.5, 8], "mask_unknown": False, "rest_overlay": "it's, so.yaml"}
    command, *words = command_of("mine.yaml", options)
    positional, named = parse(command, run, words)
    read = inspect.signature(run).bind(*positional, **named).arguments
    read |= read.pop("parameters")
    assert read["chain"] == str(tmp_path / "mine.yaml")
    assert {name: read[name] for name in options} == options
    assert command_of("two_stage", {}) == ("run", "two_stage")


def submit_one(folder):
    submit([Stage("audit", tool="audit")], ("run", "two_stage"), {"time": "10"}, 1, folder)


def test_without_submitit_one_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)  # as where it is not installed
    with pytest.raises(CaseError, match=r"--slurm needs submitit; install it by: pip install -e '\.\[cluster\]'"):
        submit_one(tmp_path)


def test_without_slurm_one_sentence_says_so(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CaseError, match="--slurm needs sbatch, which this machine does not have"):
        submit_one(tmp_path)


@pytest.fixture
def slurm(tmp_path):
    with running_slurm(tmp_path / "slurm"):
        yield


@pytest.mark.slow
def test_a_chain_runs_as_jobs_one_after_the_other(slurm, tmp_path):
    data = save_data_set(tmp_path / "data", [tuple(range(1, 14)), (14,)])
    work = tmp_path / "work"
    command = ["run", str(chain_of(tmp_path)), f"--data_dir={data}", f"--work_dir={work}", "--slurm=time=10,mem=0"]
    assert main([*command, "--only=audit,label,merge"]) == 0
    jobs = told("squeue", "-h", "-o", "%j %T %E", "--sort=i").splitlines()
    assert [line.split()[0] for line in jobs][-2:] == ["label", "merge"]
    assert jobs[-1].split()[1] == "PENDING"
    assert "afterok" in jobs[-1]
    wait_until(lambda: not told("squeue", "-h"))
    output = "\n".join(path.read_text() for path in (work / "slurm").glob("*_log.*"))
    assert statuses(work) == dict.fromkeys(("audit", "label", "merge"), "done"), output
    assert (work / "labels" / "0002.nii.gz").exists()


def light_chain(folder: Path) -> list[str]:
    """Options of a chain of three stages of no work: one without cases, one whose datalist is gone, and another."""
    data = save_data_set(folder / "data", [(14,)])
    (folder / "list.json").write_text(json.dumps({"training": []}))
    lists = {"first": "list.json", "second": "gone.json", "third": "list.json"}
    stages = [
        {"name": name, "tool": "predict", "cases": {"path": str(folder / file), "section": "training"}}
        for name, file in lists.items()
    ]
    (folder / "light.yaml").write_text(yaml.safe_dump({"parameters": {}, "stages": stages}))
    return ["run", str(folder / "light.yaml"), f"--data_dir={data}", f"--work_dir={folder / 'work'}"]


def statuses(work: Path) -> dict[str, str]:
    return {path.stem: json.loads(path.read_text())["status"] for path in (work / "manifests").iterdir()}


@pytest.mark.slow
def test_what_follows_a_job_that_failed_does_not_run(slurm, tmp_path):
    assert main([*light_chain(tmp_path), "--slurm=time=10,mem=0,cpus-per-task=2"]) == 0
    wait_until(lambda: not told("squeue", "-h"))
    work = tmp_path / "work"
    assert statuses(work) == {"first": "skipped"}
    assert "gone.json" in (work / "slurm" / "2_0_log.err").read_text()
    assert not (work / "slurm" / "3_0_log.err").exists()


def process_with(*words: str) -> int | None:
    """Process whose command has these words."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if set(words) <= set((folder / "cmdline").read_text().split("\0")):
                return int(folder.name)
    return None


@pytest.mark.slow
def test_a_job_whose_time_is_over_is_queued_again_and_goes_on(slurm, tmp_path):
    work = tmp_path / "work"
    assert main([*light_chain(tmp_path), "--only=first", "--slurm=time=10,mem=0"]) == 0
    command = "tools.attached", f"--work_dir={work}"
    wait_until(lambda: process_with(*command), pause=0.02)
    os.kill(process_with(*command), signal.SIGSTOP)  # as if it took long
    told("scancel", "--signal=USR2", "1")  # as Slurm does 90 s before the end
    wait_until(lambda: told("squeue", "-h", "-o", "%T %r") == "PENDING BeginTime")
    told("scontrol", "update", "JobId=1", "StartTime=now")
    wait_until(lambda: not told("squeue", "-h"))
    assert statuses(work) == {"first": "skipped"}
    assert "Requeued job 1" in (work / "slurm" / "1_0_log.out").read_text()
    assert process_with(*command) is None
