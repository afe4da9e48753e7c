"""Write the report of a chain: one HTML file with scores, pictures, label statistics, learning curves and times."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from abdoseg.datalist import read_datalist
from abdoseg.files import CaseError, atomic_path, glob, write_json
from tools import report_page as html
from tools.chain import outdated
from tools.comparison import compare_arms, format_comparisons
from tools.report_cases import case_pictures
from tools.report_figures import label_statistics_figure, learning_curves_figure
from tools.report_scores import scores_section
from tools.results import collect_results, format_results, ordered_arms, tumor_arms

CURVE_FILE = "learning_curve.jsonl"
NETWORKS_IN_A_PICTURE = 4
Paths = Mapping[str, str | os.PathLike]


def report(work_dir: str, output: str | None = None, title: str | None = None) -> dict:
    """Write one HTML file that shows what a chain has done, from the files in its work folder.

    It reads audit/datalist.json, audit/audit.json, scores/ARM.json, predictions/ARM/, manifests/ and every
    learning_curve.jsonl in the folders below. What is missing is left out and named, and so are scores of what another
    run of a chain has made anew since. Beside the HTML file, overlay.png
    shows the median case, and WORK_DIR/results.json holds the figures.

    Arms that know the tumor (all but "teacher") are compared with the first of them, scan by scan; their order is
    teacher, student, cascade_labeled, cascade, student_cascade, then others by name.

    Args:
        work_dir: The chain's work folder.
        output: HTML file to write; WORK_DIR/report/index.html if left out.
        title: Headline; the name of the work folder if left out.

    Returns:
        {"report": path of the HTML file}
    """
    work = Path(work_dir).absolute()
    if not (work / "audit" / "datalist.json").is_file():
        raise CaseError(f"{work}: no audit/datalist.json; give the work folder of `python -m tools run`.")
    manifests = _manifests(work / "manifests")
    old = outdated({manifest["stage"]: manifest for manifest in manifests})
    score_files = {path.stem: path for path in glob(work / "scores", "*.json")}
    left_out = sorted(arm for arm in score_files if f"score_{arm}" in old)
    arms = {arm: score_files[arm] for arm in ordered_arms(set(score_files) - set(left_out))}
    seconds = {manifest["stage"]: manifest["seconds"] for manifest in manifests if "seconds" in manifest}
    versions = manifests[-1].get("versions", {}) if manifests else {}
    output_html = Path(output) if output else work / "report" / "index.html"
    build_report(
        output_html,
        title or work.name,
        arms=arms,
        predictions={arm: work / "predictions" / arm for arm in arms},
        datalist=work / "audit" / "datalist.json",
        audit=work / "audit" / "audit.json",
        curves=learning_curves(work),
        seconds=seconds,
        versions=versions,
        failed={manifest["stage"]: manifest["failed"] for manifest in manifests if manifest.get("failed")},
    )
    scores = {arm: json.loads(path.read_text()) for arm, path in arms.items()}
    results = collect_results(scores, compare_arms(scores), seconds, versions)
    write_json(work / "results.json", results)
    print(format_results(results))
    if results["comparisons"]:
        print("", format_comparisons(results["comparisons"]), "", sep="\n")
    if left_out:
        print(f"left out: {', '.join(left_out)}, scored before what they use was made anew; run their chain again.")
    print(f"figures: {work / 'results.json'}", f"report:  {output_html}", sep="\n")
    return {"report": str(output_html)}


def build_report(
    output_html: str | os.PathLike,
    title: str,
    arms: Paths,
    predictions: Paths,
    datalist: str | os.PathLike,
    audit: str | os.PathLike | None,
    curves: Paths,
    seconds: Mapping[str, float],
    versions: Mapping[str, str],
    failed: Mapping[str, Mapping[str, str]],
) -> None:
    """Write the report from named files; the cases that are pictured are chosen by the last arm.

    Parameters
    ----------
    output_html : file to write; overlay.png is written beside it.
    title : headline.
    arms : arm (teacher, student) -> JSON file of ``evaluate``.
    predictions : arm -> folder of predicted label maps ID.nii.gz.
    datalist : datalist whose section "testing" names the scored scans and their truth.
    audit : JSON file of ``audit``, or None.
    curves : network -> file of JSON lines ``{"epoch", "loss", "lr", "validation_dsc": float or None}``.
    seconds : stage -> wall time in s.
    versions : package -> version.
    failed : stage -> ``{case: reason}`` of what it set aside.
    """
    output_html = Path(output_html)
    scores = {arm: json.loads(Path(path).read_text()) for arm, path in arms.items()}
    cases = read_datalist(datalist)
    findings = json.loads(Path(audit).read_text()) if audit and Path(audit).is_file() else {}
    overlays, pictures = case_pictures(scores, predictions, cases.get("testing", []))
    if pictures:
        with atomic_path(output_html.with_name("overlay.png")) as temporary:
            temporary.write_bytes(pictures.get("median", next(iter(pictures.values()))))
    sections = [
        scores_section(scores),
        html.section("Best, median and worst case", *overlays),
        _data_section(cases, findings),
        _curves_section(curves),
        html.section("Time", html.time_table(seconds) if seconds else html.note("No stage has left its time.")),
        _failures_section(scores, findings.get("excluded", cases.get("excluded", [])), failed),
        html.section("Versions", html.table(("package", "version"), versions.items())) if versions else "",
    ]
    written = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    counts = ", ".join(
        f"{len(cases.get(key, []))} {word}"
        for key, word in (("training", "training"), ("unlabeled", "unlabeled"), ("testing", "test"))
    )
    document = html.page(title, f"written {written} · {counts} scans", _tiles(scores, seconds), sections)
    with atomic_path(output_html) as temporary:
        temporary.write_text(document, encoding="utf-8", errors="backslashreplace")


def learning_curves(work_dir: str | os.PathLike) -> dict[str, Path]:
    """Learning curves in the folders below a work folder: the network's folder in it -> file, the oldest first."""
    work = Path(work_dir)
    files = sorted(work.rglob(CURVE_FILE), key=lambda path: (path.stat().st_mtime, path))
    return {path.parent.relative_to(work).as_posix(): path for path in files}


