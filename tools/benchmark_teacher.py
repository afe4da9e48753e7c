"""The teacher beside nnunetv2's predictor, same weights, same scan: time, memory and agreement."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from abdoseg.files import CaseError
from abdoseg.label_maps import open_volume, read_label_map
from abdoseg.labels import NAMES
from abdoseg.metrics import dice
from abdoseg.networks import ARCHITECTURE_FILE, read_architecture
from tools.benchmark_predict import summarize_runs
from tools.benchmark_scans import scans_of_lengths
from tools.chain import BUNDLES
from tools.import_ import import_
from tools.nnunet_peer import NnunetPeer, write_nnunet_model
from tools.score_tables import columns
from tools.warm_process import WarmProcess, predictor_for

PEER = "nnunetv2"


def benchmark_teacher(
    weights: str,
    scan: str,
    repeats: int = 3,
    slices: Sequence[int] | None = None,
    arms: Mapping[str, Mapping] | None = None,
    pause: float = 0.1,
    gpu: int = 0,
    fold: int | str = 0,
    orientation: str | None = None,
    class_map: str | None = None,
) -> dict:
    """Label one scan by turns with nnunetv2's predictor and with the teacher, each in a warm process of its own.

    Without test-time augmentation, from file to file, the first scan of each not counted. The teacher follows nnU-Net
    to the letter: its resampling, its windows, no components.

    Parameters
    ----------
    weights : folder with ``model.pt`` and ``architecture.json`` of a teacher of this project's own training, which is
        written as an nnU-Net model for the purpose; or the folder of a model that nnU-Net has trained (plans.json).
    scan : NIfTI file.
    repeats : rounds.
    slices : lengths that the scan is brought to, see `scans_of_lengths`; None takes it as it is.
    arms : name -> values of the teacher's inference.yaml; None: one arm, "teacher", with none.
    pause, gpu : see `WarmProcess`.
    fold, orientation, class_map : of a model that nnU-Net has trained, as `import` takes them.

    Returns
    -------
    ``{"weights", "scan", "threads", "pause_s", "lengths": {slices: {"shape", "arms": {arm: {figure: spread}}, "faster":
    {arm: {"median", ...}} paired by round, "memory_share": {arm: peak / peak}, "dsc": {arm: {class: value}}, over the
    classes that nnunetv2 has found, "mean_dsc": {arm: their mean}}}}``

    Raises
    ------
    CaseError
        If the weights are of another kind, or an arm fails.
    """
    arms = arms or {"teacher": {}}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        root = Path(folder)
        model = Path(weights).absolute()
        if not (model / "plans.json").is_file():
            model, fold, orientation = root / "model", 0, None
            write_nnunet_model(Path(weights), model)
        imported = str(root / "weights")
        import_("nnunet", str(model), imported, str(fold), class_map=class_map, orientation=orientation)
        makers = {PEER: partial(NnunetPeer, str(model), fold, device)}
        for name, values in arms.items():
            settings = {"mirror_axes": [], "components": None, **values}
            makers[name] = partial(predictor_for, str(BUNDLES / "teacher_nnunet"), imported, settings)
        scans = _scans(Path(scan), slices, root)
        processes = {
            name: stack.enter_context(WarmProcess(partial(make, str(root / name)), pause, gpu))
            for name, make in makers.items()
        }
        ids = _class_ids(model, Path(imported))
        lengths = {length: _measure(processes, path, root, repeats, ids) for length, path in scans.items()}
    return {
        "weights": str(Path(weights).absolute()),
        "scan": str(scan),
        "threads": torch.get_num_threads(),
        "pause_s": pause,
        "lengths": lengths,
    }


def _scans(scan: Path, slices: Sequence[int] | None, folder: Path) -> dict[int, str]:
    """Slices -> file, whose name nnU-Net can take: it knows no .nii."""
    if slices is not None:
        return scans_of_lengths(scan, slices, folder)
    image = open_volume(scan)
    path = folder / "scan.nii.gz"
    if scan.name.endswith(".nii.gz"):
        path.symlink_to(scan.absolute())
    else:
        nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header), path)
    return {image.shape[2]: str(path)}


def _class_ids(model: Path, imported: Path) -> np.ndarray:
    """Give our class id of each label of an nnU-Net model."""
    recipe = read_architecture(imported / ARCHITECTURE_FILE, None)["plan"]["imported"]
    ours = dict(zip(recipe["class_names"], recipe["class_ids"], strict=True))
    labels = json.loads((model / "dataset.json").read_text())["labels"]
    ids = np.zeros(256, dtype=np.uint8)
    for name, value in labels.items():
        ids[int(value)] = ours.get(name, 0)
    return ids


def _measure(processes: Mapping[str, WarmProcess], scan: str, root: Path, repeats: int, class_ids: np.ndarray) -> dict:
    for process in processes.values():
        process.label(scan)
    runs: dict[str, list] = {name: [] for name in processes}
    for number in range(1, repeats + 1):
        for name, process in processes.items():
            runs[name].append(process.label(scan))
            print(f"{Path(scan).name}: {name} {number}/{repeats}: {runs[name][-1]['wall_s']} s", flush=True)
    wanted = class_ids[read_label_map(root / PEER / Path(scan).name)[0]]
    found = [int(value) for value in np.unique(wanted) if value]
    if not found:
        raise CaseError(f"{scan}: nnunetv2 finds no class of ours in it, so that there is nothing to agree about.")
    dsc, faster, share = {}, {}, {}
    peaks = {name: _peak(part) for name, part in runs.items()}
    for name in processes:
        if name == PEER:
            continue
        labels = read_label_map(root / name / Path(scan).name)[0]
        dsc[name] = {NAMES[value]: dice(labels == value, wanted == value) for value in found}
        pairs = zip(runs[PEER], runs[name], strict=True)
        faster[name] = summarize_runs([{"ratio": theirs["wall_s"] / ours["wall_s"]} for theirs, ours in pairs])["ratio"]
        both = peaks[name] and peaks[PEER]
        share[name] = round(peaks[name] / peaks[PEER], 3) if both else None
    return {
        "shape": list(open_volume(scan).shape),
        "arms": {name: summarize_runs(part) for name, part in runs.items()},
        "faster": faster,
        "memory_share": share,
        "dsc": dsc,
        "mean_dsc": {name: float(np.mean(list(part.values()))) for name, part in dsc.items()},
    }


def _peak(runs: Sequence[Mapping]) -> float | None:
    """Most memory in any of the runs; None if all were over before the first sample."""
    return max((run["host"]["peak_mb"] for run in runs if run["host"]), default=None)


def format_teacher(result: Mapping) -> str:
    """The figures as a table for the terminal: medians, with the least and the most."""
    rows = [["slices", "arm", "s a case", "peak MB", "times as fast", "share of memory", "mean DSC", "least DSC"]]
    for length, part in result["lengths"].items():
        for name, figures in part["arms"].items():
            peak, faster, dsc = figures.get("host_peak_mb"), part["faster"].get(name), part["dsc"].get(name)
            row = [str(length), name, _told(figures["wall_s"]), "-" if peak is None else f"{peak['most']:.0f}"]
            row.append("-" if faster is None else _told(faster))
            row.append(str(part["memory_share"].get(name) or "-"))
            row += ["-", "-"] if dsc is None else [f"{part['mean_dsc'][name]:.5f}", f"{min(dsc.values()):.5f}"]
            rows.append(row)
    classes = [
        f"{length} slices: {len(next(iter(part['dsc'].values())))} classes found"
        for length, part in result["lengths"].items()
    ]
    return "\n".join([columns(rows), *classes])


def _told(spread: Mapping) -> str:
    return f"{spread['median']:.2f} [{spread['least']:.2f}, {spread['most']:.2f}]"
