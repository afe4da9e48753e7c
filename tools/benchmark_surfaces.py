"""How fast surfaces are compared at full resolution, against DeepMind's surface-distance, in one run on one core."""

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from surface_distance import compute_surface_dice_at_tolerance, compute_surface_distances
from tqdm import tqdm

from abdoseg.files import CaseError
from abdoseg.label_maps import read_label_map
from abdoseg.labels import NAMES, TOLERANCES_MM
from abdoseg.metrics import surface_dsc, to_ras
from abdoseg.metrics.flare import class_boxes, joint_box
from abdoseg.phantom import PhantomSettings, make_case
from tools.score_tables import columns

SEED = 5
# The prediction is the truth as a network at a third of its resolution in-plane would give it at best, moved along each
# axis by so much that some of each surface lies beyond its tolerance.
COARSER = 3
SHIFT_MM = 3
RANGES = {"ours": "ours_s", "package": "package_s", "ratio": "ratios"}


def benchmark_surfaces(labels: str | None, repeats: int) -> dict:
    """Time the surface DSC of each class of one scan, both ways by turns.

    Parameters
    ----------
    labels : label map; None makes a phantom of 512 x 512 voxels in-plane.
    repeats : how often each is timed.

    Returns
    -------
    ``{"labels", "shape", "spacing_mm", "repeats", "classes": {name: {"ours_s", "package_s": [seconds], "difference"}},
    "ours_s", "package_s": [sums], "ratio": of the medians, "ratios": [of each turn], "largest_difference"}``; the
    classes are those of the label map, cut to the box around truth and prediction; reading is not timed.

    Raises
    ------
    CaseError
        If the label map cannot be read or has no class.
    """
    truth, spacing = _truth(labels)
    prediction = _predicted(truth, spacing)
    boxes, predicted_boxes = class_boxes(truth), class_boxes(prediction)
    classes = {}
    for class_id in tqdm(sorted(boxes.keys() & predicted_boxes.keys()), desc="surfaces", unit="class"):
        box = joint_box(boxes[class_id], predicted_boxes[class_id])
        masks = truth[box] == class_id, prediction[box] == class_id
        classes[NAMES[class_id]] = _time_class(*masks, spacing, TOLERANCES_MM[class_id], repeats)
    if not classes:
        raise CaseError(f"{labels}: no class to compare; give a label map with organs, larger than {SHIFT_MM} mm.")
    sums = {key: np.sum([entry[key] for entry in classes.values()], axis=0) for key in ("ours_s", "package_s")}
    return {
        "labels": labels or f"phantom, seed {SEED}",
        "shape": list(truth.shape),
        "spacing_mm": [round(size, 4) for size in spacing],
        "repeats": repeats,
        "classes": classes,
        **{key: [round(float(value), 4) for value in values] for key, values in sums.items()},
        "ratio": round(float(np.median(sums["package_s"]) / np.median(sums["ours_s"])), 2),
        "ratios": [round(float(ratio), 2) for ratio in sums["package_s"] / sums["ours_s"]],
        "largest_difference": max(entry["difference"] for entry in classes.values()),
    }


def _truth(labels: str | None) -> tuple[np.ndarray, Sequence[float]]:
    if labels is None:
        case = make_case(SEED, PhantomSettings(size="full", tumors=True, missing=frozenset(), orientation="RAS"))
        return to_ras(case.truth, case.affine)
    volume, image = read_label_map(Path(labels))
    return to_ras(volume, image.affine)


def _predicted(labels: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    nearest = [np.minimum(np.arange(size) // COARSER * COARSER + COARSER // 2, size - 1) for size in labels.shape[:2]]
    x, y, z = (max(1, round(SHIFT_MM / size)) for size in spacing)
    moved = np.zeros_like(labels)
    moved[x:, y:, z:] = labels[np.ix_(*nearest)][:-x, :-y, :-z]
    return moved


def _time_class(
    truth: np.ndarray, prediction: np.ndarray, spacing: Sequence[float], tolerance: float, repeats: int
) -> dict:
    def ours() -> float:
        return surface_dsc(prediction, truth, spacing, tolerance)

    def package() -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return compute_surface_dice_at_tolerance(compute_surface_distances(truth, prediction, spacing), tolerance)

    times = {"ours_s": [], "package_s": []}
    values = {}
    for _ in range(repeats):
        for name, function in (("ours_s", ours), ("package_s", package)):
            values[name], seconds = _timed(function)
            times[name].append(round(seconds, 4))
    return {**times, "difference": abs(values["ours_s"] - values["package_s"])}


def _timed(function: Callable[[], float]) -> tuple[float, float]:
    start = time.process_time()
    value = function()
    return float(value), time.process_time() - start


def format_surfaces(result: dict) -> str:
    """The times as a table for the terminal."""
    rows = [["class", "ours s", "package s", "ratio", "difference"]]
    for name, entry in result["classes"].items():
        ours, package = (float(np.median(entry[key])) for key in ("ours_s", "package_s"))
        rows.append([name, f"{ours:.3f}", f"{package:.3f}", f"{package / ours:.1f}", f"{entry['difference']:.1e}"])
    totals = [f"{np.median(result[key]):.2f}" for key in ("ours_s", "package_s")]
    rows.append(["all", *totals, f"{result['ratio']:.1f}", f"{result['largest_difference']:.1e}"])
    shape, spacing = ("x".join(map(str, result[key])) for key in ("shape", "spacing_mm"))
    lines = [f"{result['labels']}: {shape} voxels of {spacing} mm; medians of {result['repeats']}, processor time"]
    ranges = [f"{title} {min(result[key])} to {max(result[key])}" for title, key in RANGES.items()]
    return "\n".join([*lines, columns(rows), "; ".join(ranges)])
