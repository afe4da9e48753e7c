"""What a bundle needs to label scans, as FLARE measures it: one process a scan (cold), and one for all (warm)."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from abdoseg.files import CaseError
from abdoseg.label_maps import open_volume
from tools.benchmark_scans import scans_of_lengths
from tools.efficiency import card_memory
from tools.scans import find_scans
from tools.score_tables import columns
from tools.warm_process import WarmProcess, predictor_for, watch

ROOT = Path(__file__).parent.parent
MEANING = (
    "cold: a new process a scan, from its start to its end, loading included, after one that is not counted (it may "
    "export networks); warm: the scan alone in a process that has labeled one before. MB are 2^20 bytes; host: "
    "resident memory of the process and its children; card: total - free of the whole GPU. Areas are the sum of the "
    "samples times their true period."
)


def benchmark_predict(
    bundle: str,
    source: str,
    weights: str | None,
    repeats: int,
    pause: float,
    gpu: int,
    overrides: Mapping,
    slices: Sequence[int] | None = None,
) -> dict:
    """Time `predict` on each scan, cold and warm, and sample its memory; the first process of all is not counted.

    Parameters
    ----------
    bundle, weights, overrides : as `predict` takes them.
    source : what `predict` takes as its input, NIfTI only.
    repeats : how often each scan is labeled cold, and warm.
    pause : seconds between two samples.
    gpu : index of the card to watch, where there is one.
    slices : lengths that the scan is brought to, see `scans_of_lengths`; ``source`` is a file then. None takes the
        scans as they are.

    Returns
    -------
    ``{"bundle", "weights", "pause_s", "repeats", "cases": {id: {"shape", "cold", "warm": [see Sampler.figures]}},
    "summary": {"cold", "warm": {figure: {"median", "least", "most", "n"}}}, "failed": {id: reason}}``

    Raises
    ------
    CaseError
        If there is no scan, or the warm process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        if slices is None:
            scans = {name: str(Path(scan).absolute()) for name, scan in find_scans(Path(source)).items()}
        else:
            made = scans_of_lengths(Path(source), slices, Path(folder))
            scans = {f"{length} slices": path for length, path in made.items()}
        return _measure(scans, bundle, weights, repeats, pause, gpu, overrides)


def _measure(
    scans: Mapping[str, str],
    bundle: str,
    weights: str | None,
    repeats: int,
    pause: float,
    gpu: int,
    overrides: Mapping,
) -> dict:
    """Figures of each scan (id -> file), cold and warm."""
    settings = str(Path(bundle).absolute()), str(Path(weights).absolute()) if weights else None, dict(overrides)
    card = card_memory(gpu)
    cold, failed = {}, {}
    for name, scan in scans.items():
        try:
            if not cold:
                _label_uncounted(scan, settings, pause)
            cold[name] = [_label_cold(scan, settings, pause, card) for _ in range(repeats)]
        except CaseError as error:
            failed[name] = str(error)
        else:
            print(f"cold: {name}: {', '.join(str(run['wall_s']) for run in cold[name])} s")
    warm = _label_warm({name: scans[name] for name in cold}, settings, repeats, pause, gpu) if cold else {}
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


def _label_uncounted(scan: str, settings: tuple, pause: float) -> None:
    """Label a scan once before others count: networks are exported, where they have to be, and files are read."""
    run = _label_cold(scan, settings, pause, None)
    print(f"not counted: the first process, {run['wall_s']} s")


def _label_cold(scan: str, settings: tuple, pause: float, card: Callable[[], float] | None) -> dict:
    """Figures of `predict` on one scan in a process of its own."""
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-m", "tools", "predict", *cold_options(scan, output, *settings)]
        start = time.perf_counter()
        with tempfile.TemporaryFile("w+") as told:
            process = subprocess.Popen(command, cwd=ROOT, stdout=told, stderr=subprocess.STDOUT)
            with watch(process.pid, pause, card) as sampler:
                process.wait()
                end = time.perf_counter()
            told.seek(0)
            if process.returncode:
                lines = told.read().strip().splitlines() or [f"exit code {process.returncode}"]
                raise CaseError(f"{scan}: predict failed: {lines[-1]}")
    return sampler.figures(start, end)


def cold_options(scan: str, output: str, bundle: str, weights: str | None, overrides: Mapping) -> list[str]:
    """Options of `predict` for one scan; nobody is asked whether a bundle is trusted, as no warm process asks."""
    options = ["--bundle", bundle, "--input", scan, "--output", output, "--trust"]
    options += ["--weights", weights] if weights else []
    for name, value in overrides.items():
        options += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    return options


