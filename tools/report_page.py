"""HTML of the report: tables, tiles and pictures become one file that needs no other."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from abdoseg.labels import CLASS_IDS, COLORS, NAMES, TUMOR_ID
from tools.results import host_rows

STYLE = Path(__file__).with_name("report.css")
CHIP_COLORS = {NAMES[class_id]: "rgb({}, {}, {})".format(*COLORS[class_id]) for class_id in CLASS_IDS}


def page(title: str, subtitle: str, tiles: Mapping[str, str], sections: Iterable[str]) -> str:
    """The whole document; tiles are captions with the figure above them."""
    boxes = "".join(
        f"<div class=tile><b>{escape(value)}</b><span>{escape(key)}</span></div>" for key, value in tiles.items()
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{STYLE.read_text()}</style>
</head>
<body><main>
<h1>{escape(title)}</h1>
<div class=soft>{escape(subtitle)}</div>
<div class=tiles>{boxes}</div>
{"".join(sections)}
</main></body>
</html>
"""


def section(title: str, *parts: str) -> str:
    """A titled box; the parts are HTML."""
    return f"<section><h2>{escape(title)}</h2>\n{''.join(parts)}</section>\n"


def paragraph(text: str) -> str:
    return f"<p class=soft>{escape(text)}</p>\n"


def note(text: str) -> str:
    """What is missing, and why."""
    return f"<p class=note>{escape(text)}</p>\n"


def picture(png: bytes, description: str) -> str:
    """A PNG, inside the page."""
    data = base64.b64encode(png).decode()
    return f'<img alt="{escape(description)}" src="data:image/png;base64,{data}">\n'


def score_table(summaries: Mapping[str, Mapping], means: bool = True, official: bool = True) -> str:
    """Class by arm: DSC, NSD and n over the scans that contain the class, the official DSC and NSD beside them.

    Below the tumor stand the families of host organs that have one.

    Parameters
    ----------
    summaries : arm -> the "summary" of ``evaluate``.
    means : show DSC, NSD and n over the scans that contain the class.
    official : show the official DSC and NSD.
    """

    def row(title: str, figures: Iterable[tuple[Mapping, Mapping]], kind: str = "") -> str:
        cells = "".join(_cells(mean if means else None, score if official else None) for mean, score in figures)
        return f"<tr{kind}><td>{title}</td>{cells}</tr>"

    span = 3 * means + 2 * official
    arms = "".join(f"<th class=first colspan={span}>{escape(arm)}</th>" for arm in summaries)
    heads = "<th class=first>DSC</th><th>NSD</th><th>n</th>" * means
    heads += f"<th{'' if means else ' class=first'}>official DSC</th><th>NSD</th>" * official
    rows = [f"<tr class=group><th></th>{arms}</tr><tr><th>class</th>{heads * len(summaries)}</tr>"]
    for class_id in CLASS_IDS:
        name = NAMES[class_id]
        tumor = class_id == TUMOR_ID
        if tumor:
            organs = [(_organ_mean(summary), _organ_mean(summary["official"])) for summary in summaries.values()]
            rows.append(row("mean of the organs", organs, " class=mean"))
        scores = [(summary["classes"][name], summary["official"]["classes"][name]) for summary in summaries.values()]
        rows.append(row(f"{_chip(name)}{name}", scores, " class=mean" if tumor else ""))
    for family, title in host_rows(summaries.values() if means else ()).items():
        hosts = [summary.get("tumor_by_host", {}).get(family, {}) for summary in summaries.values()]
        rows.append(row(title, [(scores, {}) for scores in hosts]))
    return f"<div class=scroll><table>{''.join(rows)}</table></div>\n"


def _organ_mean(summary: Mapping) -> dict:
    """Organ means of a summary, or of the official part of one, as the scores of a class."""
    own = "organ_mean_dsc" in summary
    return {key: summary[f"organ_mean_{key}" if own else f"organ_{key}"] for key in ("dsc", "nsd")}


def class_chips(scores: Mapping[str, Mapping]) -> str:
    """DSC of one case by class, of the classes that its reference contains or that were wrongly found."""
    chips = []
    for name, score in scores.items():
        if score["present"]:
            chips.append(f"<span>{_chip(name)}{name} {number(score['dsc'])}</span>")
        elif score["dsc"] == 0:
            chips.append(f"<span>{_chip(name)}{name} found, but absent</span>")
    return f"<div class=chips>{''.join(chips)}</div>\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], sentences: bool = False) -> str:
    """A plain table of texts; ``sentences`` sets all columns to the left and lets them break."""
    kind = " class=text" if sentences else ""
    lines = [f"<tr>{''.join(f'<th{kind}>{escape(head)}</th>' for head in heads)}</tr>"]
    lines += [f"<tr>{''.join(f'<td{kind}>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    return f"<div class=scroll><table>{''.join(lines)}</table></div>\n"


def time_table(seconds: Mapping[str, float]) -> str:
    """Stages with their wall time and a bar."""
    longest = max(seconds.values()) or 1
    rows = [
        f"<tr><td>{escape(stage)}</td><td>{duration(value)}</td>"
        f'<td><span class=bar style="width:{100 * value / longest:.1f}%"></span></td></tr>'
        for stage, value in seconds.items()
    ]
    rows.append(f"<tr class=mean><td>together</td><td>{duration(sum(seconds.values()))}</td><td></td></tr>")
    return f"<table class=bars>{''.join(rows)}</table>\n"


def folded(title: str, content: str) -> str:
    """HTML that opens on a click."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>\n"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 8.4 s, 3 min 20 s, 2 h 05 min."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {round(seconds) % 60:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _cells(mean: Mapping | None, official: Mapping | None) -> str:
    """Cells of one arm in one row; a figure that there is not leaves its cell empty."""
    cells = []
    if mean is not None:
        cells += [_figure(mean, "dsc"), _figure(mean, "nsd"), str(mean.get("n", ""))]
    if official is not None:
        cells += [_figure(official, "dsc"), _figure(official, "nsd")]
    soft = {2, 3, 4} if mean is not None else {0, 1}
    kinds = [" ".join(["first"] * (place == 0) + ["soft"] * (place in soft)) for place in range(len(cells))]
    return "".join(
        f'<td class="{kind}">{text}</td>' if kind else f"<td>{text}</td>"
        for kind, text in zip(kinds, cells, strict=True)
    )


def _figure(scores: Mapping, key: str) -> str:
    return number(scores[key]) if key in scores else ""


def _chip(name: str) -> str:
    return f'<span class=chip style="background:{CHIP_COLORS[name]}"></span>'
