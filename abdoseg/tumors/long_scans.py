"""Paper B's shortcut for long scans: the middle half of a very long one, every second slice of many."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LongScan:
    """Which slices of a scan the networks see.

    Parameters
    ----------
    keep : slices along z that are looked at; all others become background.
    step : every step-th of them is seen, so that the slice thickness is ``step`` times the scan's.
    """

    keep: slice
    step: int


def long_scan_rule(
    slices: int,
    spacing_z: float,
    crop_mm: float = 600.0,
    crop_slices: int = 250,
    middle: tuple[float, float] = (0.25, 0.75),
    direct_slices: int = 200,
    drop_odd: bool = False,
) -> LongScan:
    """Decide what to see of a scan (papers-spec.md 3.7; the numbers are those of paper B's script).

    The middle half may miss the abdomen where it does not lie in the middle.

    Parameters
    ----------
    slices : of the scan, along z.
    spacing_z : slice thickness, mm.
    crop_mm, crop_slices : a scan of at least this length (mm) and this many slices is cut to its ``middle``.
    middle : the part that is kept, as fractions of the slices.
    direct_slices : with fewer slices than this (after the cut) every slice is seen, otherwise every second.
    drop_odd : of an odd number to be halved, leave out the first slice, as paper B's script does; it becomes
        background. False: see slices 0, 2, 4, ... to the last.

    Raises
    ------
    ValueError
        Without slices, for a spacing that is not positive, or a middle that is not within 0..1.
    """
    if slices < 1 or not spacing_z > 0:
        raise ValueError(f"A scan of {slices} slices of {spacing_z} mm has no length; both must be positive.")
    low, high = middle
    if not 0 <= low < high <= 1:
        raise ValueError(f"The middle of a scan cannot be {middle}; use two fractions, 0 <= low < high <= 1.")
    start, stop = 0, slices
    if slices * spacing_z >= crop_mm and slices >= crop_slices:
        start, stop = int(slices * low), int(slices * high)
    count = stop - start
    if count < direct_slices:
        return LongScan(slice(start, stop), 1)
    return LongScan(slice(start + (count % 2 if drop_odd else 0), stop), 2)


def shorten(volume, rule: LongScan):
    """Give the slices of a volume (..., z), array or tensor, that the networks see."""
    return volume[..., rule.keep][..., :: rule.step]


def lengthen(labels: np.ndarray, rule: LongScan, slices: int) -> np.ndarray:
    """Give labels of the seen slices for all slices: each stands for the ``step`` slices from its own on.

    Parameters
    ----------
    labels : (..., z) label map of a shortened volume.
    rule : by which it was shortened.
    slices : of the whole scan.

    Returns
    -------
    (..., ``slices``) of the same kind, background outside ``rule.keep``.

    Raises
    ------
    ValueError
        If ``labels`` has another number of slices than the rule leaves.
    """
    start, stop, _ = rule.keep.indices(slices)
    seen = -(-(stop - start) // rule.step)
    if labels.shape[-1] != seen:
        raise ValueError(f"The labels have {labels.shape[-1]} slices; the rule leaves {seen} of {slices}.")
    restored = np.zeros((*labels.shape[:-1], slices), labels.dtype)
    restored[..., rule.keep] = labels[..., np.arange(stop - start) // rule.step]
    return restored
