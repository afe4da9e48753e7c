"""The rules of the official FLARE23 script written down plainly, on DeepMind's surface-distance."""

import numpy as np
from surface_distance import compute_surface_dice_at_tolerance, compute_surface_distances

TOLERANCES = dict(enumerate([5, 3, 3, 5, 2, 2, 2, 2, 2, 3, 5, 7, 3, 2], start=1))


def official_scores(prediction, reference, spacing):
    scores = {}
    for class_id in range(1, 15):
        predicted, true = prediction == class_id, reference == class_id
        if not predicted.any() or not true.any():
            dsc = nsd = float(predicted.any() == true.any())
        else:
            if class_id in (5, 6, 10):
                slices = np.where(true)[2]
                predicted, true = (mask[:, :, slices.min() : slices.max()] for mask in (predicted, true))
            dsc = 2 * (predicted & true).sum() / (predicted.sum() + true.sum())
            nsd = 0
            if dsc >= 0.2:
                distances = compute_surface_distances(true, predicted, spacing)
                nsd = compute_surface_dice_at_tolerance(distances, TOLERANCES[class_id])
        scores[class_id] = {"dsc": round(dsc, 4), "nsd": round(nsd, 4)}
    return scores


def official_means(cases):
    """Means of ``{case: {class id: {"dsc", "nsd"}}}`` as the script prints them: by class, of the organs."""
    means = {
        class_id: {key: round(np.mean([case[class_id][key] for case in cases.values()]), 4) for key in ("dsc", "nsd")}
        for class_id in TOLERANCES
    }
    organs = {key: round(np.mean([means[class_id][key] for class_id in range(1, 14)]), 4) for key in ("dsc", "nsd")}
    return means, organs
