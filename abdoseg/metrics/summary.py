"""Means over many cases: over the scans that contain a class, and as FLARE23 reports them."""

from collections.abc import Iterable, Mapping

import numpy as np

from abdoseg.labels import NAMES, ORGAN_IDS, TUMOR_ID
from abdoseg.metrics.flare import rounded

ORGANS = tuple(NAMES[organ] for organ in ORGAN_IDS)
TUMOR = NAMES[TUMOR_ID]


def summarize(cases: Mapping[str, Mapping[str, Mapping]]) -> dict:
    """Mean scores of many cases.

    The official rules give full marks to a class that is rightly absent, so a class that few scans contain looks good
    without being found. The means of ``classes`` are therefore over the scans whose reference contains the class, and
    ``n`` says how many these are; ``official`` holds the means over all scans.

    Parameters
    ----------
    cases : ``{case id: {class name: {"dsc": float, "nsd": float, "present": bool}}}``; ``present`` says whether the
        reference contains the class. A case may leave out classes that nobody looked for in it.

    Returns
    -------
    ``{"organ_mean_dsc", "organ_mean_nsd", "tumor_dsc", "tumor_nsd", "classes": {name: {"dsc", "nsd", "n"}},
    "official": {"organ_dsc", "organ_nsd", "tumor_dsc", "tumor_nsd", "classes": {name: {"dsc", "nsd", "n"}}}}``.
    An organ mean is the mean of the class means; a mean over nothing is None. Rounded to 4 decimals, the class means
    before the organ means, as the official script does.
    """
    classes = {}
    official = {}
    for name in (*ORGANS, TUMOR):
        scores = [case[name] for case in cases.values() if name in case]
        official[name] = _means(scores)
        classes[name] = _means([score for score in scores if score["present"]])
    return {
        "organ_mean_dsc": _organ_mean(classes, "dsc"),
        "organ_mean_nsd": _organ_mean(classes, "nsd"),
        "tumor_dsc": classes[TUMOR]["dsc"],
        "tumor_nsd": classes[TUMOR]["nsd"],
        "classes": classes,
        "official": {
            "organ_dsc": _organ_mean(official, "dsc"),
            "organ_nsd": _organ_mean(official, "nsd"),
            "tumor_dsc": official[TUMOR]["dsc"],
            "tumor_nsd": official[TUMOR]["nsd"],
            "classes": official,
        },
    }


def summarize_hosts(cases: Mapping[str, Mapping[str, Mapping]]) -> dict[str, dict]:
    """Mean tumor DSC of many cases by the family of host organs, over the scans that have such a tumor.

    Parameters
    ----------
    cases : ``{case id: {family: {"dsc": float or None, "present": bool}}}``, see ``abdoseg.metrics.hosts``.

    Returns
    -------
    ``{family: {"dsc": float or None, "n": number of scans with such a tumor}}``, in the order of the first case; empty
    without a case. Rounded to 4 decimals.
    """
    families = dict.fromkeys(family for case in cases.values() for family in case)
    scores = {
        family: [case[family]["dsc"] for case in cases.values() if case[family]["present"]] for family in families
    }
    return {family: {"dsc": _mean(values), "n": len(values)} for family, values in scores.items()}


def _means(scores: list[Mapping]) -> dict:
    return {**{key: _mean(score[key] for score in scores) for key in ("dsc", "nsd")}, "n": len(scores)}


def _organ_mean(classes: Mapping[str, Mapping], key: str) -> float | None:
    return _mean(classes[name][key] for name in ORGANS if classes[name]["n"])


def _mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return rounded(np.mean(values)) if values else None
