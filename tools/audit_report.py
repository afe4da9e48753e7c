"""The audit's report: one HTML file with label statistics, and faults by kind, with names and a picture of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from abdoseg.checks import FAULT_KINDS, REPAIRED, SET_ASIDE, SEVERITIES, WARNING, FaultKind
from abdoseg.files import atomic_path
from abdoseg.labels import NAMES
from tools import report_page as html
from tools.audit_pictures import fault_picture
from tools.report_figures import WINDOW_HU, label_statistics_figure

NOT_HU = ("hu_offset", "not_hu")
OPEN = 20  # sentences of a kind that are shown without a click
TRIED = 3  # cases of a kind, until one can be drawn


def faults_by_kind(faults: Sequence[Mapping]) -> dict[FaultKind, list[str]]:
    """Give the kinds that occur, the severest first, with the ids of their cases.

    Parameters
    ----------
    faults : ``{"id", "kind", ...}``, the list "faults" of audit.json.
    """
    found = {}
    for kind in sorted(FAULT_KINDS.values(), key=lambda kind: SEVERITIES.index(kind.severity)):
        if cases := list(dict.fromkeys(fault["id"] for fault in faults if fault["kind"] == kind.id)):
            found[kind] = cases
    return found


def write_report(path: Path, name: str, content: Mapping, candidates: Sequence[Mapping]) -> None:
    """Write the report.

    Parameters
    ----------
    path : HTML file to write; it needs no other.
    name : of the data set.
    content : content of audit.json.
    candidates : all cases as `tools.layout.find_cases` gives them, for the pictures.
    """
    by_kind = faults_by_kind(content["faults"])
    cases = {case["id"]: case for case in candidates}
    tiles = {"scans in the datalist": str(len(content["cases"]))}
    for severity, title in ((SET_ASIDE, "set aside"), (REPAIRED, "repaired in a copy"), (WARNING, "to be looked at")):
        names = {one for kind, ids in by_kind.items() if kind.severity == severity for one in ids}
        tiles[title] = str(len(names))
    kinds = ", ".join(f"{count} {kind}" for kind, count in content["kinds"].items() if count)
    sections = [_data_section(content), _faults_section(by_kind)]
    sections += [_kind_section(kind, content["faults"], cases) for kind in by_kind]
    with atomic_path(path) as temporary:
        document = html.page(f"Audit of {name}", f"scans: {kinds}", tiles, sections)
        # A file's name may hold bytes that are no characters.
        temporary.write_text(document, encoding="utf-8", errors="backslashreplace")


def _data_section(content: Mapping) -> str:
    figure = label_statistics_figure(content["label_counts"], content["class_cases"])
    stored = ", ".join(f"{count} as {codes}" for codes, count in content["orientations"].items())
    left = sum(count for codes, count in content["orientations"].items() if _is_left_handed(codes))
    remark = (
        f" {left} of them are left-handed (an odd number of axes runs the other way). That is no fault: here, scans "
        "are turned by their headers. Programs that do not turn them, nnU-Net among them, see such a scan mirrored."
    )
    return html.section(
        "What is drawn",
        html.picture(figure, "scans by number of labels, and scans by class"),
        html.paragraph(f"Stored: {stored}.{remark if left else ''}"),
    )


def _is_left_handed(codes: str) -> bool:
    turn = nib.orientations.axcodes2ornt(codes)
    return np.linalg.det(nib.orientations.inv_ornt_aff(turn, (2, 2, 2))[:3, :3]) < 0


def _faults_section(by_kind: Mapping[FaultKind, Sequence[str]]) -> str:
    if not by_kind:
        return html.section("Faults", html.paragraph("None was found."))
    rows = [
        (kind.severity, kind.title, str(len(cases)), ", ".join(cases[:OPEN]) + ", ..." * (len(cases) > OPEN))
        for kind, cases in by_kind.items()
    ]
    return html.section("Faults", html.table(("what became of it", "fault", "cases", "names"), rows, sentences=True))


def _kind_section(kind: FaultKind, faults: Sequence[Mapping], cases: Mapping[str, Mapping]) -> str:
    found = [fault for fault in faults if fault["kind"] == kind.id]
    rows = [(fault["id"], fault["message"]) for fault in found]
    parts = [html.table(("case", "fault"), rows[:OPEN], sentences=True)]
    if rows[OPEN:]:
        more = html.table(("case", "fault"), rows[OPEN:], sentences=True)
        parts.append(html.folded(f"{len(rows) - OPEN} more", more))
    return html.section(f"{kind.title} ({kind.severity})", _picture(kind, found, cases), *parts)


def _picture(kind: FaultKind, found: Sequence[Mapping], cases: Mapping[str, Mapping]) -> str:
    """Picture of the first case of a kind that can be drawn."""
    for fault in [fault for fault in found if fault["id"] in cases][:TRIED]:
        drawn = fault_picture(cases[fault["id"]], kind.id in NOT_HU)
        if drawn is None:
            continue
        png, classes = drawn
        chips = "".join(
            f"<span><span class=chip style='background:{html.CHIP_COLORS[NAMES[class_id]]}'></span>"
            f"{NAMES[class_id]}</span>"
            for class_id in classes
        )
        window = (
            "gray over the scan's own values" if kind.id in NOT_HU else f"window {WINDOW_HU[0]} to {WINDOW_HU[1]} HU"
        )
        caption = (
            f"{fault['id']}: axial and coronal (the patient's right is on the left), sagittal (the front is on the "
            f"left); {window}; {'label in color' if classes else 'no label can be drawn'}."
        )
        return html.picture(png, caption) + html.paragraph(caption) + f"<div class=chips>{chips}</div>\n"
    return ""
