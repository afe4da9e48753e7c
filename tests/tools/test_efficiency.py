"""Time and memory: of processes that take a known amount for a known time, and of curves worked out by hand."""

import os
import shutil
import subprocess
import sys
import time
from functools import partial

import pytest

from tools.efficiency import NVML_LIBRARY, Sampler, card_memory, process_memory

# Takes 200 MB after half a second, keeps them for a second, and gives them back for half a second.
EATER = """
import time
time.sleep(0.5)
print("idle", flush=True)
block = bytearray(b"x") * (200 << 20)
print("full", flush=True)
time.sleep(1)
del block
print("empty", flush=True)
time.sleep(0.5)
"""


def test_a_process_that_takes_200_mb_for_a_second():
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", EATER], stdout=subprocess.PIPE, text=True)
    with Sampler({"host": partial(process_memory, process.pid)}, pause=0.02) as sampler:
        assert process.stdout.readline() == "idle\n"
        before_it = time.perf_counter()
        assert process.stdout.readline() == "full\n"
        full = time.perf_counter()
        assert process.stdout.readline() == "empty\n"
        empty = time.perf_counter()
        process.wait()
    end = time.perf_counter()
    before, during, whole = (sampler.figures(*span) for span in ((start, before_it), (full, empty), (start, end)))
    idle = before["host"]["peak_mb"]
    assert during["wall_s"] > 0.95
    assert during["host"]["peak_mb"] - idle == pytest.approx(200, abs=5)
    assert during["host"]["auc_mb_s"] == pytest.approx((200 + idle) * during["wall_s"], rel=0.25)
    assert whole["host"]["peak_mb"] == pytest.approx(during["host"]["peak_mb"], abs=5)
    assert whole["host"]["auc_mb_s"] == pytest.approx(200 * during["wall_s"] + idle * whole["wall_s"], rel=0.4)
    assert whole["host"]["above_4096_mb_s"] == 0
    assert 0.02 < whole["period_s"] < 0.3
    assert whole["samples"] == pytest.approx(whole["wall_s"] / whole["period_s"], rel=0.2)


def test_children_count():
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {EATER!r}])"
    process = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, text=True)
    alone = process_memory(os.getpid())
    assert [process.stdout.readline() for _ in range(2)] == ["idle\n", "full\n"]
    assert process_memory(process.pid) > 200
    assert process_memory(os.getpid()) - alone > 180
    process.stdout.read()
    process.wait()
    with pytest.raises(ProcessLookupError, match="has ended"):
        process_memory(process.pid)


def test_the_sampler_ends_with_its_process():
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    with Sampler({"host": partial(process_memory, process.pid)}) as sampler:
        pass
    assert sampler.figures(0, time.perf_counter())["host"] is None


def test_a_curve_by_hand():
    """Samples of 0, 5000 and 4096 MB every half a second: 9096 * 0.5 MB s, of which 904 * 0.5 above 4096 MB."""
    sampler = Sampler({"card": float})
    sampler.times, sampler.samples = [9.0, 10.0, 10.5, 11.0, 12.0], {"card": [9999, 0, 5000, 4096, 9999]}
    assert sampler.figures(9.9, 11.2) == {
        "wall_s": 1.3,
        "samples": 3,
        "period_s": 0.5,
        "card": {"peak_mb": 5000, "auc_mb_s": 4548.0, "above_4096_mb_s": 452.0},
    }
    alone = sampler.figures(10.4, 10.6)
    assert alone["period_s"] is None
    assert alone["card"]["auc_mb_s"] == 1000


# What NVIDIA's library does, for a card 1 of 16 GB of which 10 are free; the driver counts its "used" otherwise.
STAND_IN = """
typedef struct {unsigned long long total, free, used;} memory;
int nvmlInit_v2(void) {return 0;}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **card) {*card = (void *) 0x7fff12345678abcd; return index != 1;}
int nvmlDeviceGetMemoryInfo(void *card, memory *told) {
    told->total = 16ULL << 30; told->free = 10ULL << 30; told->used = 1;
    return card != (void *) 0x7fff12345678abcd;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the stand-in for NVIDIA's library needs gcc")
def test_the_card_is_read_as_the_drivers_library_lays_it_out(tmp_path):
    source, library = tmp_path / "nvml.c", tmp_path / NVML_LIBRARY
    source.write_text(STAND_IN)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    command = "from tools.efficiency import card_memory; print(card_memory(0), card_memory(1)())"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    told = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["None", "6144.0"]


def test_the_card_is_read_where_there_is_one():
    gauge = card_memory()
    if gauge is None:
        pytest.skip("this machine has no NVIDIA driver")
    assert 0 < gauge() < 1e6
