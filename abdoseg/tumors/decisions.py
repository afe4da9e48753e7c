"""Which parts of a predicted tumor are kept to train on: one decision for each host organ."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from abdoseg.labels import TUMOR_ID
from abdoseg.tumors.hosts import EVERY_FAMILY, NO_HOST, REST, TumorFocus, family_of, host_in_box, tumor_foci
from abdoseg.tumors.pseudo import PseudoTumorRules, reject_pseudo_tumor


@dataclass(frozen=True)
class Decision:
    """What was decided on one predicted tumor: all foci of one host organ, or of the family "rest".

    Parameters
    ----------
    family : that would have looked for it.
    organ : id of the host organ; 0 for "rest", whose crop is the whole abdomen.
    foci, voxels : number of both.
    rejected : reason, or None where the tumor is kept.
    """

    family: str
    organ: int
    foci: int
    voxels: int
    rejected: str | None


def keep_pseudo_tumors(
    organs: np.ndarray,
    tumor: np.ndarray,
    families: Sequence[str] = EVERY_FAMILY,
    rules: PseudoTumorRules = PseudoTumorRules(),  # noqa: B008 (frozen)
) -> tuple[np.ndarray, list[TumorFocus], list[Decision]]:
    """Split a predicted tumor by host organ and keep the parts that `reject_pseudo_tumor` has nothing against.

    As in paper B, one crop is one decision: each kidney has its own. A focus belongs to the organ with most voxels in
    its box; here, where the organ is known under the tumor as well, these voxels count too.

    Parameters
    ----------
    organs : (x, y, z) uint8, 0..13, the organs, also where the tumor lies.
    tumor : (x, y, z), non-zero where a tumor is predicted.
    families : whose tumors may be kept.
    rules : when a tumor is too small.

    Returns
    -------
    kept : (x, y, z) bool, a subset of ``tumor``.
    foci : those that are kept, in the order of the decisions.
    decisions : on each host organ with a tumor, in the order of the families and of the organs' ids.
    """
    components, foci = tumor_foci(np.where(tumor, np.uint8(TUMOR_ID), np.uint8(0)), max_foci=None)
    groups: dict[tuple[str, int], list[TumorFocus]] = {}
    for focus in foci:
        host = host_in_box(organs, focus.box)
        family = family_of(host)
        group = (family, NO_HOST if family == REST else host)
        groups.setdefault(group, []).append(TumorFocus(focus.index, focus.voxels, focus.box, host))

    keep = np.zeros(len(foci) + 1, dtype=bool)
    kept, decisions = [], []
    for family, organ in sorted(groups, key=lambda group: (EVERY_FAMILY.index(group[0]), group[1])):
        own = groups[family, organ]
        part = np.zeros_like(keep)
        part[[focus.index for focus in own]] = True
        if family in families:
            rejected = reject_pseudo_tumor(part[components], organs, family, rules)
        else:
            rejected = "tumors of this family are not asked for"
        decisions.append(Decision(family, organ, len(own), sum(focus.voxels for focus in own), rejected))
        if rejected is None:
            keep |= part
            kept += own
    return keep[components], kept, decisions
