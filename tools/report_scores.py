"""The scores in the report: tables by class and by case, arms against each other, strict scores."""

from collections.abc import Mapping, Sequence

from abdoseg.metrics.summary import ORGANS, TUMOR
from tools import report_page as html
from tools.comparison import MEANING, MEASURES, compare_arms, comparison_rows
from tools.report_figures import scores_figure
from tools.results import FEW_ARMS, case_mean
from tools.score_tables import lesion_rows, strict_rows, tumor_free_text


def scores_section(scores: Mapping[str, Mapping]) -> str:
    """Tables and a picture of the scores of each arm; the strict ones where they are there.

    Parameters
    ----------
    scores : arm -> content of a JSON file of ``evaluate``.
    """
    if not scores:
        return html.section("Scores", html.note("No scores: nothing has been evaluated."))
    heads = ["case", *(f"{arm}: {what} DSC" for arm in scores for what in ("organ mean", "tumor"))]
    rows = [
        [case, *(text for content in scores.values() for text in _case_texts(content["cases"].get(case, {})))]
        for case in sorted({case for content in scores.values() for case in content["cases"]})
    ]
    summaries = {arm: content["summary"] for arm, content in scores.items()}
    few = len(scores) <= FEW_ARMS
    official = html.folded("official FLARE23 scores", html.score_table(summaries, means=False))
    return html.section(
        "Scores",
        html.paragraph(
            f"DSC and NSD are means over the n scans that contain the class. The official FLARE23 scores "
            f"{'beside' if few else 'below'} them give full marks to a class that is rightly absent. "
            "An arm that has no tumor class scores 0 on every tumor."
        ),
        html.score_table(summaries, official=few),
        "" if few else official,
        *_comparison_parts(scores),
        html.picture(scores_figure(scores), "DSC of every scan by class"),
        html.paragraph("A dot is a scan that contains the class, a bar the mean."),
        *(part for arm, content in scores.items() if "strict" in content for part in _strict_parts(arm, content)),
        *_notes_parts(scores),
        html.folded("every case", html.table(heads, rows)),
    )


def _comparison_parts(scores: Mapping[str, Mapping]) -> list[str]:
    comparisons = compare_arms(scores)
    if not comparisons:
        return []
    heads = ["arm", *(text for title, _ in MEASURES.values() for text in (title, "n"))]
    return [
        f"<h3>Differences from the {html.escape(comparisons[0]['baseline'])}</h3>",
        html.table(heads, comparison_rows(comparisons)),
        html.paragraph(MEANING),
    ]


def _case_texts(classes: Mapping) -> tuple[str, str]:
    return html.number(case_mean(classes, ORGANS)), html.number(case_mean(classes, [TUMOR]))


def _strict_parts(arm: str, content: Mapping) -> list[str]:
    summary = content["strict"]["summary"]
    parts = [
        f"<h3>Strict scores of the {html.escape(arm)}</h3>",
        html.table(*_heads_and_rows(strict_rows(summary))),
        html.paragraph(
            "Over the n scans that contain the class and in which somebody looked for it, with all slices of tubular "
            "organs; in brackets 95 % bootstrap intervals over scans. Bias: predicted less true volume."
        ),
    ]
    if summary["lesions"] is None:
        return parts
    return [
        *parts,
        html.table(*_heads_and_rows(lesion_rows(summary["lesions"]))),
        html.paragraph(f"{tumor_free_text(summary['lesions'])} A tumor is found if it overlaps by an IoU of 0.1."),
    ]


def _heads_and_rows(rows: Sequence[Sequence[str]]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    return rows[0], rows[1:]


def _notes_parts(scores: Mapping[str, Mapping]) -> list[str]:
    rows = [
        (arm, case, note)
        for arm, content in scores.items()
        for case, notes in content.get("notes", {}).items()
        for note in notes
    ]
    return [html.folded("notes on the official rules", html.table(("arm", "case", "note"), rows, True))] if rows else []
