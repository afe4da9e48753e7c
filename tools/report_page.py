"""HTML of the report: tables, tiles and pictures become one file that needs no other."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from abdoseg.labels import CLASS_IDS, COLORS, NAMES, TUMOR_ID

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


def score_table(summaries: Mapping[str, Mapping]) -> str:
    """Class by arm: DSC, NSD and n over the scans that contain the class, the official DSC and NSD beside them.

    Parameters
    ----------
    summaries : arm -> what ``abdoseg.metrics.summarize`` gives.
    """
    arms = "".join(f"<th class=first colspan=5>{escape(arm)}</th>" for arm in summaries)
    heads = "<th class=first>DSC</th><th>NSD</th><th>n</th><th>official DSC</th><th>NSD</th>" * len(summaries)
    rows = [f"<tr class=group><th></th>{arms}</tr><tr><th>class</th>{heads}</tr>"]
    for class_id in CLASS_IDS:
        name = NAMES[class_id]
        if class_id == TUMOR_ID:
            organs = [
                _cells(
                    s["organ_mean_dsc"], s["organ_mean_nsd"], "", s["official"]["organ_dsc"], s["official"]["organ_nsd"]
                )
                for s in summaries.values()
            ]
            rows.append(f"<tr class=mean><td>mean of the 13 organs</td>{''.join(organs)}</tr>")
        cells = []
        for summary in summaries.values():
            mean, official = summary["classes"][name], summary["official"]["classes"][name]
            cells.append(_cells(mean["dsc"], mean["nsd"], mean["n"], official["dsc"], official["nsd"]))
        kind = " class=mean" if class_id == TUMOR_ID else ""
        rows.append(f"<tr{kind}><td>{_chip(name)}{name}</td>{''.join(cells)}</tr>")
    return f"<div class=scroll><table>{''.join(rows)}</table></div>\n"


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


def _cells(dsc: float | None, nsd: float | None, count: int | str, *official: float | None) -> str:
    means = f"<td class=first>{number(dsc)}</td><td>{number(nsd)}</td><td class=soft>{count}</td>"
    return means + "".join(f"<td class=soft>{number(value)}</td>" for value in official)


def _chip(name: str) -> str:
    return f'<span class=chip style="background:{CHIP_COLORS[name]}"></span>'
