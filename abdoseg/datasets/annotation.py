"""Which classes somebody looked for in a case: as declared for its data set, or by a rule on what is drawn."""

from collections.abc import Callable

from abdoseg.datasets.convention import LabelConvention
from abdoseg.labels import MIRROR_PAIRS, ORGAN_IDS

# Gallbladder, spleen, a kidney and an adrenal gland are removed by surgery or missing from birth; not both of a pair.
REMOVABLE_IDS = {2, 3, 7, 8, 9, 13}


def annotated_by_count(present: set[int]) -> set[int] | None:
    """Paper A's rule: a case is strong if exactly 13 classes are drawn, whichever they are; None if it is weak."""
    return present if len(present) == len(ORGAN_IDS) else None


def annotated_by_anatomy(present: set[int]) -> set[int] | None:
    """Take a case as strong if every organ is drawn but those that people live without, at most one of a pair.

    Then all organs are annotated, the missing ones as absent; None if the case is weak.
    """
    missing = set(ORGAN_IDS) - present
    strong = missing <= REMOVABLE_IDS and not any(set(pair) <= missing for pair in MIRROR_PAIRS)
    return present | set(ORGAN_IDS) if strong else None


STRONG_RULES: dict[str, Callable[[set[int]], set[int] | None]] = {
    "count": annotated_by_count,
    "anatomy": annotated_by_anatomy,
}


def annotated_classes(present: set[int], convention: LabelConvention, strong_rule: str) -> tuple[str, list[int]]:
    """Say whether a training case is strong, and for which classes somebody looked in it.

    A declaration wins: then the case is strong if all organs are declared, and a declared class that is not drawn is
    absent. A class that is drawn and not declared is not added: that is a fault, for the caller to report. Without a
    declaration the rule decides; a weak case's annotated classes are those present.

    Parameters
    ----------
    present : ids in the label map, without background; may be empty where the convention declares.
    convention : of the case's data set.
    strong_rule : name in ``STRONG_RULES``; "count" is paper A's.

    Returns
    -------
    kind : "strong" or "weak".
    annotated : ids in order.
    """
    if convention.annotated is not None:
        return "strong" if set(ORGAN_IDS) <= set(convention.annotated) else "weak", sorted(convention.annotated)
    annotated = STRONG_RULES[strong_rule](present)
    return "weak" if annotated is None else "strong", sorted(annotated or present)
