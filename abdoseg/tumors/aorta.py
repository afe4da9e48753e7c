"""The abdomen between the top of the aorta and some slices below its lowest: whatever is labeled beyond is cleared."""

import math
from dataclasses import dataclass

import numpy as np

from abdoseg.labels import BACKGROUND_ID, LABELS

AORTA_ID = next(label.id for label in LABELS if label.name == "aorta")


@dataclass(frozen=True)
class AortaCrop:
    """Which slices stay, seen from the aorta (papers-spec.md 3.6). In RAS, so that a higher slice is nearer the head.

    Parameters
    ----------
    below_slices : slices kept below the lowest one with aorta; 20 in paper B, in whatever thickness a scan has.
    below_mm : if given, the distance kept below in mm, instead of ``below_slices``; rounded up to whole slices.
    above_mm : distance kept above the highest slice with aorta, rounded up; 0 in paper B. Liver domes and spleens are
        cut where the labeled aorta ends low.
    inclusive_top : keep the highest slice with aorta. False: lose it, as paper B's code does; an aorta of one slice at
        the bottom of the scan then leaves nothing.
    """

    below_slices: int = 20
    below_mm: float | None = None
    above_mm: float = 0.0
    inclusive_top: bool = True


def aorta_range(labels: np.ndarray, spacing, rule: AortaCrop = AortaCrop()) -> slice | None:
    """Give the slices along z that the aorta crop keeps, or None where there is no aorta (paper B's code fails there).

    Parameters
    ----------
    labels : (x, y, z) uint8, RAS.
    spacing : (3,) mm.
    rule : how far from the aorta.
    """
    slices = np.flatnonzero((labels == AORTA_ID).any(axis=(0, 1)))
    if not len(slices):
        return None
    thickness = float(spacing[2])
    below = rule.below_slices if rule.below_mm is None else _slices(rule.below_mm, thickness)
    top = int(slices[-1]) + _slices(rule.above_mm, thickness) + (1 if rule.inclusive_top else 0)
    return slice(max(int(slices[0]) - below, 0), min(top, labels.shape[2]))


def _slices(distance_mm: float, thickness: float) -> int:
    # As for crop margins: a thickness rounded to float32 must not add a slice.
    return math.ceil(distance_mm / thickness - 1e-3)


def clear_other_slices(labels: np.ndarray, kept: slice) -> np.ndarray:
    """Give a new (x, y, z) array in which only the slices ``kept`` along z are left of a label map."""
    cropped = np.full_like(labels, BACKGROUND_ID)
    cropped[..., kept] = labels[..., kept]
    return cropped
