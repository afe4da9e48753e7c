"""The ids of a tissue map, and which class each of them is in a label map."""

import numpy as np

from abdoseg.labels import NAMES, ORGAN_IDS, TUMOR_ID
from abdoseg.phantom.structures import (
    BONE,
    CARTILAGE,
    COLON,
    FAT,
    LUNG,
    MUSCLE,
    OTHER,
    SMALL_BOWEL,
    TABLE,
    TISSUES,
    TUMOR,
    VESSEL,
)

OUTSIDE, BLADDER, TRACHEA, ARM = 0, 20, 21, 27
LIVER, RIGHT_KIDNEY, SPLEEN, PANCREAS, AORTA, CAVA = 1, 2, 3, 4, 5, 6
GALLBLADDER, ESOPHAGUS, STOMACH, DUODENUM, LEFT_KIDNEY = 9, 10, 11, 12, 13
KIDNEYS = (RIGHT_KIDNEY, LEFT_KIDNEY)
ADRENALS = (7, 8)
COUNT = 28  # ids are below it

# Organs are 1..13 as in label maps; the rest is the phantom's legend with two more tissues.
TISSUE_NAMES: dict[int, str] = {
    **{organ: NAMES[organ] for organ in ORGAN_IDS},
    **TISSUES,
    BLADDER: "urinary bladder",
    TRACHEA: "trachea",
    ARM: "arm",
}

_CLASSES = np.zeros(COUNT, np.uint8)
_CLASSES[list(ORGAN_IDS)] = ORGAN_IDS
_CLASSES[TUMOR] = TUMOR_ID

__all__ = [
    "ADRENALS",
    "AORTA",
    "ARM",
    "BLADDER",
    "BONE",
    "CARTILAGE",
    "CAVA",
    "COLON",
    "COUNT",
    "DUODENUM",
    "ESOPHAGUS",
    "FAT",
    "GALLBLADDER",
    "KIDNEYS",
    "LEFT_KIDNEY",
    "LIVER",
    "LUNG",
    "MUSCLE",
    "OTHER",
    "OUTSIDE",
    "PANCREAS",
    "RIGHT_KIDNEY",
    "SMALL_BOWEL",
    "SPLEEN",
    "STOMACH",
    "TABLE",
    "TISSUE_NAMES",
    "TRACHEA",
    "TUMOR",
    "VESSEL",
    "labels_of",
]


def labels_of(tissues: np.ndarray) -> np.ndarray:
    """Label map of a tissue map: organs keep their ids, a tumor becomes 14, all else is background.

    Parameters
    ----------
    tissues : (x, y, z) uint8.

    Returns
    -------
    (x, y, z) uint8, ids 0..14.
    """
    return _CLASSES[tissues]
