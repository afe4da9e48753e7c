"""A work folder has one user at a time, also when that one was killed."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from abdoseg.files import CaseError
from tools.lock import sole_user

HOLD = """
import sys, time
from tools.lock import sole_user
with sole_user(sys.argv[1]):
    print("in", flush=True)
    time.sleep(60)
"""


def hold(folder, code=HOLD) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "in\n"
    return process


def test_the_second_process_is_told_who_is_there_and_a_killed_one_leaves_the_folder_free(tmp_path):
    folder = tmp_path / "new" / "work"
    first = hold(folder)
    told = rf"{folder}: process {first.pid} on .+ is at work in this folder"
    try:
        with pytest.raises(CaseError, match=told), sole_user(folder):
            pytest.fail("two processes in one folder")
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    with sole_user(folder):
        assert (folder / ".lock").read_text().startswith(f"process {os.getpid()} on ")


FORK = """
import os, sys, time
from tools.lock import sole_user
with sole_user(sys.argv[1]):
    if os.fork() == 0:
        time.sleep(2)
        open(sys.argv[1] + "/ended", "w").close()
        os._exit(0)
    print("in", flush=True)
    time.sleep(60)
"""


def test_the_workers_of_a_killed_process_are_waited_for(tmp_path):
    first = hold(tmp_path, FORK)
    first.send_signal(signal.SIGKILL)
    first.wait()
    with sole_user(tmp_path):
        assert (tmp_path / "ended").exists()


def test_folders_do_not_disturb_each_other(tmp_path):
    with sole_user(tmp_path / "one"), sole_user(tmp_path / "two"):
        assert (tmp_path / "one" / ".lock").exists()


def test_an_error_inside_comes_out_and_frees_the_folder(tmp_path):
    with pytest.raises(OSError, match="no space"), sole_user(tmp_path):
        raise OSError("no space")
    with sole_user(tmp_path):
        pass


def test_where_the_file_system_knows_no_locks_work_goes_on(tmp_path, monkeypatch):
    def unknown(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with sole_user(tmp_path), sole_user(tmp_path):
        (tmp_path / "done").touch()
    assert (tmp_path / "done").exists()
