"""Write the report of a chain: one HTML file with scores, pictures, label statistics, learning curves and times."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import fmean

import numpy as np

from abdoseg.datalist import read_datalist
from abdoseg.files import CaseError, atomic_path, write_json
from abdoseg.label_maps import grid_difference, open_volume, read_label_map
from abdoseg.labels import NAMES, ORGAN_IDS, TUMOR_ID
from abdoseg.metrics import to_ras
from tools import report_page as html
from tools.report_figures import label_statistics_figure, learning_curves_figure, overlay_figure, scores_figure
from tools.results import collect_results, format_results

NETWORKS = ("teacher", "coarse", "fine")
Paths = Mapping[str, str | os.PathLike]


def report(work_dir: str, output: str | None = None, title: str | None = None) -> dict:
    """Write one HTML file that shows what a chain has done, from the files in its work folder.

    It reads audit/datalist.json, audit/audit.json, scores/ARM.json, predictions/ARM/, learning_curve.jsonl of the
    networks (teacher/, coarse/, fine/) and manifests/. What is missing is left out and named. Beside the HTML file,
    overlay.png shows the median case, and WORK_DIR/results.json holds the figures.

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
    score_files = sorted((work / "scores").glob("*.json"), key=lambda path: (path.stem != "teacher", path.stem))
    manifests = _manifests(work / "manifests")
    seconds = {manifest["stage"]: manifest["seconds"] for manifest in manifests if "seconds" in manifest}
    versions = manifests[-1].get("versions", {}) if manifests else {}
    output_html = Path(output) if output else work / "report" / "index.html"
    build_report(
        output_html,
        title or work.name,
        arms={path.stem: path for path in score_files},
        predictions={path.stem: work / "predictions" / path.stem for path in score_files},
        datalist=work / "audit" / "datalist.json",
        audit=work / "audit" / "audit.json",
        curves={name: work / name / "learning_curve.jsonl" for name in NETWORKS},
        seconds=seconds,
        versions=versions,
        failed={manifest["stage"]: manifest["failed"] for manifest in manifests if manifest.get("failed")},
    )
    results = collect_results({path.stem: json.loads(path.read_text()) for path in score_files}, seconds, versions)
    write_json(work / "results.json", results)
    print(format_results(results))
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
    """Write the report from named files; the last arm is the one whose cases are pictured.

    Parameters
    ----------
    output_html : file to write; overlay.png is written beside it.
    title : headline.
    arms : arm (teacher, student) -> JSON file of ``evaluate``.
    predictions : arm -> folder of predicted label maps ID.nii.gz.
    datalist : datalist whose section "testing" names the scored scans and their truth.
    audit : JSON file of ``audit``, or None.
    curves : network -> JSON lines ``{"epoch", "loss", "lr", "validation_dsc": float or None}``; need not exist.
    seconds : stage -> wall time in s.
    versions : package -> version.
    failed : stage -> ``{case: reason}`` of what it set aside.
    """
    output_html = Path(output_html)
    scores = {arm: json.loads(Path(path).read_text()) for arm, path in arms.items()}
    cases = read_datalist(datalist)
    findings = json.loads(Path(audit).read_text()) if audit and Path(audit).is_file() else {}
    overlays, pictures = _pictures(scores, predictions, cases.get("testing", []))
    if pictures:
        with atomic_path(output_html.with_name("overlay.png")) as temporary:
            temporary.write_bytes(pictures.get("median", next(iter(pictures.values()))))
    sections = [
        _scores_section(scores),
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
        temporary.write_text(document, encoding="utf-8")


def ranked_cases(scores: Mapping) -> dict[str, str]:
    """Best, median and worst case by the mean DSC over the classes that the reference contains.

    Parameters
    ----------
    scores : content of a JSON file of ``evaluate``.

    Returns
    -------
    ``{"best": id, "median": id, "worst": id}``; with fewer than three cases only the first ones.
    """
    means = {case: _case_mean(classes, NAMES.values()) for case, classes in scores["cases"].items()}
    ranked = sorted((case for case in means if means[case] is not None), key=means.get, reverse=True)
    chosen = [ranked[0], ranked[len(ranked) // 2], ranked[-1]] if len(ranked) > 2 else ranked
    return dict(zip(("best", "median", "worst"), chosen, strict=False))


def _case_mean(classes: Mapping[str, Mapping], names) -> float | None:
    values = [classes[name]["dsc"] for name in names if name in classes and classes[name]["present"]]
    return fmean(values) if values else None


def _manifests(folder: Path) -> list[dict]:
    """Manifests of the stages, in the order in which they ended."""
    return [
        json.loads(path.read_text()) for path in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
    ]


def _tiles(scores: Mapping[str, Mapping], seconds: Mapping[str, float]) -> dict[str, str]:
    tiles = {}
    for arm, content in scores.items():
        tiles[f"{arm}: organ mean DSC"] = html.number(content["summary"]["organ_mean_dsc"])
    if scores:
        arm, content = list(scores.items())[-1]
        tiles[f"{arm}: tumor DSC"] = html.number(content["summary"]["tumor_dsc"])
        tiles["scans scored"] = str(len(content["cases"]))
    if seconds:
        tiles["all stages together"] = html.duration(sum(seconds.values()))
    return tiles


def _scores_section(scores: Mapping[str, Mapping]) -> str:
    if not scores:
        return html.section("Scores", html.note("No scores: nothing has been evaluated."))
    heads = ["case", *(f"{arm}: {what} DSC" for arm in scores for what in ("organ mean", "tumor"))]
    rows = [
        [case, *(text for content in scores.values() for text in _case_texts(content["cases"].get(case, {})))]
        for case in sorted({case for content in scores.values() for case in content["cases"]})
    ]
    return html.section(
        "Scores",
        html.paragraph(
            "DSC and NSD are means over the n scans that contain the class. The official FLARE23 scores beside them "
            "give full marks to a class that is rightly absent. An arm that has no tumor class scores 0 on every tumor."
        ),
        html.score_table({arm: content["summary"] for arm, content in scores.items()}),
        html.picture(scores_figure(scores), "DSC of every scan by class"),
        html.paragraph("A dot is a scan that contains the class, a bar the mean."),
        html.folded("every case", html.table(heads, rows)),
    )


def _case_texts(classes: Mapping) -> tuple[str, str]:
    organs = [NAMES[organ] for organ in ORGAN_IDS]
    return html.number(_case_mean(classes, organs)), html.number(_case_mean(classes, [NAMES[TUMOR_ID]]))


def _pictures(
    scores: Mapping[str, Mapping], predictions: Paths, testing: Sequence[Mapping]
) -> tuple[list[str], dict[str, bytes]]:
    """HTML of the pictured cases, and their pictures."""
    if not scores:
        return [html.note("No scores: no case to choose.")], {}
    main_arm = list(scores)[-1]
    entries = {entry["id"]: entry for entry in testing}
    parts = [
        html.paragraph(
            f"Chosen by the mean DSC of the {main_arm}. The slices show most classes of the truth. White lines on the "
            "predictions are the truth's outlines. Radiological convention: the patient's right is on the left of "
            "axial and coronal pictures, the front on the left of sagittal ones. Window -160 to 240 HU."
        )
    ]
    pictures = {}
    for rank, case in ranked_cases(scores[main_arm]).items():
        classes = scores[main_arm]["cases"][case]
        parts.append(
            f"<h3>{rank}: {html.escape(case)}, mean DSC {html.number(_case_mean(classes, NAMES.values()))}</h3>"
        )
        try:
            image, spacing, maps = _read_case(entries.get(case, {}), case, predictions)
        except CaseError as error:
            parts.append(html.note(f"No picture: {error}"))
            continue
        pictures[rank] = overlay_figure(image, spacing, maps)
        parts += [html.picture(pictures[rank], f"{rank} case {case} in three planes"), html.class_chips(classes)]
    return parts, pictures


def _read_case(entry: Mapping, case: str, predictions: Paths) -> tuple[np.ndarray, Sequence[float], dict]:
    if not entry.get("label"):
        raise CaseError(f"the datalist names no image with truth for case {case}.")
    volume = open_volume(entry["image"])
    files = {"truth": Path(entry["label"])}
    for arm, folder in predictions.items():
        path = Path(folder) / f"{case}.nii.gz"
        if path.is_file():
            files[arm] = path
    maps = {}
    for name, path in files.items():
        labels, label_image = read_label_map(path)
        difference = grid_difference(label_image, volume)
        if difference:
            raise CaseError(f"{path}: has {difference}; it must lie on the grid of its image {entry['image']}.")
        maps[name], _ = to_ras(labels, volume.affine)
    image, spacing = to_ras(volume.get_fdata(dtype=np.float32), volume.affine)
    return image, spacing, maps


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
    lines = {
        name: [json.loads(line) for line in Path(path).read_text().splitlines() if line.strip()]
        for name, path in curves.items()
        if Path(path).is_file()
    }
    missing = [name for name in curves if name not in lines]
    parts = [html.picture(learning_curves_figure(lines), "training loss and validation DSC by epoch")] if lines else []
    if missing:
        parts.append(html.note(f"No learning curve of: {', '.join(missing)}."))
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