def _label_warm(scans: Mapping[str, str], settings: tuple, repeats: int, pause: float, gpu: int) -> dict[str, list]:
    """Figures of each scan in one process, which has labeled the first of them before."""
    with (
        tempfile.TemporaryDirectory() as output,
        WarmProcess(partial(predictor_for, *settings, output), pause, gpu) as warm,
    ):
        warm.label(next(iter(scans.values())))
        return {name: [warm.label(scan) for _ in range(repeats)] for name, scan in scans.items()}


def benchmark_copies(
    bundle: str, source: str, weights: str | None, counts: Sequence[int], pause: float, gpu: int, overrides: Mapping
) -> dict:
    """Time `predict` on folders of several links to one scan, each in a process of its own; the first is not counted.

    Parameters
    ----------
    source : what `predict` takes as its input; its first scan is taken.
    counts : links in each folder.
    bundle, weights, pause, gpu, overrides : see `benchmark_predict`.

    Returns
    -------
    ``{"bundle", "weights", "scan", "pause_s", "counts": {count: see Sampler.figures}, "failed": {}}``
    """
    scan = Path(next(iter(find_scans(Path(source)).values()))).absolute()
    settings = str(Path(bundle).absolute()), str(Path(weights).absolute()) if weights else None, dict(overrides)
    card, ending = card_memory(gpu), "".join(scan.suffixes[-2:])
    _label_uncounted(str(scan), settings, pause)
    runs = {}
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            for number in range(count):
                (Path(folder) / f"{number:04d}_0000{ending}").symlink_to(scan)
            runs[count] = _label_cold(folder, settings, pause, card)
    told = dict(zip(("bundle", "weights"), settings, strict=False))
    return {**told, "scan": str(scan), "pause_s": pause, "counts": runs, "failed": {}}


def format_copies(result: Mapping) -> str:
    """The figures as a table for the terminal."""
    rows = [["cases", "s in all", "s a case", "s a further case", "peak MB"]]
    before = None
    for count, run in result["counts"].items():
        further = "-"
        if before is not None and count > before[0]:
            further = f"{(run['wall_s'] - before[1]) / (count - before[0]):.2f}"
        peak = "-" if run["host"] is None else f"{run['host']['peak_mb']:.0f}"
        rows.append([str(count), f"{run['wall_s']:.1f}", f"{run['wall_s'] / count:.2f}", further, peak])
        before = count, run["wall_s"]
    return columns(rows)


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
    return {name: spread([run[name] for run in flat if name in run]) for name in names}


def _flat(run: Mapping):
    for name, value in run.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}_{key}", part) for key, part in value.items())
        elif value is not None:
            yield name, value


def spread(values: Sequence[float]) -> dict:
    """Median, least and most of some figures, and how many they are."""
    median, least, most = (round(float(function(values)), 4) for function in (np.median, np.min, np.max))
    return {"median": median, "least": least, "most": most, "n": len(values)}


def format_efficiency(result: Mapping) -> str:
    """The figures as a table for the terminal: medians, with the least and the most."""
    cases = [["scan", "voxels", "s cold", "s warm", "peak MB cold", "peak MB warm"]]
    for name, case in result["cases"].items():
        kinds = [summarize_runs(case[kind]) for kind in ("cold", "warm")]
        seconds = [format_spread(kind["wall_s"], ".2f") for kind in kinds]
        peaks = [format_spread(kind.get("host_peak_mb"), ".0f") for kind in kinds]
        cases.append([name, "x".join(map(str, case["shape"])), *seconds, *peaks])
    figures = list(result["summary"]["cold"])
    rows = [["", *result["summary"]]]
    for name in figures:
        rows.append([name, *(format_spread(part.get(name)) for part in result["summary"].values())])
    count = len(result["cases"])
    head = f"{count} scans, each {result['repeats']} times cold and warm: median [least, most]"
    return "\n".join([columns(cases), head, columns(rows), MEANING])


def format_spread(spread: Mapping | None, style: str = "g") -> str:
    """Median, least and most as text, in a format such as ".2f"; "-" where there is none."""
    if spread is None:
        return "-"
    return f"{spread['median']:{style}} [{spread['least']:{style}}, {spread['most']:{style}}]"
