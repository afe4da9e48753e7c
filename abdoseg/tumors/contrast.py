"""Is a scan contrast-enhanced? The aorta's median says so; paper B looks for kidney tumors in no other scan."""

import numpy as np

from abdoseg.tumors.aorta import AORTA_ID

# A scan is enhanced from this median on: paper B's inference script, not its text (papers-spec.md 3.6).
ENHANCED_HU = 89.0


def aorta_median_hu(image: np.ndarray, labels: np.ndarray) -> float | None:
    """Give the median of the image in the aorta, in HU; None where there is no aorta.

    Parameters
    ----------
    image : (x, y, z), HU.
    labels : (x, y, z) uint8, 0..14.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if image.shape != labels.shape:
        raise ValueError(f"The image has the shape {image.shape}, its labels {labels.shape}; they must agree.")
    values = np.asarray(image)[labels == AORTA_ID]
    return float(np.median(values)) if values.size else None
