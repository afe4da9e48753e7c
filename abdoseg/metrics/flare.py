"""DSC and NSD of one case by the rules of the official FLARE23 evaluation script."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.ndimage import find_objects

from abdoseg.labels import CLASS_IDS, TOLERANCES_MM, TUBULAR_IDS
from abdoseg.metrics.surface import surface_dsc

MINIMUM_DSC_FOR_NSD = 0.2
DECIMALS = 4

Box = tuple[slice, slice, slice]


def flare_scores(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float], classes: Iterable[int] = CLASS_IDS
) -> dict[int, dict[str, float]]:
    """Score a label map as the official FLARE23 script does.

    A class: (1) absent from both: DSC = NSD = 1; (2) absent from one: 0 and 0; (3) aorta, inferior vena cava and
    esophagus are first cut to the slices z_min <= z < z_max of the reference, so that its last slice is left out;
    (4) NSD is 0 where DSC < 0.2, else the surface DSC at the class's tolerance; (5) both are rounded to 4 decimals.

    One deviation: where a tubular organ of the reference lives in a single slice, rule 3 leaves nothing and the
    official script stops with an error. Here that slice is kept and scored.

    Parameters
    ----------
    prediction, reference : integer label maps (x, y, z) of the same shape, with z along the body (the last axis of an
        array in RAS orientation): rule 3 cuts along the last axis.
    spacing : voxel size in mm along (x, y, z).
    classes : ids to score.

    Returns
    -------
    ``{class id: {"dsc": float, "nsd": float}}``

    Raises
    ------
    ValueError
        If the shapes differ, the arrays are not 3-D integers or the spacing is not three positive numbers.
    """
    _check(prediction, reference, spacing)
    predicted_boxes, reference_boxes = _boxes(prediction), _boxes(reference)
    scores = {}
    for class_id in classes:
        predicted_box, reference_box = predicted_boxes.get(class_id), reference_boxes.get(class_id)
        if predicted_box is None or reference_box is None:
            dsc = nsd = float(predicted_box is reference_box)
        else:
            box = _union(predicted_box, reference_box)
            if class_id in TUBULAR_IDS:
                box = (*box[:2], _scored_slices(reference_box[2]))
            dsc, nsd = _mask_scores(prediction[box] == class_id, reference[box] == class_id, spacing, class_id)
        scores[class_id] = {"dsc": round(dsc, DECIMALS), "nsd": round(nsd, DECIMALS)}
    return scores


def case_presence(reference: np.ndarray) -> set[int]:
    """Class ids that a label map (any shape, integers) contains; the official rules score the others 1 or 0."""
    return {int(value) for value in np.unique(reference)} & set(CLASS_IDS)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice similarity coefficient 2|A n B| / (|A| + |B|) of two boolean masks; NaN if both are empty."""
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2 * np.count_nonzero(first & second) / total if total else float("nan")


def _mask_scores(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float], class_id: int
) -> tuple[float, float]:
    dsc = dice(prediction, reference)
    if dsc < MINIMUM_DSC_FOR_NSD:
        return dsc, 0.0
    return dsc, surface_dsc(prediction, reference, spacing, TOLERANCES_MM[class_id])


def _boxes(label_map: np.ndarray) -> dict[int, Box]:
    """Bounding box of each class that is present."""
    return {index: box for index, box in enumerate(find_objects(label_map), start=1) if box is not None}


def _union(first: Box, second: Box) -> Box:
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))


def _scored_slices(extent: slice) -> slice:
    return slice(extent.start, max(extent.stop - 1, extent.start + 1))


def _check(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> None:
    if prediction.shape != reference.shape or reference.ndim != 3:
        raise ValueError(
            f"The prediction has shape {prediction.shape}, the reference {reference.shape}; give 3-D label maps of one "
            "shape."
        )
    for name, array in (("prediction", prediction), ("reference", reference)):
        if not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"The {name} has dtype {array.dtype}; give label maps of integers.")
    if len(spacing) != 3 or not all(np.isfinite(size) and size > 0 for size in spacing):
        raise ValueError(f"The spacing is {tuple(spacing)}; give three positive voxel sizes in mm.")
