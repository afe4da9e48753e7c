"""Another contrast phase for the drawn organs of a real CT."""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from abdoseg.labels import ORGAN_IDS
from abdoseg.synthesis.contrast import Contrast, tissue_means
from abdoseg.synthesis.tissues import DUODENUM, ESOPHAGUS, STOMACH

# Their HU are those of what they hold, which the phase does not change.
HOLLOW = (STOMACH, DUODENUM, ESOPHAGUS)
EDGE_VOXELS = 0.7
FEWEST_VOXELS = 8


def recontrast(
    image: np.ndarray, label: np.ndarray, contrast: Contrast, organs: Sequence[int] = ORGAN_IDS
) -> np.ndarray:
    """Shift the organs of a scan so that each one's median becomes the mean that a contrast gives it.

    Texture and noise stay, and so does everything that nobody drew. In the outermost voxels of an organ the shift is
    smaller, as they are partly something else.

    Parameters
    ----------
    image : (x, y, z) HU.
    label : (x, y, z) integers 0..14.
    contrast : the phase to come.
    organs : ids to change; hollow organs stay in any case.

    Returns
    -------
    (x, y, z) float32.
    """
    means = tissue_means(contrast)
    shift = np.zeros(image.shape, np.float32)
    for organ in organs:
        mask = label == organ
        if organ in HOLLOW or np.count_nonzero(mask) < FEWEST_VOXELS:
            continue
        shift[mask] = means[organ] - np.median(image[mask])
    # Faded inside the organs alone, in proportion to how much of the neighborhood is shifted.
    blurred = gaussian_filter(shift, EDGE_VOXELS, truncate=2)
    faded = np.where(np.abs(blurred) < np.abs(shift), blurred, shift)
    return image.astype(np.float32) + faded
