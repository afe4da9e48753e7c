"""The figures of a chain: one JSON file and one table for all arms."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import fmean

from abdoseg.labels import NAMES
from abdoseg.metrics.summary import TUMOR

# The arms of the chains in the order in which they are shown; the teacher knows the organs only.
TEACHER = "teacher"
ARMS = (TEACHER, "student", "cascade_labeled", "cascade", "student_cascade")
# Where a tumor grows: family of host organs -> what a table calls it.
HOSTS = {"liver": "in the liver", "pancreas": "in the pancreas", "kidneys": "in the kidneys", "rest": "elsewhere"}
# With more arms than this the NSD does not fit into a terminal, nor all arms into a picture.
FEW_ARMS = 3


def ordered_arms(names: Iterable[str]) -> list[str]:
    """Arms in the order in which they are shown: teacher, student, the cascades, then others by name."""
    return sorted(names, key=lambda name: (ARMS.index(name) if name in ARMS else len(ARMS), name))


def tumor_arms(names: Iterable[str]) -> list[str]:
    """Arms that know the tumor, in their order: all but the teacher. The others are compared with the first."""
    return [name for name in ordered_arms(names) if name != TEACHER]


def case_mean(classes: Mapping[str, Mapping], names: Iterable[str]) -> float | None:
    """Mean DSC of a case over those of the named classes that are scored and that its reference contains."""
    values = [classes[name]["dsc"] for name in names if name in classes and classes[name]["present"]]
    return fmean(values) if values else None


def case_means(cases: Mapping[str, Mapping], names: Collection[str]) -> dict[str, float]:
    """`case_mean` of each case that has one."""
    means = {case: case_mean(classes, names) for case, classes in cases.items()}
    return {case: mean for case, mean in means.items() if mean is not None}


def host_rows(summaries: Iterable[Mapping]) -> dict[str, str]:
    """Families of host organs with a tumor in any of the summaries, and what a table calls them."""
    found = [summary.get("tumor_by_host", {}) for summary in summaries]
    return {family: title for family, title in HOSTS.items() if any(hosts.get(family, {}).get("n") for hosts in found)}


def collect_results(
    scores: Mapping[str, Mapping], comparisons: Sequence[Mapping], seconds: Mapping, versions: Mapping
) -> dict:
    """Figures of a chain as plain data.

    Parameters
    ----------
    scores : arm -> content of a JSON file of ``evaluate``.
    comparisons : see ``tools.comparison.compare_arms``.
    seconds : stage -> wall time in s.
    versions : package -> version.

    Returns
    -------
    ``{"arms": {arm: {"organ_mean_dsc", "tumor_dsc", "classes": {name: {"dsc", "nsd", "n"}}, "tumor_by_host": {family:
    {"dsc", "n"}}, ...}}, "comparisons", "seconds", "versions"}``; means over the scans that contain the class (a tumor
    in such a host), the official ones under ``"official"``.
    """
    arms = {
        arm: {"tumor_by_host": {}, **scores[arm]["summary"], "cases": len(scores[arm]["cases"])}
        for arm in ordered_arms(scores)
    }
    return {"arms": arms, "comparisons": list(comparisons), "seconds": dict(seconds), "versions": dict(versions)}


def format_results(results: Mapping) -> str:
    """The arms side by side as a table for the terminal: class, n scans that contain it, DSC and NSD of each arm.

    Below the tumor stand the families of host organs that have one. With more than three arms the table has the DSC
    only. Where arms have been scored on different numbers of scans, n is the least and the most.
    """
    arms = results["arms"]
    if not arms:
        return "No scores: no scan with truth was labeled."
    if len(arms) > FEW_ARMS:
        columns = [(arm, max(len(arm) + 2, 9), arm, "dsc") for arm in arms]
    else:
        columns = [
            column
            for arm in arms
            for column in ((f"{arm} DSC", max(len(arm) + 6, 14), arm, "dsc"), ("NSD", 8, arm, "nsd"))
        ]
    head = "DSC by class" if len(arms) > FEW_ARMS else "class"
    lines = [f"{head:<20}{'n':>6}" + "".join(f"{title:>{width}}" for title, width, *_ in columns)]

    def add_row(name: str, values: Mapping[str, Mapping]) -> None:
        counts = sorted({value["n"] for value in values.values() if "n" in value})
        count = "-".join(map(str, counts if len(counts) < 3 else (counts[0], counts[-1])))
        cells = (f"{_number(values[arm], key):>{width}}" for _, width, arm, key in columns)
        lines.append(f"{name:<20}{count:>6}" + "".join(cells))

    for name in (name for name in NAMES.values() if name != "background"):
        add_row(name, {arm: figures["classes"][name] for arm, figures in arms.items()})
        if name == TUMOR:
            for family, title in host_rows(arms.values()).items():
                add_row(f"  {title}", {arm: figures["tumor_by_host"].get(family, {}) for arm, figures in arms.items()})
    organs = {
        arm: {"dsc": figures["organ_mean_dsc"], "nsd": figures["organ_mean_nsd"]} for arm, figures in arms.items()
    }
    add_row("mean of the organs", organs)
    return "\n".join(lines)


def _number(values: Mapping, key: str) -> str:
    """Three decimals; "-" for a mean over nothing, blank for what has no such figure."""
    if key not in values:
        return ""
    return "-" if values[key] is None else f"{values[key]:.3f}"
