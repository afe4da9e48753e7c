"""How each step of the chains grows with the number of cases: seconds, memory of its process, bytes written."""

import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.connection import Connection
from pathlib import Path

from abdoseg.files import CaseError, glob, write_json
from tools.efficiency import MB
from tools.faults import reason_of
from tools.growth_steps import STEPS, make_cases
from tools.score_tables import columns
from tools.workers import processors

COUNTS = (10, 100, 1000, 10000)
MEANING = (
    "each in a process of its own: s from its start to its end, imports included; cpu: processor time in it; MB (2^20 "
    "bytes): its peak of resident memory; written: all that it hands to files; a further case: against the row above"
)


def benchmark_growth(work_dir: str, counts: Sequence[int], names: Sequence[str]) -> dict:
    """Measure steps on data sets of several sizes; what has been measured in this folder is not measured again.

    Parameters
    ----------
    work_dir : for the data sets (40 kB a case), what the steps make of them, and figures/STEP_COUNT.json.
    counts : numbers of cases.
    names : steps, see `tools.growth_steps.STEPS`; a step needs those before it. None given: all.

    Returns
    -------
    ``{"machine": see `machine`, "steps": {step: {count: {"seconds", "cpu_s", "peak_mb", "written_mb"}}}}`` of all that
    the folder holds.

    Raises
    ------
    CaseError
        If a step is unknown or fails.
    """
    if unknown := [name for name in names if name not in STEPS]:
        raise CaseError(f"Unknown step {unknown[0]!r} of growth. Use {', '.join(STEPS)}.")
    root = Path(work_dir).absolute()
    for count in counts:
        folder = root / f"cases_{count}"
        for name in names or STEPS:
            path = root / "figures" / f"{name}_{count}.json"
            if path.exists():
                continue
            make_cases(folder, count)
            figures = _measured(name, folder)
            write_json(path, figures)
            print(f"{name}, {count} cases: {figures['seconds']} s, {figures['peak_mb']} MB", flush=True)
    return {"machine": machine(), "steps": _collected(root / "figures")}


def _measured(name: str, folder: Path) -> dict:
    """Figures of a step in a new process."""
    for part in STEPS[name].anew:
        path = folder / part
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    context = multiprocessing.get_context("spawn")
    connection, other = context.Pipe()
    start = time.perf_counter()
    process = context.Process(target=_work, args=(other, name, folder))
    process.start()
    other.close()
    try:
        answer = connection.recv()
    except EOFError:
        answer = f"{folder}: the process of the step {name} was killed."
    process.join()
    if isinstance(answer, str):
        raise CaseError(answer)
    end, figures = answer
    return {"seconds": round(end - start, 3), **figures}


def _work(connection: Connection, name: str, folder: Path) -> None:
    """Do a step and send when it was done (all processes share this clock) and its figures, or why it failed."""
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            STEPS[name].work(folder)
        connection.send((time.perf_counter(), own_figures()))
    except Exception as error:  # told by the process that asked
        connection.send(reason_of(error, str(folder)))


def own_figures() -> dict:
    """Processor time that this process has taken, the peak of its resident memory and what it has written, in MB.

    ``ru_maxrss`` would not do: it counts what the parent had when this process was started.
    """
    status, counters = (dict(_fields(Path("/proc/self") / name)) for name in ("status", "io"))
    peak = int(status["VmHWM"].removesuffix("kB")) * 1024
    cpu = round(time.process_time(), 3)
    return {"cpu_s": cpu, "peak_mb": round(peak / MB, 1), "written_mb": round(int(counters["wchar"]) / MB, 3)}


def _fields(path: Path):
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        yield name.strip(), value.strip()


def machine() -> dict:
    """Name of the processor, how many of its cores this process may use, and the memory in GiB."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    name = dict(_fields(Path("/proc/cpuinfo"))).get("model name", "unknown")
    return {"processor": name, "cores": processors(), "memory_gib": round(memory)}


def _collected(folder: Path) -> dict:
    """All figures of a folder, by step and number of cases, in order."""
    found = {}
    for path in glob(folder, "*.json"):
        name, _, count = path.stem.rpartition("_")
        found.setdefault(name, {})[int(count)] = json.loads(path.read_text())
    return {name: {str(count): part for count, part in sorted(found[name].items())} for name in STEPS if name in found}


def format_growth(result: Mapping) -> str:
    """The figures as a table for the terminal."""
    further = "a further case"
    rows = [["step", "cases", "s", "cpu s", f"ms {further}", "peak MB", f"kB {further}", "written, kB a case"]]
    for name, found in result["steps"].items():
        before, cases_before = None, 0
        for count, figures in found.items():
            cases = int(count)
            ms, kb = "-", "-"
            if before is not None:
                ms = f"{1000 * (figures['cpu_s'] - before['cpu_s']) / (cases - cases_before):.2f}"
                kb = f"{1024 * (figures['peak_mb'] - before['peak_mb']) / (cases - cases_before):.2f}"
            written = f"{1024 * figures['written_mb'] / cases:.1f}"
            times = [f"{figures[key]:.2f}" for key in ("seconds", "cpu_s")]
            rows.append([name, count, *times, ms, f"{figures['peak_mb']:.0f}", kb, written])
            before, cases_before = figures, cases
    host = result["machine"]
    place = f"{host['cores']} cores of {host['processor']}, {host['memory_gib']} GiB"
    return "\n".join([columns(rows), place, MEANING])
