"""The figures of a chain: one JSON file and one table for all arms."""

from collections.abc import Mapping

from abdoseg.labels import NAMES


def collect_results(scores: Mapping[str, Mapping], seconds: Mapping, versions: Mapping) -> dict:
    """Figures of a chain as plain data.

    Parameters
    ----------
    scores : arm -> content of a JSON file of ``evaluate``.
    seconds : stage -> wall time in s.
    versions : package -> version.

    Returns
    -------
    ``{"arms": {arm: {"organ_mean_dsc", "tumor_dsc", "classes": {name: {"dsc", "nsd", "n"}}, ...}}, "seconds",
    "versions"}``; means over the scans that contain the class, the official ones under ``"official"``.
    """
    arms = {arm: {**content["summary"], "cases": len(content["cases"])} for arm, content in scores.items()}
    return {"arms": arms, "seconds": dict(seconds), "versions": dict(versions)}


def format_results(results: Mapping) -> str:
    """The arms side by side as a table for the terminal: class, n scans that contain it, DSC and NSD of each arm."""
    arms = results["arms"]
    if not arms:
        return "No scores: no scan with truth was labeled."
    lines = [f"{'class':<22}{'n':>4}" + "".join(f"{f'{arm} DSC':>14}{'NSD':>8}" for arm in arms)]
    for name in (name for name in NAMES.values() if name != "background"):
        counts = [arm["classes"][name]["n"] for arm in arms.values()]
        values = [(arm["classes"][name]["dsc"], arm["classes"][name]["nsd"]) for arm in arms.values()]
        lines.append(_row(name, max(counts), values))
    organs = [(arm["organ_mean_dsc"], arm["organ_mean_nsd"]) for arm in arms.values()]
    lines.append(_row("mean of the organs", "", organs))
    return "\n".join(lines)


def _row(name: str, count: int | str, values: list[tuple]) -> str:
    cells = (f"{_number(dsc):>14}{_number(nsd):>8}" for dsc, nsd in values)
    return f"{name:<22}{count:>4}" + "".join(cells)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
