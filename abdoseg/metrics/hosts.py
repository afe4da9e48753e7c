"""Tumor DSC of one case by the family of host organs: liver, pancreas, kidneys, rest."""

from collections import Counter, defaultdict

import numpy as np

from abdoseg.labels import TUMOR_ID
from abdoseg.metrics.flare import DECIMALS
from abdoseg.tumors import EVERY_FAMILY, TumorFocus, family_of, tumor_foci


def score_tumors_by_host(prediction: np.ndarray, reference: np.ndarray) -> dict[str, dict]:
    """Score the tumors of a case apart, by the family of organs that they grow in.

    A true focus (26-connected) belongs to its host in the reference, see `tumor_foci`, however many foci there are. A
    predicted focus belongs, as a whole, to the family of the true focus that it shares most voxels with (of equals: the
    first family); one that touches no true focus, to its host in the prediction. The DSC of a family is that of all its
    voxels. How the scan is stored does not matter.

    Parameters
    ----------
    prediction, reference : (x, y, z) uint8 label maps, 0..14, of the same shape.

    Returns
    -------
    ``{family: {"dsc": float or None, "present": bool, "true_voxels": int, "predicted_voxels": int}}``, in the order of
    ``FAMILIES``, then "rest". ``present``: the reference has such a tumor; a family without one has no DSC, and all its
    predicted voxels are false. The DSC is rounded to 4 decimals.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"The prediction has shape {prediction.shape}, the reference {reference.shape}; give one.")
    true_components, true_foci = tumor_foci(reference, max_foci=None)
    found_components, found_foci = tumor_foci(prediction, max_foci=None)
    shared = _shared_voxels(found_components, true_components, (prediction == TUMOR_ID) & (reference == TUMOR_ID))
    true_family = {focus.index: family_of(focus.host) for focus in true_foci}
    true_voxels, found_voxels, hits = Counter(), Counter(), Counter()
    for focus in true_foci:
        true_voxels[true_family[focus.index]] += focus.voxels
    for focus in found_foci:
        family = _family_of_found(focus, shared[focus.index], true_family)
        found_voxels[family] += focus.voxels
        hits[family] += sum(voxels for index, voxels in shared[focus.index].items() if true_family[index] == family)
    scores = {}
    for family in EVERY_FAMILY:
        true, found = true_voxels[family], found_voxels[family]
        dsc = round(2 * hits[family] / (true + found), DECIMALS) if true else None
        scores[family] = {"dsc": dsc, "present": true > 0, "true_voxels": true, "predicted_voxels": found}
    return scores


def _shared_voxels(found: np.ndarray, true: np.ndarray, both: np.ndarray) -> dict[int, dict[int, int]]:
    """Predicted focus -> true focus -> number of voxels in both."""
    shared = defaultdict(dict)
    true_inside = true[both].astype(np.int64)
    base = int(true_inside.max(initial=0)) + 1
    pairs, counts = np.unique(found[both].astype(np.int64) * base + true_inside, return_counts=True)
    for pair, voxels in zip(pairs.tolist(), counts.tolist(), strict=True):
        shared[pair // base][pair % base] = voxels
    return shared


def _family_of_found(focus: TumorFocus, shared: dict[int, int], true_family: dict[int, str]) -> str:
    if not shared:
        return family_of(focus.host)
    most = max(shared.values())
    candidates = {true_family[index] for index, voxels in shared.items() if voxels == most}
    return next(family for family in EVERY_FAMILY if family in candidates)
