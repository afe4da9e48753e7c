"""The coarse-to-fine student beside a plain MONAI pipeline of the same networks: time, memory and agreement."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import torch

from abdoseg.files import CaseError
from abdoseg.inferers.engines import Engine
from abdoseg.label_maps import read_label_map
from tools.benchmark_scans import scans_of_lengths
from tools.predictor import Predictor
from tools.turns import compare_by_turns, format_turns
from tools.warm_process import WarmProcess, predictor_for

PLAIN = "plain MONAI"
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
    slices: Sequence[int] | None,
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
    slices : lengths; None takes the scan as it is.
    engines : of `ENGINES`; None: see `default_engines`.
    pause, gpu : see `WarmProcess`.

    Returns
    -------
    ``{"bundle", "weights", "scan", "threads", "pause_s", "lengths": {slices: see `compare_by_turns`, and "told": what
    the project logs, "stages": {engine: {stage: s}}}, "failed": {slices: reason}}``; a length that fails after one that
    did not, as for want of memory, costs the others nothing.

    Raises
    ------
    CaseError
        For an unknown engine or another kind of bundle, or if an arm fails at the first length.
    """
    engines = list(engines or default_engines(overrides))
    if unknown := [name for name in engines if name not in ENGINES]:
        raise CaseError(f"Unknown engine {unknown[0]!r}. Use {', '.join(map(repr, ENGINES))}.")
    bundle, weights = str(Path(bundle).absolute()), str(Path(weights).absolute()) if weights else None
    makers = {name: partial(predictor_for, bundle, weights, {**overrides, **ENGINES[name]}) for name in engines}
    makers[PLAIN] = partial(plain_for, bundle, weights, dict(overrides))
    lengths, failed = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for length, path in scans_of_lengths(Path(scan), slices, Path(folder)).items():
            try:
                lengths[length] = _measure(makers, path, Path(folder), repeats, pause, gpu)
            except CaseError as error:
                if not lengths:  # as a rule a wrong option, which all lengths share
                    raise
                failed[f"{length} slices"] = str(error)
    return {
        "bundle": bundle,
        "weights": weights,
        "scan": str(scan),
        "threads": torch.get_num_threads(),
        "pause_s": pause,
        "lengths": lengths,
        "failed": failed,
    }


def default_engines(overrides: Mapping) -> list[str]:
    """Engines to measure where none are named: PyTorch in float32, and OpenVINO where it can run the networks."""
    device = torch.device(overrides.get("device") or ("cuda" if torch.cuda.is_available() else "cpu"))
    return [*(["openvino"] if Engine("auto").name_on(device) == "openvino" else []), "float32"]


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


def _measure(makers: Mapping[str, Callable], scan: str, root: Path, repeats: int, pause: float, gpu: int) -> dict:
    """All figures of one scan; its processes are its own, so that peaks are those of its length."""
    with ExitStack() as stack:
        arms = {
            name: stack.enter_context(WarmProcess(partial(make, str(root / name)), pause, gpu))
            for name, make in makers.items()
        }
        compared = compare_by_turns(arms, scan, repeats, PLAIN, lambda name: _labels(root / name, scan))
        stages, told = {}, []
        for name, arm in arms.items():
            if name != PLAIN:
                stages[name], told = arm.stages(scan)
    return {**compared, "told": told, "stages": stages}


def _labels(folder: Path, scan: str) -> np.ndarray:
    """What an arm has written for a scan; SaveImage makes a folder of each."""
    (path,) = folder.rglob(Path(scan).name)
    return read_label_map(path)[0]


def format_peers(result: Mapping) -> str:
    """The figures as a table for the terminal, and what the project tells of each scan."""
    lines = [format_turns(result["lengths"])]
    for length, part in result["lengths"].items():
        lines += [f"{length} slices: {line}" for line in part["told"]]
        for name, stages in part["stages"].items():
            told = ", ".join(f"{stage} {spent:g}" for stage, spent in stages.items())
            lines.append(f"{length} slices: {name}: seconds under a profiler: {told}")
    return "\n".join(lines)
