"""A stream of cases: what runs side by side, how many are in memory, and what faults and signals leave behind."""

import gc
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest

from tools.stream import Progress, stream

WAIT = 60  # seconds after which something that should have happened did not


class Content:
    """Stands for a volume in memory."""


class Events(dict):
    """Things that happen, by name."""

    def __missing__(self, name: str) -> threading.Event:
        return self.setdefault(name, threading.Event())

    def await_(self, name: str) -> None:
        assert self[name].wait(WAIT), f"{name} did not happen"


def run(cases, read=None, work=None, write=None) -> list:
    """Passages of a stream whose steps do nothing unless told otherwise."""

    def nothing(_case, content):
        return content

    settled = []
    stream(cases, read or nothing, work or nothing, write or nothing, settled.append)
    return settled


def test_each_case_goes_through_the_steps_in_order():
    settled = run(
        "abc",
        lambda case, content: (content, f"read {case}"),
        lambda case, content: (*content, f"worked on {case}"),
        lambda case, content: (*content, f"wrote {case}"),
    )
    assert [passage.case for passage in settled] == ["a", "b", "c"]
    assert settled[1].content == (None, "read b", "worked on b", "wrote b")
    assert run([]) == []


def test_the_next_is_read_and_the_one_before_written_while_one_is_worked_on():
    events = Events()

    def read(case, _):
        events[f"reading {case}"].set()

    def work(case, _):
        events[f"work on {case}"].set()
        if case < 3:
            events.await_(f"reading {case + 1}")
        if case > 1:
            events.await_(f"writing {case - 1}")

    def write(case, _):
        events[f"writing {case}"].set()
        if case < 3:
            events.await_(f"work on {case + 1}")

    assert [passage.error for passage in run([1, 2, 3], read, work, write)] == [None] * 3


@pytest.mark.parametrize("slow", ["read", "work", "write"])
def test_three_cases_are_in_memory_whichever_step_is_slow(slow):
    alive, most, lock = weakref.WeakSet(), [], threading.Lock()

    def step(name, make=False):
        def take(_case, content):
            content = Content() if make else content
            with lock:
                alive.add(content)
                most.append(len(alive))
            time.sleep(0.01 if name == slow else 0)
            return content

        return take

    def settle(passage):
        assert passage.error is None

    stream(range(12), step("read", make=True), step("work"), step("write"), settle)
    assert max(most) <= 3
    assert not alive


@pytest.mark.parametrize("broken", ["read", "work", "write"])
def test_a_fault_in_any_step_costs_the_neighbors_nothing(broken):
    written = []

    def step(name):
        def take(case, _):
            if (name, case) == (broken, "b"):
                raise ValueError(f"{case} cannot be {name}")
            if name == "write":
                written.append(case)

        return take

    settled = run("abc", step("read"), step("work"), step("write"))
    assert [str(passage.error) for passage in settled] == ["None", f"b cannot be {broken}", "None"]
    assert written == ["a", "c"]


def test_what_a_failed_step_held_in_memory_is_let_go_before_the_next_case():
    """By the count of references alone: nobody knows when the garbage of cycles is collected."""
    held = []

    def fill():
        volume = Content()
        held.append(weakref.ref(volume))
        raise MemoryError("there is no room")

    def work(case, _):
        if case == "large":
            try:
                fill()
            except MemoryError as error:
                raise RuntimeError("it cannot be labeled") from error
        assert held[0]() is None

    gc.disable()
    try:
        large, after = run(["large", "after"], work=work)
    finally:
        gc.enable()
    assert str(large.error) == "it cannot be labeled"
    assert after.error is None


def test_seconds_are_those_of_the_own_steps():
    def work(case, _):
        time.sleep(0.6 if case == "long" else 0)

    short, long, after = run(["short", "long", "after"], work=work)
    assert long.seconds >= 0.6
    assert short.seconds < 0.5
    assert after.seconds < 0.5  # it was read at once and waited for the long one


def test_an_interruption_leaves_what_was_being_written_whole_and_settled():
    done, events = [], Events()

    def work(case, _):
        if case == 3:
            events.await_("writing 2")
            events.await_("read 4")
            raise KeyboardInterrupt

    def write(case, _):
        events[f"writing {case}"].set()
        time.sleep(0.05)
        done.append(("written", case))

    read = []

    def read_case(case, _):
        read.append(case)
        events[f"read {case}"].set()

    with pytest.raises(KeyboardInterrupt):
        stream(
            range(1, 9),
            read_case,
            work,
            write,
            lambda passage: done.append(("settled", passage.case)),
        )
    assert done == [("written", 1), ("settled", 1), ("written", 2), ("settled", 2)]
    assert read == [1, 2, 3, 4]


def test_what_settling_raises_ends_the_stream():
    worked = []

    def settle(passage):
        raise OSError(f"no space left for {passage.case}")

    with pytest.raises(OSError, match="no space left for 1"):
        stream(range(1, 9), lambda *_: None, lambda case, _: worked.append(case), lambda *_: None, settle)
    assert worked == [1, 2]


KILLED = """
import sys, time
from abdoseg.files import atomic_path
from tools.stream import ended_like_ctrl_c, stream

def write(case, _):
    with atomic_path(f"{sys.argv[1]}/{case}.txt") as path, path.open("w") as file:
        print("line", file=file)
        if case == 2:
            print("writing", flush=True)
            sys.stdin.readline()
        for _ in range(9):
            time.sleep(0.03)
            print("line", file=file)

with ended_like_ctrl_c():
    stream(range(1, 99), lambda *_: None, lambda *_: time.sleep(0.1), write, lambda passage: None)
"""


def test_a_terminated_process_leaves_no_half_written_file(tmp_path):
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], text=True, **pipes)
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGTERM)
    told = process.communicate("go on\n", timeout=WAIT)[1]
    assert told.strip().endswith("KeyboardInterrupt")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        ("1.txt", "2.txt"), "line\n" * 10
    )


def test_progress_tells_scans_a_minute_and_the_time_left():
    bar = Progress(total=6, desc="label", unit="scan", file=open("/dev/null", "w"))  # noqa: SIM115
    bar.start_t -= 30
    bar.update(2)
    bar.set_postfix_str("0002")
    told = str(bar)
    bar.close()
    assert told.startswith("label:  33%|")
    assert " 2/6 [00:30, " in told
    assert "left, 4 scans/min, 0002]" in told
