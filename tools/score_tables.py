"""Tables of scores for the terminal: official, strict, and one run against another."""

from collections.abc import Mapping, Sequence

from tools.results import host_rows

WIDTH = 22


def format_official(summary: Mapping) -> str:
    """The scores as a table: class, DSC, NSD, n scans that contain it, official DSC and NSD.

    Below the tumor stand the families of host organs that have one.
    """
    official = summary["official"]
    lines = [f"{'class':<{WIDTH}}{'DSC':>8}{'NSD':>8}{'n':>5}{'official DSC':>15}{'NSD':>8}"]
    for name, scores in summary["classes"].items():
        lines.append(_official_row(name, scores["dsc"], scores["nsd"], scores["n"], official["classes"][name]))
    organs = {"dsc": official["organ_dsc"], "nsd": official["organ_nsd"]}
    row = _official_row("mean of the organs", summary["organ_mean_dsc"], summary["organ_mean_nsd"], "", organs)
    lines.insert(-1, row)
    for family, title in host_rows([summary]).items():
        scores = summary["tumor_by_host"][family]
        lines.append(f"  {title:<20}{_number(scores['dsc'], 4):>8}{scores['n']:>13}")
    return "\n".join(lines)


def _official_row(name: str, dsc: float | None, nsd: float | None, count: int | str, official: Mapping) -> str:
    values = [_number(value, 4) for value in (dsc, nsd, official["dsc"], official["nsd"])]
    return f"{name:<{WIDTH}}{values[0]:>8}{values[1]:>8}{count:>5}{values[2]:>15}{values[3]:>8}"


def strict_rows(summary: Mapping) -> list[list[str]]:
    """Texts for a table of the strict means, the heads first: class, n, DSC, NSD, volumes, false positives."""
    rows = [["class", "n", "DSC [95 %]", "NSD [95 %]", "true mL", "bias mL [95 %]", "found where absent"]]
    for name, scores in summary["classes"].items():
        volume, absent = scores["volume"], scores["absent"]
        found = f"{absent['with_false_positives']} of {absent['scans']}" if absent["scans"] else "-"
        volumes = _number(volume["true_ml"], 1), interval(volume, "bias_ml", 1)
        rows.append([name, str(scores["n"]), *_means(scores), *volumes, found])
    mean = ["mean of the organs", "", *_means(summary["organ_mean"]), "", "", ""]
    rows.insert(-1, mean)
    return rows


def _means(scores: Mapping) -> tuple[str, str]:
    return interval(scores, "dsc", 3), interval(scores, "nsd", 3)


def lesion_rows(lesions: Mapping) -> list[list[str]]:
    """Texts for a table of the tumors found and made up, the heads first: size, tumors, found, false positives."""
    rows = [["tumors by diameter", "tumors", "found", "false", "sensitivity [95 %]", "false a scan [95 %]"]]
    for title, part in {**lesions["sizes"], "all": lesions}.items():
        found = _with_bounds(part["sensitivity"], part.get("sensitivity_interval"), 3)
        made_up = _with_bounds(part["false_positives_per_scan"], part.get("false_positives_interval"), 2)
        counts = (str(part[key]) for key in ("lesions", "detected", "false_positives"))
        rows.append([title, *counts, found, made_up])
    return rows


def tumor_free_text(lesions: Mapping) -> str:
    """Sentence on the scans without a tumor."""
    free = lesions["tumor_free"]
    if not free["scans"]:
        return "Every scan in which somebody looked for tumors has one."
    return (
        f"Of {free['scans']} scans without tumor {free['with_false_positives']} were given one "
        f"({free['false_positives']} in all; {free['mean_ml']:.2f} mL a scan in the mean, at most "
        f"{free['largest_ml']:.2f} mL)."
    )


def format_strict(summary: Mapping) -> str:
    """Strict means as a table, then tumors found and made up."""
    parts = ["strict, over the n scans that contain the class", columns(strict_rows(summary))]
    if summary["lesions"] is not None:
        parts += ["", columns(lesion_rows(summary["lesions"])), tumor_free_text(summary["lesions"])]
    return "\n".join(parts)


def comparison_rows(comparison: Mapping) -> list[list[str]]:
    """Texts for a table of one run against another, the heads first; p values of the classes are Holm's."""
    rows = [["class", "n", *(text for measure in ("DSC", "NSD") for text in (f"{measure} gain [95 %]", "p"))]]
    tests = [comparison[measure] for measure in ("dsc", "nsd")]
    for name in [*tests[0]["classes"], None]:
        found = [test["classes"][name] if name else test["organ_mean"] for test in tests]
        if found[0]["n"]:
            texts = (text for test in found for text in (_gain(test), f"{test['p_holm' if name else 'p']:.3g}"))
            rows.append([name or "mean of the organs", str(found[0]["n"]), *texts])
    return rows


def _gain(test: Mapping) -> str:
    bounds = test["interval"]
    return f"{test['difference']:+.3f}" + (f" [{bounds[0]:+.3f}, {bounds[1]:+.3f}]" if bounds else "")


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines whose columns stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def interval(scores: Mapping, key: str, decimals: int) -> str:
    """A figure with its 95 % interval: 0.937 [0.930, 0.944]."""
    return _with_bounds(scores[key], scores[f"{key.removesuffix('_ml')}_interval"], decimals)


def _with_bounds(value: float | None, bounds: Sequence[float] | None, decimals: int) -> str:
    between = f" [{bounds[0]:z.{decimals}f}, {bounds[1]:z.{decimals}f}]" if bounds else ""
    return _number(value, decimals) + between


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:z.{decimals}f}"
