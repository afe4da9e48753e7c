"""What was drawn in each training label: FLARE23's kinds of partial labels, their shares, and how to make one."""

from dataclasses import dataclass

import numpy as np

from abdoseg.labels import ORGAN_IDS, TUMOR_ID
from abdoseg.phantom.settings import PhantomError

FIVE_ORGANS = (1, 2, 3, 4, 13)


@dataclass(frozen=True)
class Kind:
    """One kind of label.

    Parameters
    ----------
    name : short name.
    count : number of FLARE23's 2200 training labels of this kind (papers-spec 1.3; the split of the 250 labels of all
        organs into 222 with 13 and 28 with fewer classes is from there too).
    classes : ids that were looked for and drawn.
    tumors : the scan has a tumor (True), has none (False), or by chance (None).
    """

    name: str
    count: int
    classes: tuple[int, ...]
    tumors: bool | None


KINDS = {
    kind.name: kind
    for kind in (
        Kind("tumor", 888, (TUMOR_ID,), True),
        Kind("four_organs", 10, FIVE_ORGANS, None),
        Kind("five_organs", 455, FIVE_ORGANS, None),
        Kind("five_organs_tumor", 597, (*FIVE_ORGANS, TUMOR_ID), True),
        Kind("all_organs", 222, ORGAN_IDS, False),
        Kind("all_organs_some_missing", 28, ORGAN_IDS, False),
    )
}


def allocate(cases: int, min_strong: int) -> dict[str, int]:
    """Number of cases of every kind: largest remainders of FLARE23's shares, with a floor of complete labels.

    Parameters
    ----------
    cases : number of training cases.
    min_strong : at least so many cases of ``"all_organs"`` (at most all); they are taken from the largest kinds.

    Raises
    ------
    PhantomError
        If a number is negative.
    """
    if cases < 0 or min_strong < 0:
        raise PhantomError(f"The number of cases ({cases}) and of strong cases ({min_strong}) must not be negative.")
    total = sum(kind.count for kind in KINDS.values())
    exact = {name: kind.count * cases / total for name, kind in KINDS.items()}
    counts = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(KINDS, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: cases - sum(counts.values())]:
        counts[name] += 1
    while counts["all_organs"] < min(min_strong, cases):
        donor = max((name for name in KINDS if name != "all_organs"), key=counts.__getitem__)
        counts[donor] -= 1
        counts["all_organs"] += 1
    return counts


def partial_label(kind: Kind, truth: np.ndarray, organs: np.ndarray) -> np.ndarray:
    """The label that a person who draws this kind leaves behind.

    Where tumors are not drawn, a tumor's voxels carry its host organ; what is not drawn is 0.

    Parameters
    ----------
    kind : what is drawn.
    truth : (x, y, z) complete truth, 0..14.
    organs : (x, y, z) the same with a tumor's voxels carrying their host organ.

    Returns
    -------
    (x, y, z) uint8.
    """
    source = truth if TUMOR_ID in kind.classes else organs
    return np.where(np.isin(source, kind.classes), source, 0).astype(np.uint8)
