"""Arms of a chain against the first one that knows the tumor, scan by scan."""

import textwrap
from collections.abc import Mapping, Sequence

from abdoseg.metrics.paired import paired_difference
from abdoseg.metrics.summary import ORGANS, TUMOR
from tools.results import case_means, tumor_arms

MEASURES = {"tumor_dsc": ("tumor DSC", (TUMOR,)), "organ_mean_dsc": ("organ mean DSC", ORGANS)}
MEANING = (
    "A difference is the mean over the n scans that both arms have labeled and that contain the class, in brackets its "
    "95 % bootstrap interval over scans: where that leaves out 0, the arm is better or worse on scans like these with "
    "these weights. Of fewer than ten scans it is too narrow to tell; each arm was trained once, so what another "
    "training seed would change is not in it."
)


def compare_arms(scores: Mapping[str, Mapping]) -> list[dict]:
    """Paired differences of the arms from the first one that knows the tumor.

    Parameters
    ----------
    scores : arm -> content of a JSON file of ``evaluate``.

    Returns
    -------
    One entry an arm after that first one, none for the teacher: ``{"arm", "baseline", "tumor_dsc": difference,
    "organ_mean_dsc": difference}``; a difference as `paired_difference` gives it. The organ mean of a scan is over the
    organs that its reference contains.
    """
    baseline, *others = tumor_arms(scores) or [None]
    return [
        {
            "arm": arm,
            "baseline": baseline,
            **{
                measure: paired_difference(*(case_means(scores[one]["cases"], names) for one in (arm, baseline)))
                for measure, (_, names) in MEASURES.items()
            },
        }
        for arm in others
    ]


def comparison_rows(comparisons: Sequence[Mapping]) -> list[list[str]]:
    """Texts for a table: arm, then for each of `MEASURES` its difference with the interval, and n."""
    return [[entry["arm"], *(text for measure in MEASURES for text in _texts(entry[measure]))] for entry in comparisons]


def format_comparisons(comparisons: Sequence[Mapping]) -> str:
    """The comparisons as a table for the terminal, and what they mean; empty without one."""
    if not comparisons:
        return ""
    heads = [
        f"against {comparisons[0]['baseline']}",
        *(text for title, _ in MEASURES.values() for text in (title, "n")),
    ]
    rows = [heads, *comparison_rows(comparisons)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["   ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, textwrap.fill(MEANING, 100)])


def _texts(difference: Mapping) -> tuple[str, str]:
    if difference["difference"] is None:
        return "-", "0"
    bounds = difference["interval"]
    interval = f"[{bounds[0]:+.3f}, {bounds[1]:+.3f}]" if bounds else "[no interval]"
    return f"{difference['difference']:+.3f} {interval}", str(difference["n"])
