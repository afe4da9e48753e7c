"""Several ways to label the same scan, by turns, against a peer: time, memory and agreement."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from abdoseg.files import CaseError
from abdoseg.label_maps import open_volume
from abdoseg.labels import CLASS_IDS, NAMES
from abdoseg.metrics import dice
from tools.benchmark_predict import format_spread, summarize_runs
from tools.score_tables import columns
from tools.warm_process import WarmProcess


def compare_by_turns(
    processes: Mapping[str, WarmProcess], scan: str, repeats: int, peer: str, labels_of: Callable[[str], np.ndarray]
) -> dict:
    """Label a scan in every process, round by round; the first labeling of each is not counted.

    Parameters
    ----------
    processes : arm -> process.
    scan : file.
    repeats : rounds.
    peer : arm that the others are compared with.
    labels_of : arm -> label map that it has written, in our ids.

    Returns
    -------
    ``{"shape", "arms": {arm: {figure: spread}}, "faster": {arm: spread of the ratio, round by round}, "memory_share":
    {arm: peak / peak, None without samples}, "dsc": {arm: {class name: DSC with the peer's, of the classes that it
    found}}, "mean_dsc": {arm: their mean}}``

    Raises
    ------
    CaseError
        If a process fails, or the peer finds nothing.
    """
    for process in processes.values():
        process.label(scan)
    runs: dict[str, list] = {name: [] for name in processes}
    for number in range(1, repeats + 1):
        for name, process in processes.items():
            runs[name].append(process.label(scan))
            print(f"{Path(scan).name}: {name} {number}/{repeats}: {runs[name][-1]['wall_s']} s", flush=True)
    wanted = labels_of(peer)
    found = [class_id for class_id in CLASS_IDS if (wanted == class_id).any()]
    if not found:
        raise CaseError(f"{scan}: {peer} finds no class in it, so that there is nothing to agree about.")
    others = [name for name in processes if name != peer]
    dsc = {}
    for name in others:
        labels = labels_of(name)
        dsc[name] = {NAMES[one]: dice(labels == one, wanted == one) for one in found}
    return {
        "shape": list(open_volume(scan).shape),
        "arms": {name: summarize_runs(part) for name, part in runs.items()},
        "faster": {name: _ratios(runs[peer], runs[name]) for name in others},
        "memory_share": {name: _share(_peak(runs[name]), _peak(runs[peer])) for name in others},
        "dsc": dsc,
        "mean_dsc": {name: float(np.mean(list(part.values()))) for name, part in dsc.items()},
    }


def _ratios(slow: Sequence[Mapping], fast: Sequence[Mapping]) -> dict:
    pairs = zip(slow, fast, strict=True)
    return summarize_runs([{"ratio": one["wall_s"] / other["wall_s"]} for one, other in pairs])["ratio"]


def _peak(runs: Sequence[Mapping]) -> float | None:
    """Most memory in any of the runs; None if all were over before the first sample."""
    return max((run["host"]["peak_mb"] for run in runs if run["host"]), default=None)


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or whole is None else round(part / whole, 3)


def format_turns(lengths: Mapping[int, Mapping]) -> str:
    """The figures of several scans as a table for the terminal: medians, with the least and the most."""
    rows = [["slices", "arm", "s a case", "peak MB", "times as fast", "share of memory", "mean DSC", "least DSC"]]
    for length, part in lengths.items():
        for name, figures in part["arms"].items():
            peak, faster, dsc = figures.get("host_peak_mb"), part["faster"].get(name), part["dsc"].get(name)
            row = [str(length), name, format_spread(figures["wall_s"], ".2f")]
            row += ["-" if peak is None else f"{peak['most']:.0f}", format_spread(faster, ".2f")]
            row.append(str(part["memory_share"].get(name) or "-"))
            row += ["-", "-"] if dsc is None else [f"{part['mean_dsc'][name]:.5f}", f"{min(dsc.values()):.5f}"]
            rows.append(row)
    found = [
        f"{length} slices: {len(next(iter(part['dsc'].values())))} classes found" for length, part in lengths.items()
    ]
    return "\n".join([columns(rows), *found])
