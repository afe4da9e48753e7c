"""What a bundle needs to label scans, as FLARE measures it: one process a scan (cold), and one for all (warm)."""

import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from abdoseg.files import CaseError
from abdoseg.label_maps import open_volume
from tools.efficiency import Sampler, card_memory, process_memory
from tools.predict import find_scans
from tools.score_tables import columns

ROOT = Path(__file__).parent.parent
MEANING = (
    "cold: a new process a scan, from its start to its end, loading included; warm: the scan alone in a process that "
    "has labeled one before. MB are 2^20 bytes; host: resident memory of the process and its children; card: total - "
    "free of the whole GPU. Areas are the sum of the samples times their true period."
)


def benchmark_predict(
    bundle: str, source: str, weights: str | None, repeats: int, pause: float, gpu: int, overrides: Mapping
) -> dict:
    """Time `predict` on each scan, cold and warm, and sample its memory.

    Parameters
    ----------
    bundle, weights, overrides : as `predict` takes them.
    source : what `predict` takes as its input, NIfTI only.
    repeats : how often each scan is labeled cold, and warm.
    pause : seconds between two samples.
    gpu : index of the card to watch, where there is one.

    Returns
    -------
    ``{"bundle", "weights", "pause_s", "repeats", "cases": {id: {"shape", "cold", "warm": [see Sampler.figures]}},
    "summary": {"cold", "warm": {figure: {"median", "least", "most", "n"}}}, "failed": {id: reason}}``

    Raises
    ------
    CaseError
        If there is no scan, or the warm process fails.
    """
    scans = {name: str(Path(scan).absolute()) for name, scan in find_scans(Path(source)).items()}
    settings = str(Path(bundle).absolute()), str(Path(weights).absolute()) if weights else None, dict(overrides)
    card = card_memory(gpu)
    watch = partial(_watch, pause=pause, card=card)
    cold, failed = {}, {}
    for name, scan in scans.items():
        try:
            cold[name] = [_label_cold(scan, settings, watch) for _ in range(repeats)]
        except CaseError as error:
            failed[name] = str(error)
        else:
            print(f"cold: {name}: {', '.join(str(run['wall_s']) for run in cold[name])} s")
    warm = _label_warm({name: scans[name] for name in cold}, settings, repeats, watch) if cold else {}
    cases = {
        name: {"shape": list(open_volume(scans[name]).shape), "cold": cold[name], "warm": warm[name]} for name in cold
    }
    return {
        "bundle": settings[0],
        "weights": settings[1],
        "pause_s": pause,
        "repeats": repeats,
        "cases": cases,
        "summary": {
            kind: summarize_runs([run for case in cases.values() for run in case[kind]]) for kind in ("cold", "warm")
        },
        "failed": failed,
    }


def _watch(process_id: int, pause: float, card: Callable[[], float] | None) -> Sampler:
    gauges = {"host": partial(process_memory, process_id)}
    return Sampler(gauges if card is None else {**gauges, "card": card}, pause)


def _label_cold(scan: str, settings: tuple, watch: Callable[[int], Sampler]) -> dict:
    """Figures of `predict` on one scan in a process of its own."""
    bundle, weights, overrides = settings
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-m", "tools", "predict", "--bundle", bundle, "--input", scan, "--output", output]
        command += ["--weights", weights] if weights else []
        for name, value in overrides.items():
            command += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
        start = time.perf_counter()
        with tempfile.TemporaryFile("w+") as told:
            process = subprocess.Popen(command, cwd=ROOT, stdout=told, stderr=subprocess.STDOUT)
            with watch(process.pid) as sampler:
                process.wait()
                end = time.perf_counter()
            told.seek(0)
            if process.returncode:
                lines = told.read().strip().splitlines() or [f"exit code {process.returncode}"]
                raise CaseError(f"{scan}: predict failed: {lines[-1]}")
    return sampler.figures(start, end)


def _label_warm(
    scans: Mapping[str, str], settings: tuple, repeats: int, watch: Callable[[int], Sampler]
) -> dict[str, list]:
    """Figures of each scan in one process, which has labeled the first of them before."""
    context = multiprocessing.get_context("spawn")
    connection, other = context.Pipe()
    runs: dict[str, list] = {name: [] for name in scans}
    with tempfile.TemporaryDirectory() as output:
        process = context.Process(target=_serve_warm, args=(other, output, settings, dict(scans), repeats), daemon=True)
        process.start()
        other.close()
        spans = []
        with watch(process.pid) as sampler:
            try:
                while (span := connection.recv()) is not None:
                    spans.append(span)
            except EOFError:
                raise CaseError("The warm process ended before its time; its error stands above.") from None
        process.join()
    for name, start, end in spans:
        runs[name].append(sampler.figures(start, end))
    return runs


def _serve_warm(connection: Connection, output: str, settings: tuple, scans: Mapping[str, str], repeats: int) -> None:
    """Label the scans and send (id, start, end) of each; all processes of a machine share the clock of perf_counter."""
    from tools.predictor import Predictor

    bundle, weights, overrides = settings
    predictor = Predictor(Path(bundle), Path(output), Path(weights) if weights else None, overrides)
    predictor(next(iter(scans.values())))
    for name, scan in scans.items():
        for _ in range(repeats):
            start = time.perf_counter()
            predictor(scan)
            connection.send((name, start, time.perf_counter()))
    connection.send(None)


def summarize_runs(runs: Sequence[Mapping]) -> dict:
    """Median, least and most of each figure over runs, and the number of runs that have it.

    Parameters
    ----------
    runs : see `Sampler.figures`.

    Returns
    -------
    ``{"wall_s", "period_s", "host_peak_mb", "host_auc_mb_s", ...: {"median", "least", "most", "n"}}``
    """
    flat = [dict(_flat(run)) for run in runs]
    names = dict.fromkeys(name for run in flat for name in run)
    return {name: _spread([run[name] for run in flat if name in run]) for name in names}


def _flat(run: Mapping):
    for name, value in run.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}_{key}", part) for key, part in value.items())
        elif value is not None:
            yield name, value


def _spread(values: Sequence[float]) -> dict:
    return {
        "median": round(float(np.median(values)), 4),
        "least": min(values),
        "most": max(values),
        "n": len(values),
    }


def format_efficiency(result: Mapping) -> str:
    """The figures as a table for the terminal: medians, with the least and the most."""
    figures = list(result["summary"]["cold"])
    rows = [["", *result["summary"]]]
    for name in figures:
        rows.append([name, *(_told(part.get(name)) for part in result["summary"].values())])
    count = len(result["cases"])
    head = f"{count} scans, each {result['repeats']} times cold and warm: median [least, most]"
    return "\n".join([head, columns(rows), MEANING])


def _told(spread: Mapping | None) -> str:
    return "-" if spread is None else f"{spread['median']:g} [{spread['least']:g}, {spread['most']:g}]"