def _manifests(folder: Path) -> list[dict]:
    """Manifests of the stages, in the order in which they ended."""
    paths = sorted(glob(folder, "*.json"), key=lambda path: path.stat().st_mtime)
    return [json.loads(path.read_text()) for path in paths]


def _tiles(scores: Mapping[str, Mapping], seconds: Mapping[str, float]) -> dict[str, str]:
    tiles = {}
    for arm, content in scores.items():
        tiles[f"{arm}: organ mean DSC"] = html.number(content["summary"]["organ_mean_dsc"])
    for arm in tumor_arms(scores) or scores:
        tiles[f"{arm}: tumor DSC"] = html.number(scores[arm]["summary"]["tumor_dsc"])
    if scores:
        tiles["scans scored"] = str(max(len(content["cases"]) for content in scores.values()))
    if seconds:
        tiles["all stages together"] = html.duration(sum(seconds.values()))
    return tiles


def _data_section(cases: Mapping, findings: Mapping) -> str:
    kinds = findings.get("kinds", {})
    parts = [html.paragraph("Scans: " + ", ".join(f"{count} {kind}" for kind, count in kinds.items()))] if kinds else []
    if findings.get("label_counts"):
        figure = label_statistics_figure(findings["label_counts"], findings.get("class_cases", {}))
        parts.append(html.picture(figure, "scans by number of labels, and scans by class"))
    else:
        parts.append(html.note("No label statistics: audit.json is missing."))
    return html.section(f"The data set {cases.get('name', '')}".strip(), *parts)


def _curves_section(curves: Paths) -> str:
    lines = [
        (name, [json.loads(line) for line in Path(path).read_text().splitlines() if line.strip()])
        for name, path in curves.items()
    ]
    groups = [lines[start : start + NETWORKS_IN_A_PICTURE] for start in range(0, len(lines), NETWORKS_IN_A_PICTURE)]
    parts = [
        html.picture(learning_curves_figure(dict(group)), "training loss and validation DSC by epoch")
        for group in groups
    ]
    if not parts:
        parts.append(html.note(f"No learning curve: no network has left a {CURVE_FILE} in the work folder."))
    return html.section("Learning curves", *parts)


def _failures_section(
    scores: Mapping[str, Mapping], excluded: Sequence[Mapping], failed: Mapping[str, Mapping[str, str]]
) -> str:
    rows = [("audit", entry["id"], entry["reason"]) for entry in excluded]
    rows += [
        (f"scoring {arm}", case, reason)
        for arm, content in scores.items()
        for case, reason in content["failed"].items()
    ]
    told = {(case, reason) for _, case, reason in rows}
    rows += [
        (stage, case, reason)
        for stage, cases in failed.items()
        for case, reason in cases.items()
        if (case, reason) not in told
    ]
    body = (
        html.table(("step", "case", "reason"), rows, sentences=True)
        if rows
        else html.paragraph("No case was set aside.")
    )
    return html.section("Set aside", body)
