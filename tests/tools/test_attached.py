"""A command ends with the process that started it, also when that one is killed; else it runs as it would alone."""

import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
START = """
import subprocess, sys, time
process = subprocess.Popen([sys.executable, "-m", "tools.attached", *sys.argv[1:]])
print(process.pid, flush=True)
time.sleep(60)
"""


def test_a_killed_parent_takes_the_command_along(tmp_path):
    command = ["phantom", f"--output_dir={tmp_path / 'data'}", "--cases=500", "--workers=1"]
    parent = subprocess.Popen([sys.executable, "-c", START, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    child = Path(f"/proc/{int(parent.stdout.readline())}")
    try:
        wait_for(lambda: any((tmp_path / "data").rglob("*.nii.gz")))
        assert child.exists()
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_for(lambda: not child.exists())


def test_a_process_whose_parent_is_gone_already_ends_at_once():
    code = "import os; from tools.attached import end_with_parent; end_with_parent(os.getppid() + {})"
    done = [
        subprocess.run([sys.executable, "-c", code.format(other)], cwd=ROOT, check=False).returncode for other in (0, 1)
    ]
    assert done == [0, -signal.SIGKILL]


def wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_options_and_exit_code_are_the_commands():
    command = [sys.executable, "-m", "tools.attached", "evaluate", "--nonsense=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: Unknown option --nonsense")


def test_a_defect_is_told_from_cases_set_aside():
    """Python ends with 1 after an exception, and Slurm would go on with the next stage."""
    code = """
import runpy
import tools.__main__

def broken(arguments):
    raise RuntimeError("a defect")

tools.__main__.main = broken
runpy.run_module("tools.attached", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "RuntimeError: a defect" in done.stderr
