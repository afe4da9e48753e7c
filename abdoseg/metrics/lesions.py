"""Tumors found, missed and made up: each focus counted, instead of all voxels together."""

from collections.abc import Mapping

import numpy as np
from scipy.ndimage import find_objects
from scipy.optimize import linear_sum_assignment

from abdoseg.labels import TUMOR_ID
from abdoseg.metrics.intervals import bootstrap_interval
from abdoseg.metrics.strict import CASE_DECIMALS
from abdoseg.tumors.components import connected_foci

# Of nnDetection (Baumgartner et al. 2021) and PI-CAI: for a rough place, as asked of small things in 3-D scans.
SMALLEST_IOU = 0.1
# Diameters in mm of the ball of the same volume. From 10 mm on RECIST 1.1 measures a tumor in CT.
SIZE_CLASSES = {"below 10 mm": (0, 10), "10 to 20 mm": (10, 20), "20 mm and above": (20, np.inf)}


def match_lesions(prediction: np.ndarray, reference: np.ndarray, voxel_ml: float) -> dict[str, list[dict]]:
    """Pair the tumor foci of a prediction with those of the reference.

    A focus is a 26-connected component. One predicted and one true focus are a pair if their intersection over union is
    at least 0.1; where a focus has a choice, the pairs of the largest sum of overlaps are taken, each focus in one pair
    at most. A true focus in a pair is detected; a predicted one in no pair is a false positive, also where it touches a
    tumor that another one has been paired with.

    Parameters
    ----------
    prediction, reference : (x, y, z) label maps.
    voxel_ml : volume of a voxel in mL.

    Returns
    -------
    ``{"true": [{"ml", "mm": diameter of the ball of this volume, "iou": with its pair, 0 if missed}],
    "false_positives": [{"ml", "mm"}]}``, the largest first.
    """
    (box,) = find_objects(((prediction == TUMOR_ID) | (reference == TUMOR_ID)).view(np.uint8)) or (None,)
    if box is None:
        return {"true": [], "false_positives": []}
    found, found_voxels = _foci(prediction[box])
    true, true_voxels = _foci(reference[box])
    overlap = np.zeros((len(true_voxels), len(found_voxels)))
    both = (found > 0) & (true > 0)
    np.add.at(overlap, (true[both] - 1, found[both] - 1), 1)
    union = true_voxels[:, None] + found_voxels - overlap
    iou = np.where(overlap >= SMALLEST_IOU * union, overlap / union, 0)
    rows, columns = linear_sum_assignment(iou, maximize=True)
    pairs = {row: column for row, column in zip(rows.tolist(), columns.tolist(), strict=True) if iou[row, column] > 0}
    detected = [
        {**_size(voxels * voxel_ml), "iou": round(float(iou[row, pairs[row]]), CASE_DECIMALS) if row in pairs else 0.0}
        for row, voxels in enumerate(true_voxels)
    ]
    unpaired = set(range(len(found_voxels))) - set(pairs.values())
    made_up = [_size(found_voxels[column] * voxel_ml) for column in sorted(unpaired)]
    return {
        key: sorted(foci, key=lambda focus: -focus["ml"])
        for key, foci in (("true", detected), ("false_positives", made_up))
    }


def _foci(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Map of the tumor's components 1..n, as signed integers, and their sizes in voxels."""
    components, count = connected_foci(labels == TUMOR_ID)
    components = components.astype(np.int64)
    return components, np.bincount(components.ravel(), minlength=count + 1)[1:]


def _size(ml: float) -> dict[str, float]:
    diameter = (6000 * ml / np.pi) ** (1 / 3)
    return {"ml": round(float(ml), CASE_DECIMALS), "mm": round(float(diameter), CASE_DECIMALS)}


def summarize_lesions(cases: Mapping[str, Mapping[str, list[dict]]]) -> dict:
    """Sensitivity and false positives over many cases, and by size.

    A missed or found tumor counts in the class of its own size, a false positive in that of its predicted size.

    Parameters
    ----------
    cases : ``{case id: see match_lesions}`` of the scans in which somebody looked for tumors.

    Returns
    -------
    ``{"scans", "lesions", "detected", "sensitivity", "sensitivity_interval", "false_positives",
    "false_positives_per_scan", "false_positives_interval", "sizes": {size class: {"lesions", "detected", "sensitivity",
    "false_positives", "false_positives_per_scan"}}, "tumor_free": {"scans", "with_false_positives", "false_positives",
    "mean_ml", "largest_ml"}}``. The 95 % intervals are bootstraps over scans. "tumor_free" is about the scans without a
    tumor: how many of them were given one, and its volume in the mean over them all. A figure over nothing is None.
    """
    counts = np.array([_counts(lesions) for lesions in cases.values()]).reshape(-1, 3)
    with_tumor = counts[counts[:, 0] > 0]
    sizes = {
        title: _rates(np.array([_counts(lesions, *limits) for lesions in cases.values()]).reshape(-1, 3))
        for title, limits in SIZE_CLASSES.items()
    }
    free = [lesions["false_positives"] for lesions in cases.values() if not lesions["true"]]
    volumes = [sum(focus["ml"] for focus in foci) for foci in free]
    return {
        "scans": len(cases),
        **_rates(counts),
        "sensitivity_interval": bootstrap_interval(
            lambda scans: with_tumor[scans, 1].sum(axis=-1) / with_tumor[scans, 0].sum(axis=-1), len(with_tumor)
        ),
        "false_positives_interval": bootstrap_interval(lambda scans: counts[scans, 2].mean(axis=-1), len(cases)),
        "sizes": sizes,
        "tumor_free": {
            "scans": len(free),
            "with_false_positives": sum(map(bool, free)),
            "false_positives": sum(map(len, free)),
            "mean_ml": round(float(np.mean(volumes)), 3) if free else None,
            "largest_ml": round(max(volumes), 3) if free else None,
        },
    }


def _counts(lesions: Mapping[str, list[dict]], lower: float = 0, upper: float = np.inf) -> tuple[int, int, int]:
    """Numbers of true, detected and made-up foci of a case with a diameter in ``lower <= mm < upper``."""
    true, made_up = (
        [focus for focus in lesions[key] if lower <= focus["mm"] < upper] for key in ("true", "false_positives")
    )
    return len(true), sum(focus["iou"] > 0 for focus in true), len(made_up)


def _rates(counts: np.ndarray) -> dict:
    lesions, detected, made_up = (int(total) for total in counts.sum(axis=0))
    return {
        "lesions": lesions,
        "detected": detected,
        "sensitivity": round(detected / lesions, 4) if lesions else None,
        "false_positives": made_up,
        "false_positives_per_scan": round(made_up / len(counts), 4) if len(counts) else None,
    }
