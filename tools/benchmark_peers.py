"""The coarse-to-fine student beside a plain MONAI pipeline of the same networks: time, memory and agreement."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import torch

from abdoseg.files import CaseError
from abdoseg.inferers.engines import has_openvino
from abdoseg.label_maps import open_volume, read_label_map
from abdoseg.labels import CLASS_IDS
from abdoseg.metrics import dice
from tools.benchmark_predict import summarize_runs
from tools.benchmark_scans import scans_of_lengths
from tools.predictor import Predictor
from tools.score_tables import columns
from tools.warm_process import WarmProcess, predictor_for

PLAIN = "plain MONAI"
AGREEMENTS = ("memory_share", "dsc")
# Values of the bundle's inference.yaml that make an engine.
ENGINES = {
    "openvino": {"engine": "openvino"},
    "float32": {"engine": "torch", "amp": False},
    "half": {"engine": "torch", "amp": True},
}


def benchmark_peers(
    bundle: str,
    scan: str,
    weights: str | None,
    repeats: int,
    slices: Sequence[int],
    engines: Sequence[str] | None,
    pause: float,
    gpu: int,
    overrides: Mapping,
) -> dict:
    """Label one scan at several lengths by turns: the plain pipeline, then each engine; each in a warm process.

    Parameters
    ----------
    bundle, weights, overrides : as `predict` takes them; the bundle must be one of a coarse and a fine network.
    scan : NIfTI file, see `scans_of_lengths`.
    repeats : rounds of each length.
    slices : lengths.
    engines : of `ENGINES`; None: OpenVINO where it is installed, and PyTorch in float32.
    pause, gpu : see `WarmProcess`.

    Returns
    -------
    ``{"bundle", "weights", "scan", "threads", "lengths": {slices: {"shape", "told": what the project logs, "stages":
    {engine: {stage: s}}, "classes": how many the plain pipeline found, "arms": {arm: {figure: spread}}, "faster":
    {engine: {"median", ...}} paired by round, "memory_share": {engine: peak / peak}, "dsc": {engine: mean over those
    classes, against the plain pipeline}}}}``

    Raises
    ------
    CaseError
        For an unknown engine or another kind of bundle, or if an arm fails.
    """
    engines = list(engines or (["openvino"] if has_openvino() else []) + ["float32"])
    if unknown := [name for name in engines if name not in ENGINES]:
        raise CaseError(f"Unknown engine {unknown[0]!r}. Use {', '.join(map(repr, ENGINES))}.")
    bundle, weights = str(Path(bundle).absolute()), str(Path(weights).absolute()) if weights else None
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        root = Path(folder)
        scans = scans_of_lengths(Path(scan), slices, root)
        makers = {name: partial(predictor_for, bundle, weights, {**overrides, **ENGINES[name]}) for name in engines}
        makers[PLAIN] = partial(plain_for, bundle, weights, dict(overrides))
        arms = {
            name: stack.enter_context(WarmProcess(partial(make, str(root / name)), pause, gpu))
            for name, make in makers.items()
        }
        lengths = {length: _measure(arms, path, root, repeats) for length, path in scans.items()}
    return {
        "bundle": bundle,
        "weights": weights,
        "scan": str(scan),
        "threads": torch.get_num_threads(),
        "pause_s": pause,
        "lengths": lengths,
    }


def plain_for(bundle: str, weights: str | None, overrides: Mapping, output: str):
    """Give the plain pipeline of a bundle's networks; for `WarmProcess`."""
    from tools.benchmark_plain import PlainPipeline

    predictor = Predictor(
        Path(bundle), Path(output), Path(weights) if weights else None, {**overrides, **ENGINES["float32"]}
    )
    inferer = predictor.inferer
    if not hasattr(inferer, "coarse_size"):
        raise CaseError(f"{bundle} has no coarse and fine network; benchmark peers takes bundles/fine_seg.")
    sizes, windows = (inferer.coarse_size, inferer.fine_size), (inferer.coarse_hu_window, inferer.hu_window)
    return PlainPipeline(predictor.network, sizes, windows, inferer.margin_mm, Path(output))


def _measure(arms: Mapping[str, WarmProcess], scan: str, root: Path, repeats: int) -> dict:
    """All figures of one scan; the first labeling of each arm is not counted."""
    stages, told = {}, []
    for name, arm in arms.items():
        if name == PLAIN:
            arm.label(scan)
        else:
            arm.label(scan)
            stages[name], told = arm.stages(scan)
    runs: dict[str, list] = {name: [] for name in arms}
    for number in range(1, repeats + 1):
        for name, arm in arms.items():
            runs[name].append(arm.label(scan))
            print(f"{Path(scan).name}: {name} {number}/{repeats}: {runs[name][-1]['wall_s']} s", flush=True)
    labels = {name: _labels(root / name, scan) for name in arms}
    found = [class_id for class_id in CLASS_IDS if (labels[PLAIN] == class_id).any()]
    engines = [name for name in arms if name != PLAIN]
    return {
        "shape": list(open_volume(scan).shape),
        "told": told,
        "stages": stages,
        "classes": len(found),
        "arms": {name: summarize_runs(part) for name, part in runs.items()},
        "faster": {name: _ratios(runs[PLAIN], runs[name], "wall_s") for name in engines},
        "memory_share": {name: _share(_peak(runs[name]), _peak(runs[PLAIN])) for name in engines},
        "dsc": {
            name: float(np.mean([dice(labels[name] == one, labels[PLAIN] == one) for one in found])) if found else None
            for name in engines
        },
    }


def _labels(folder: Path, scan: str) -> np.ndarray:
    """What an arm has written for a scan; SaveImage makes a folder of each."""
    (path,) = folder.rglob(Path(scan).name)
    return read_label_map(path)[0]


def _ratios(plain: Sequence[Mapping], ours: Sequence[Mapping], figure: str) -> dict:
    ratios = [{"ratio": slow[figure] / fast[figure]} for slow, fast in zip(plain, ours, strict=True)]
    return summarize_runs(ratios)["ratio"]


def _peak(runs: Sequence[Mapping]) -> float | None:
    """Most memory in any of the runs; None if all were over before the first sample."""
    return max((run["host"]["peak_mb"] for run in runs if run["host"]), default=None)


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or whole is None else round(part / whole, 3)


def format_peers(result: Mapping) -> str:
    """The figures as tables for the terminal: medians, with the least and the most."""
    rows = [["slices", "arm", "s a case", "peak MB", "times as fast", "share of memory", "DSC with plain"]]
    for length, part in result["lengths"].items():
        for name, figures in part["arms"].items():
            peak, faster = figures.get("host_peak_mb"), part["faster"].get(name)
            row = [str(length), name, _told(figures["wall_s"]), "-" if peak is None else f"{peak['most']:.0f}"]
            row.append("-" if faster is None else _told(faster))
            row += ["-" if value is None else f"{value:.4g}" for value in (part[key].get(name) for key in AGREEMENTS)]
            rows.append(row)
    lines = [columns(rows), ""]
    for length, part in result["lengths"].items():
        lines += [f"{length} slices: {line}" for line in part["told"]]
        lines.append(f"{length} slices: {part['classes']} classes found")
        for name, stages in part["stages"].items():
            told = ", ".join(f"{stage} {spent:g}" for stage, spent in stages.items())
            lines.append(f"{length} slices: {name}: seconds under a profiler: {told}")
    return "\n".join(lines)


def _told(spread: Mapping) -> str:
    return f"{spread['median']:.2f} [{spread['least']:.2f}, {spread['most']:.2f}]"
