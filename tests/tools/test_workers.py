"""Cases in processes: all are done, those that fail or are killed are named, the others go on."""

import multiprocessing
import os
import signal
import time

import pytest

from abdoseg.files import CaseError
from tools.workers import processors, run_cases


def work(what, value):
    """What the tests' processes do."""
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "leave":
        os._exit(3)
    if what == "fault":
        raise CaseError(f"{value}.nii.gz: it is broken; mend it.")
    if what == "bug":
        raise ZeroDivisionError("nothing to divide by")
    if what == "note":
        value.touch()
    if what == "wait":
        wait_for(value.exists)
    return os.getpid(), value


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("num_workers", [0, 1, 2, 20])
def test_faults_cost_no_other_case(num_workers):
    cases = {"a": ("fine", 1), "b": ("fault", "b"), "c": ("bug", 0), "d": ("fine", 2), "e": ("fine", 3)}
    done = {name: (result, reason) for name, result, reason in run_cases(work, cases, num_workers)}
    assert set(done) == set(cases)
    assert [done[name][0][1] for name in "ade"] == [1, 2, 3]
    assert done["b"] == (None, "b.nii.gz: it is broken; mend it.")
    assert done["c"] == (None, "nothing to divide by")
    assert all((done[name][0][0] == os.getpid()) == (num_workers < 2) for name in "ade")


def test_a_killed_process_is_named_and_replaced():
    cases = {
        "a": ("kill", 0),
        "b": ("fine", 1),
        "c": ("leave", 0),
        "d": ("fine", 2),
        "e": ("kill", 0),
        "f": ("fine", 3),
    }
    done = {name: (result, reason) for name, result, reason in run_cases(work, cases, num_workers=2)}
    assert [done[name][0][1] for name in "bdf"] == [1, 2, 3]
    assert "killed by signal 9" in done["a"][1]
    assert "killed by signal 9" in done["e"][1]
    assert "(exit code 3)" in done["c"][1]


def test_two_processes_work_at_once_and_as_they_come(tmp_path):
    """The first case takes until the last one has begun."""
    begun = tmp_path / "begun"
    cases = {"long": ("wait", begun), "short": ("fine", 0), "next": ("fine", 0), "last": ("note", begun)}
    order = [name for name, *_ in run_cases(work, cases, num_workers=2)]
    assert order[:2] == ["short", "next"]
    assert sorted(order[2:]) == ["last", "long"]


@pytest.mark.parametrize(("count", "alone"), [(19, True), (20, False)])
def test_few_cases_need_no_process(count, alone):
    done = run_cases(work, {str(number): ("fine", 0) for number in range(count)})
    assert ({result[0] for _, result, _ in done} == {os.getpid()}) == (alone or processors() == 1)


def test_who_stops_listening_stops_the_work(tmp_path):
    before = set(multiprocessing.active_children())
    for _ in run_cases(work, {str(number): ("note", tmp_path / str(number)) for number in range(100)}, num_workers=2):
        break
    wait_for(lambda: not set(multiprocessing.active_children()) - before)
    assert len(list(tmp_path.iterdir())) <= 2  # one a process
