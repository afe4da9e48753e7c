"""The report of a small made-up work folder: real scans, scores, curves and manifests; and its pictures."""

import base64
import io
import json
import os
import re

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread

from abdoseg.files import CaseError, write_json
from tools.evaluate import evaluate
from tools.report import learning_curves, report
from tools.report_figures import cut, overlay_figure, scores_figure, telling_slices
from tools.report_page import class_chips, duration, score_table

LIVER, SPLEEN, TUMOR = 1, 3, 14
SPACING = (5, 5, 8)


def phantom(shift=0):
    """Elliptic body (x, y, z) RAS with a liver on the patient's right, a spleen on the left, a tumor in the liver."""
    x, y, z = np.indices((64, 48, 30))
    body = ((x - 32) / 30) ** 2 + ((y - 24) / 22) ** 2 < 1
    labels = np.zeros(x.shape, dtype=np.uint8)
    labels[((x - 43 - shift) / 14) ** 2 + ((y - 26) / 13) ** 2 + ((z - 18) / 9) ** 2 < 1] = LIVER
    labels[((x - 14 - shift) / 6) ** 2 + ((y - 16) / 7) ** 2 + ((z - 18) / 6) ** 2 < 1] = SPLEEN
    labels[((x - 46 - shift) / 4) ** 2 + ((y - 26) / 4) ** 2 + ((z - 16) / 3) ** 2 < 1] = TUMOR
    image = np.where(body, np.choose(np.minimum(labels, 4), [-60, 60, 0, 90, 20]), -1000).astype(np.int16)
    return image, labels


def save(path, array, axes="RAS"):
    path.parent.mkdir(parents=True, exist_ok=True)
    orientation = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes)
    )
    nib.save(nib.Nifti1Image(array, np.diag([*SPACING, 1])).as_reoriented(orientation), path)


