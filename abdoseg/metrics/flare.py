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

    Where a tubular organ of the reference lives in a single slice (`single_slice_tubes`), rule 3 leaves nothing and the
    official script stops with an error: there is no official score. Here that slice is kept and scored.

    Parameters
    ----------
    prediction, reference : integer label maps (x, y, z) of the same shape, with z up the body (the last axis of an
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
    check_label_maps(prediction, reference, spacing)
    predicted_boxes, reference_boxes = class_boxes(prediction), class_boxes(reference)
    scores = {}
    for class_id in classes:
        predicted_box, reference_box = predicted_boxes.get(class_id), reference_boxes.get(class_id)
        if predicted_box is None or reference_box is None:
            dsc = nsd = float(predicted_box is reference_box)
        else:
            box = joint_box(predicted_box, reference_box)
            if class_id in TUBULAR_IDS:
                box = (*box[:2], _scored_slices(reference_box[2]))
            dsc, nsd = _mask_scores(prediction[box] == class_id, reference[box] == class_id, spacing, class_id)
        scores[class_id] = {"dsc": rounded(dsc), "nsd": rounded(nsd)}
    return scores


def single_slice_tubes(prediction: np.ndarray, reference: np.ndarray) -> list[int]:
    """Ids of the tubular organs on which the official script stops: in both maps, in one slice of the reference."""
    boxes = class_boxes(reference)
    shallow = [name for name in TUBULAR_IDS if name in boxes and boxes[name][2].stop - boxes[name][2].start == 1]
    return [class_id for class_id in shallow if (prediction == class_id).any()]


def rounded(value: float) -> float:
    """Four decimals, as NumPy rounds: the official script rounds NumPy's numbers, which Python would round otherwise.

    For example 0.10005 becomes 0.1 here and 0.1001 by Python's `round`.
    """
    return float(np.round(value, DECIMALS))


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


def class_boxes(label_map: np.ndarray) -> dict[int, Box]:
    """Bounding box of each class that a label map (x, y, z) contains."""
    return {index: box for index, box in enumerate(find_objects(label_map), start=1) if box is not None}


def joint_box(first: Box, second: Box) -> Box:
    """Smallest box around two boxes."""
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))


def _scored_slices(extent: slice) -> slice:
    return slice(extent.start, max(extent.stop - 1, extent.start + 1))


def check_label_maps(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> None:
    """Raise the ValueError that `flare_scores` tells of."""
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
