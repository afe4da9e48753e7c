"""Pseudo labels that change most between rounds of training are the least to be trusted (FLARE22's winner)."""

import math
from collections.abc import Mapping

import numpy as np


def label_change(before: np.ndarray, after: np.ndarray) -> float:
    """Give how much of a label map changed from one round to the next: #(before != after) / #(after > 0).

    Rule of the FLARE22 winner (papers-spec.md 4).

    Parameters
    ----------
    before, after : (x, y, z) label maps of one case and one shape.

    Returns
    -------
    float
        0 for no change (also between two empty maps); infinite where all labels vanished; may exceed 1.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if before.shape != after.shape:
        raise ValueError(f"The label maps have the shapes {before.shape} and {after.shape}; they must agree.")
    changed = int(np.count_nonzero(before != after))
    labeled = int(np.count_nonzero(after))
    if not labeled:
        return math.inf if changed else 0.0
    return changed / labeled


def unstable_cases(changes: Mapping[str, float], discard: float) -> list[str]:
    """Name the cases whose labels changed most between rounds.

    Parameters
    ----------
    changes : case id -> its `label_change` since the round before.
    discard : share of the cases to name, rounded to whole cases. The FLARE22 winner left out 76 or 77 of 2000, 3.8 %,
        by a threshold chosen by hand (papers-spec.md 4). Of few cases that is none.

    Returns
    -------
    list of str
        The worst first; of equal cases the one whose id comes first.

    Raises
    ------
    ValueError
        For a share outside 0..1, or a change that is not a number.
    """
    if not 0 <= discard <= 1:
        raise ValueError(f"discard is {discard}; use a share from 0 to 1.")
    for case, change in changes.items():
        if math.isnan(change):
            raise ValueError(f"{case}: the change is not a number; give that of `label_change`.")
    worst_first = sorted(changes, key=lambda case: (-changes[case], case))
    return worst_first[: round(discard * len(worst_first))]