@pytest.fixture
def work(tmp_path):
    """A finished chain: four test scans, one of them stored LPS; the student's shift grows from case a to case d."""
    work = tmp_path / "demo <1>"
    image, labels = phantom()
    for shift, case in enumerate("abcd"):
        axes = "LPS" if case == "b" else "RAS"
        save(tmp_path / f"images/{case}_0000.nii.gz", image, axes)
        save(tmp_path / f"truth/{case}.nii.gz", labels, axes)
        predicted = phantom(shift)[1]
        save(work / f"predictions/student/{case}.nii.gz", predicted, axes)
        save(work / f"predictions/teacher/{case}.nii.gz", np.where(predicted == TUMOR, LIVER, predicted), axes)
    (work / "predictions/teacher/d.nii.gz").unlink()
    for arm in ("student", "teacher"):
        evaluate(work / "predictions" / arm, tmp_path / "truth", output=work / "scores" / f"{arm}.json")
    entries = [
        {"id": case, "image": f"../../images/{case}_0000.nii.gz", "label": f"../../truth/{case}.nii.gz", "kind": "test"}
        for case in "abcd"
    ]
    write_json(work / "audit/datalist.json", {"name": "made up", "training": [], "testing": entries})
    write_json(
        work / "audit/audit.json",
        {
            "label_counts": {"1": 5, "13": 2},
            "class_cases": {"liver": 3, "tumor": 4},
            "kinds": {"strong": 2, "weak": 5},
            "excluded": [{"id": "0042", "reason": "0042.nii.gz: the label is empty."}],
        },
    )
    for number, stage in enumerate(("teacher", "merge")):
        write_json(
            work / f"manifests/{stage}.json", {"stage": stage, "seconds": 90.0 + number, "versions": {"monai": "1.6.1"}}
        )
    lines = [{"epoch": n, "loss": 2 / n, "lr": 0.01, "validation_dsc": 0.5 if n == 2 else None} for n in (1, 2, 3)]
    (work / "fine").mkdir()
    (work / "fine/learning_curve.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return work


def test_the_report_is_one_file_with_everything_in_it(work):
    path = report(str(work))["report"]
    assert path == str(work / "report" / "index.html")
    text = (work / "report" / "index.html").read_text()
    sources = re.findall(r'src="([^"]*)"', text)
    pictures = [base64.b64decode(source.removeprefix("data:image/png;base64,"), validate=True) for source in sources]
    # Scores by class, three cases, label statistics, learning curves.
    assert len(pictures) == 6
    assert all(imread(io.BytesIO(picture)).shape[1] > 400 for picture in pictures)
    assert not re.search(r"https?://|<script|<link|url\(", text)
    assert "<h1>demo &lt;1&gt;</h1>" in text
    assert "best: a, mean DSC 1.000" in text
    assert "median: c," in text
    assert "worst: d," in text
    assert "0042.nii.gz: the label is empty." in text
    assert "scoring teacher" in text
    assert "d.nii.gz: there is no such prediction" in text
    assert "3 min 01 s" in text
    assert "1.6.1" in text
    assert (work / "report/overlay.png").read_bytes() == pictures[2]


def test_the_table_shows_the_scores_of_each_arm(work):
    arms = ("teacher", "student")
    summaries = {arm: json.loads((work / f"scores/{arm}.json").read_text())["summary"] for arm in arms}
    (row,) = re.findall(r"<tr[^>]*><td><span[^>]*></span>tumor</td>(.*?)</tr>", score_table(summaries))
    dsc = summaries["student"]["tumor_dsc"]
    assert 0.4 < dsc < 0.9
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", row)
    assert cells[:3] == ["0.000", "0.000", "3"]
    assert cells[5] == f"{dsc:.3f}"
    assert cells[7] == "4"
    (host,) = re.findall(r"<tr><td>in the liver</td>(.*?)</tr>", score_table(summaries))
    assert re.findall(r"<td[^>]*>([^<]*)</td>", host) == ["0.000", "", "3", "", "", f"{dsc:.3f}", "", "4", "", ""]
    assert "in the pancreas" not in score_table(summaries)
    (mean,) = re.findall(r"<tr class=mean><td>mean of the organs</td>(.*?)</tr>", score_table(summaries))
    assert f">{summaries['student']['organ_mean_dsc']:.3f}<" in mean


def test_the_table_can_show_the_means_or_the_official_scores_alone(work):
    summary = json.loads((work / "scores/teacher.json").read_text())["summary"]
    for options, head, cells in (
        ({"official": False}, ["DSC", "NSD", "n"], ["0.000", "0.000", "3"]),
        ({"means": False}, ["official DSC", "NSD"], ["0.000", "0.000"]),
    ):
        table = score_table({"teacher": summary}, **options)
        assert re.findall(r"<th[^>]*>([^<]*)</th>", table)[3:] == head
        (row,) = re.findall(r"<tr[^>]*><td><span[^>]*></span>tumor</td>(.*?)</tr>", table)
        assert re.findall(r"<td[^>]*>([^<]*)</td>", row) == cells
        assert ("in the liver" in table) == ("means" not in options)


def test_missing_pieces_are_named_not_fatal(work):
    for path in ("audit/audit.json", "fine/learning_curve.jsonl", "manifests/teacher.json", "manifests/merge.json"):
        (work / path).unlink()
    (work.parent / "images/d_0000.nii.gz").unlink()
    report(str(work), output=str(work / "other.html"), title="A & B")
    text = (work / "other.html").read_text()
    for words in (
        "A &amp; B",
        "No label statistics",
        "No learning curve",
        "No stage has left its time",
        "d_0000.nii.gz: there is no such",
    ):
        assert words in text
    for path in (work / "scores").iterdir():
        path.unlink()
    report(str(work), output=str(work / "other.html"))
    assert "No scores: nothing has been evaluated." in (work / "other.html").read_text()


def test_five_arms(work, capsys):
    """The cascades find what the student finds; the combination finds it in scans a and c only, so that it is worse."""
    student = json.loads((work / "scores/student.json").read_text())
    for arm in ("cascade_labeled", "cascade", "student_cascade"):
        cases = json.loads(json.dumps(student["cases"]))
        if arm == "student_cascade":
            cases["b"]["tumor"]["dsc"] = cases["d"]["tumor"]["dsc"] = 0.0
        write_json(work / f"scores/{arm}.json", {**student, "cases": cases})
    report(str(work))
    results = json.loads((work / "results.json").read_text())
    arms = ["teacher", "student", "cascade_labeled", "cascade", "student_cascade"]
    assert list(results["arms"]) == arms
    assert results["arms"]["cascade"]["tumor_by_host"]["liver"]["n"] == 4
    assert results["arms"]["student"]["classes"]["tumor"]["nsd"] > 0
    compared = {entry["arm"]: entry for entry in results["comparisons"]}
    assert list(compared) == arms[2:]
    assert compared["cascade"]["tumor_dsc"] == {"difference": 0.0, "interval": None, "n": 4}
    missed = [student["cases"][case]["tumor"]["dsc"] for case in "bd"]
    lost = compared["student_cascade"]["tumor_dsc"]
    assert lost["difference"] == pytest.approx(-sum(missed) / 4, abs=1e-4)
    assert -max(missed) <= lost["interval"][0] < lost["difference"] < lost["interval"][1] <= 0
    assert compared["student_cascade"]["organ_mean_dsc"]["difference"] == 0
    printed = capsys.readouterr().out
    text = (work / "report/index.html").read_text()
    for words in ("[no interval]", f"{lost['difference']:+.3f} ["):
        assert words in printed
        assert words in text
    assert "against student" in printed
    assert "each arm was trained once" in text
    assert "Differences from the student" in text
    assert "Shown: student, cascade, student_cascade;" in text
    assert "<summary>official FLARE23 scores</summary>" in text


def test_strict_scores_are_shown_where_they_are_there(work):
    report(str(work))
    text = (work / "report/index.html").read_text()
    assert "Strict scores" not in text
    assert "notes on the official rules" not in text
    evaluate(work / "predictions/student", work.parent / "truth", output=work / "scores/student.json", strict=True)
    scores = json.loads((work / "scores/student.json").read_text())
    write_json(work / "scores/student.json", {**scores, "notes": {"a": ["The aorta <1>"]}})
    report(str(work))
    text = (work / "report/index.html").read_text()
    assert text.count("Strict scores of the") == 1
    liver = scores["strict"]["summary"]["classes"]["liver"]
    low, high = liver["dsc_interval"]
    assert f"{liver['dsc']:.3f} [{low:.3f}, {high:.3f}]" in text
    assert "<td>20 mm and above</td><td>4</td><td>4</td><td>0</td>" in text
    assert "Every scan in which somebody looked for tumors has one." in text
    assert "The aorta &lt;1&gt;" in text


def test_two_arms_of_which_one_knows_no_tumor_are_not_compared(work, capsys):
    report(str(work))
    assert json.loads((work / "results.json").read_text())["comparisons"] == []
    assert "against" not in capsys.readouterr().out
    assert "Differences" not in (work / "report/index.html").read_text()


def test_more_arms_than_colors_are_all_drawn(work):
    scores = json.loads((work / "scores/student.json").read_text())
    few, many = (imread(io.BytesIO(scores_figure(dict.fromkeys(map(str, range(n)), scores)))) for n in (6, 9))
    assert many.shape[0] > few.shape[0]
    dark = [np.count_nonzero((picture[..., :3] < 0.3).all(axis=-1)) for picture in (few, many)]
    assert dark[1] > dark[0]  # three more names in the legend


def test_learning_curves_are_those_of_all_networks_in_the_order_of_their_training(work):
    line = json.dumps({"epoch": 1, "loss": 1.0, "lr": 0.01, "validation_dsc": None})
    for age, name in enumerate(("tumors/liver/1", "teacher", "tumors/liver/0", "tumors/rest", "organs")):
        path = work / name / "learning_curve.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(line)
        os.utime(path, (1e9 - age, 1e9 - age))
    curves = learning_curves(work)
    assert list(curves) == ["organs", "tumors/rest", "tumors/liver/0", "teacher", "tumors/liver/1", "fine"]
    assert curves["fine"] == work / "fine/learning_curve.jsonl"
    before = (work / "fine/learning_curve.jsonl").read_bytes()
    report(str(work))
    # Six networks are two pictures more than the five of scores, cases and label statistics.
    assert (work / "report/index.html").read_text().count("<img ") == 7
    assert (work / "fine/learning_curve.jsonl").read_bytes() == before


def test_a_folder_that_no_chain_has_worked_in_is_refused(tmp_path):
    with pytest.raises(CaseError, match=r"no audit/datalist\.json; give the work folder"):
        report(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_pictures_follow_the_radiological_convention():
    volume = np.zeros((4, 5, 6))  # RAS: the highest index is right, anterior, superior
    volume[3, 4, 5] = 1
    assert cut(volume, "axial", 5)[0, 0] == 1  # right on the left, front up
    assert cut(volume, "coronal", 4)[0, 0] == 1  # right on the left, head up
    assert cut(volume, "sagittal", 3)[0, 0] == 1  # front on the left, head up
    assert [cut(volume, plane, 0).shape for plane in ("axial", "coronal", "sagittal")] == [(5, 4), (6, 4), (6, 5)]


def test_overlays_show_the_liver_red_on_the_left_and_the_tumor_only_where_it_is():
    image, labels = phantom()
    without = np.where(labels == TUMOR, LIVER, labels).astype(np.uint8)
    png = imread(io.BytesIO(overlay_figure(image, SPACING, {"truth": labels, "student": without})))[..., :3]
    top = png[: png.shape[0] // 4]  # inside the axial row
    plain, truth, student = np.array_split(top, 3, axis=1)
    red, green, blue = np.moveaxis(truth, -1, 0)
    assert np.mean(np.nonzero((red > green + 0.15) & (red > blue + 0.15))[1]) < truth.shape[1] / 2

    def magenta(part):
        return np.count_nonzero((part[..., 0] > part[..., 1] + 0.3) & (part[..., 2] > part[..., 1] + 0.3))

    assert magenta(truth) > 50
    assert magenta(plain) == magenta(student) == 0


def test_telling_slices_show_the_tumor_and_otherwise_the_most_classes():
    labels = np.zeros((8, 8, 8), dtype=np.uint8)
    labels[1:7, 1:7, 2] = LIVER
    labels[1:7, 1:4, 5] = LIVER
    labels[1:7, 4:7, 5] = SPLEEN
    assert telling_slices(labels)["axial"] == 5
    labels[3, 3, 7] = TUMOR
    assert telling_slices(labels) == {"axial": 7, "coronal": 3, "sagittal": 3}
    assert telling_slices(np.zeros((4, 6, 8))) == {"axial": 4, "coronal": 3, "sagittal": 2}


def test_chips_tell_a_missed_class_from_a_wrongly_found_one():
    chips = class_chips(
        {
            "liver": {"dsc": 0.0, "nsd": 0.0, "present": True},
            "spleen": {"dsc": 0.0, "nsd": 0.0, "present": False},
            "aorta": {"dsc": 1.0, "nsd": 1.0, "present": False},
        }
    )
    assert "liver 0.000" in chips
    assert "spleen found, but absent" in chips
    assert "aorta" not in chips


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.44, "8.4 s"), (59.97, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text
