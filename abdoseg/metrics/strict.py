"""Scores of one case without the quirks of the official FLARE23 rules: DSC, NSD and volumes of what somebody drew."""

from collections.abc import Iterable, Sequence

import numpy as np

from abdoseg.labels import CLASS_IDS, TOLERANCES_MM, TUBULAR_IDS
from abdoseg.metrics.flare import Box, check_label_maps, class_boxes, dice, joint_box
from abdoseg.metrics.surface import surface_dsc

MM3_PER_ML = 1000
# Of scores and volumes of a case; differences below it are rounding errors.
CASE_DECIMALS = 6


def strict_scores(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float], annotated: Iterable[int] = CLASS_IDS
) -> dict[int, dict]:
    """Score the classes that somebody looked for in a case.

    Unlike the official rules (`flare_scores`):

    - a class that nobody looked for is not scored, and one that is rightly or wrongly absent from the reference has no
      DSC or NSD: what is predicted of it is a false positive, told by its volume;
    - aorta, inferior vena cava and esophagus are cut to all slices of the reference, the last one with them, also where
      there is one only; what is predicted beyond, and so never scored, is told by its volume;
    - NSD is the surface DSC at the class's tolerance, however low the DSC is.

    Parameters
    ----------
    prediction, reference : integer label maps (x, y, z) in RAS orientation, of the same shape.
    spacing : voxel size in mm along (x, y, z).
    annotated : ids of the classes that somebody looked for.

    Returns
    -------
    ``{class id: {"present": bool, "dsc": float or None, "nsd": float or None, "true_ml", "predicted_ml"}}``; tubular
    organs that are present have also ``"outside_ml"``: what is predicted beyond the reference's slices, which is not in
    ``"predicted_ml"``.

    Raises
    ------
    ValueError
        If the shapes differ, the arrays are not 3-D integers or the spacing is not three positive numbers.
    """
    check_label_maps(prediction, reference, spacing)
    predicted_boxes, reference_boxes = class_boxes(prediction), class_boxes(reference)
    ml = float(np.prod(spacing)) / MM3_PER_ML
    scores = {}
    for class_id in annotated:
        predicted_box, reference_box = predicted_boxes.get(class_id), reference_boxes.get(class_id)
        whole = 0 if predicted_box is None else np.count_nonzero(prediction[predicted_box] == class_id)
        score = {"present": reference_box is not None, "dsc": None, "nsd": None}
        score |= {"true_ml": 0.0, "predicted_ml": whole * ml}
        if reference_box is not None:
            box = _scored_box(class_id, predicted_box or reference_box, reference_box)
            found, true = prediction[box] == class_id, reference[box] == class_id
            score["dsc"] = dice(found, true)
            score["nsd"] = surface_dsc(found, true, spacing, TOLERANCES_MM[class_id])
            score["true_ml"], score["predicted_ml"] = np.count_nonzero(true) * ml, np.count_nonzero(found) * ml
            if class_id in TUBULAR_IDS:
                score["outside_ml"] = whole * ml - score["predicted_ml"]
        scores[class_id] = {
            key: value if value is None or key == "present" else round(float(value), CASE_DECIMALS)
            for key, value in score.items()
        }
    return scores


def _scored_box(class_id: int, predicted_box: Box, reference_box: Box) -> Box:
    box = joint_box(predicted_box, reference_box)
    return (*box[:2], reference_box[2]) if class_id in TUBULAR_IDS else box
