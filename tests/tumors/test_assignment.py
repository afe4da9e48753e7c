"""The assignment stage on files: hand-worked hosts and organ labels, orientations, resumption, cases left out."""

import json
import os

import nibabel as nib
import numpy as np
import pytest

from abdoseg.datalist import load_cases, read_datalist, write_datalist
from abdoseg.files import CaseError
from abdoseg.host_cases import load_host_cases
from abdoseg.tumors import AssignHosts, host_counts, tumor_foci
from tests.tumors.stage_cases import body, load, save, with_tumor

ORIENTATIONS = ("RAS", "LAS", "PIR")
LEFT_TWICE = ((10, 1, 1), (11, 2, slice(3, 5)))
# One focus in the right kidney, two in the left.
KIDNEYS = with_tumor(body(), (slice(2, 4), 1, 1), *LEFT_TWICE)
# A focus of five voxels with the box x 4:9, y 6:8, z 3: left there are two voxels of the liver, (4, 6) and (5, 7), and
# one of the stomach, (8, 7). Beside the other focus there is no organ.
LIVER = with_tumor(body(), (slice(5, 9), 6, 3), (4, 7, 3), (7, 1, 7))
# Left in its box, x 5:9, y 6:8, z 3, are a voxel of the liver, (5, 7), and one of the stomach, (8, 7): the lower id.
TIE = with_tumor(body(), (slice(5, 9), 6, 3), (slice(6, 8), 7, 3))
# Of its box, x 5:9, y 6:9, z 3, the liver has two voxels, (5, 7:9), the stomach three, (8, 7:9) and (7, 8).
STOMACH = with_tumor(body(), (slice(5, 9), 6, 3), (6, slice(7, 9), 3))
STOMACH[7, 8, 3] = 11
SEVEN = with_tumor(body(), *((x, y, 6) for x in (1, 3, 5) for y in (5, 7)), (3, 9, 3))


@pytest.fixture
def data(tmp_path):
    """Merged cases of every kind, two of them in other orientations, and sections to be carried along."""
    entries = {
        "kidneys": (KIDNEYS, "LAS", {"kind": "strong", "annotated_classes": [*range(1, 15)]}),
        "liver": (LIVER, "RAS", {"kind": "weak", "annotated_classes": [1]}),
        "healthy": (body(), "PIR", {"kind": "weak", "annotated_classes": [14], "validation": True}),
        "seven": (SEVEN, "RAS", {"kind": "weak", "annotated_classes": [14]}),
        "partial": (body(), "RAS", {"kind": "weak", "annotated_classes": [1]}),
        "held_out": (body(), "RAS", {"kind": "weak", "annotated_classes": [1], "validation": True}),
        "unlabeled": (body(), "RAS", {"kind": "unlabeled", "annotated_classes": []}),
    }
    training = []
    for name, (labels, axcodes, known) in entries.items():
        path = save(tmp_path / "labels" / f"{name}.nii.gz", labels, axcodes)
        training.append({"id": name, "image": f"images/{name}_0000.nii.gz", "label": path, **known})
    content = {
        "seed": 5,
        "training": training,
        "unlabeled": [{"id": "u", "image": "images/u_0000.nii.gz", "kind": "unlabeled"}],
        "testing": [{"id": "t", "image": "images/t_0000.nii.gz", "kind": "test"}],
        "excluded": [{"id": "e", "reason": "broken"}],
    }
    write_datalist(tmp_path / "datalist.json", content)
    return tmp_path


def stage(data, **settings) -> AssignHosts:
    return AssignHosts(data / "datalist.json", data / "out", progress=False, **settings)


def entries(path) -> dict[str, dict]:
    return {case["id"]: case for case in load_cases(path)}


def test_hosts_and_what_is_known(data):
    result = stage(data, num_threads=2).run()
    assert (result["assigned"], result["up_to_date"], result["failed"]) == (7, 0, {})
    tumors = entries(result["tumors"])
    none = {"1": 0, "2": 0, "11": 0, "13": 0}
    assert {name: (case["hosts"], case["tumor_known"]) for name, case in tumors.items()} == {
        "kidneys": ({**none, "2": 1, "13": 2}, True),
        "liver": ({"0": 1, **none, "1": 1}, True),
        "healthy": (none, True),
        "partial": (none, False),
        "held_out": (none, False),
        "unlabeled": (none, False),
    }
    assert tumors["kidneys"]["label"] == str(data / "labels" / "kidneys.nii.gz")
    assert tumors["kidneys"]["image"] == str(data / "images" / "kidneys_0000.nii.gz")
    assert tumors["healthy"]["validation"] is True
    # Those whose tumors are worth predicting: not known, not held out.
    assert list(entries(result["unknown"])) == ["partial", "unlabeled"]
    samples = load_host_cases(result["tumors"], "kidneys", healthy_per_tumor=9)
    assert [(case["id"], case["organ"]) for case in samples] == [
        ("kidneys", 2), ("kidneys", 13), ("liver", 2), ("liver", 13), ("healthy", 2), ("healthy", 13)
    ]  # fmt: skip


def test_organ_labels_enclose_tumors_or_have_holes(data):
    result = stage(data).run()
    organs = entries(result["organs"])
    assert list(organs) == ["kidneys", "liver", "healthy", "seven", "partial", "held_out", "unlabeled"]
    expected = LIVER.copy()
    expected[5:9, 6, 3] = 1
    expected[4, 7, 3] = 1
    expected[7, 1, 7] = 0
    np.testing.assert_array_equal(load(organs["liver"]["label"]), expected)
    # All the others lay within their organs.
    for name in ("kidneys", "healthy", "seven", "partial", "unlabeled"):
        assert organs[name]["label"] == str(data / "out" / "organ_labels" / f"{name}.nii.gz")
        np.testing.assert_array_equal(load(organs[name]["label"]), body())
    stored = nib.load(organs["healthy"]["label"])
    assert nib.aff2axcodes(stored.affine) == tuple("PIR")
    assert stored.get_data_dtype() == np.uint8

    stage(data, enclose=False).run()
    for name, labels in (("liver", LIVER), ("kidneys", KIDNEYS), ("seven", SEVEN)):
        np.testing.assert_array_equal(load(organs[name]["label"]), np.where(labels == 14, 0, labels))


def test_more_than_six_foci_leave_tumor_training_alone(data):
    result = stage(data).run()
    out, reason = data / "out", f"{data}/labels/seven.nii.gz: The label map has 7 tumor foci; at most 6 are taken"
    *_, last = read_datalist(result["tumors"])["excluded"]
    assert last["id"] == "seven"
    assert last["reason"].startswith(reason)
    assert "seven" in entries(result["organs"])
    for name in ("organs", "unknown"):
        assert [case["id"] for case in read_datalist(result[name])["excluded"]] == ["e"]
    assert list(json.loads((out / "summary.json").read_text())["too_many_foci"]) == ["seven"]
    # A setting that allows it does everything anew.
    again = stage(data, max_foci=7).run()
    assert (again["assigned"], again["up_to_date"]) == (7, 0)
    assert entries(again["tumors"])["seven"]["hosts"]["1"] == 7


def test_summary_and_the_other_sections(data):
    result = stage(data).run()
    summary = json.loads((data / "out" / "summary.json").read_text())
    assert summary["families"] == {
        "liver": {"cases": 1, "foci": 1},
        "pancreas": {"cases": 0, "foci": 0},
        "kidneys": {"cases": 1, "foci": 3},
        "rest": {"cases": 1, "foci": 1},
    }
    assert (summary["without_host"], summary["cases"], summary["tumor_known"]) == (1, 7, 3)
    for name in ("organs", "tumors", "unknown"):
        content = read_datalist(result[name])
        assert content["seed"] == 5
        assert [case["id"] for case in content["unlabeled"] + content["testing"]] == ["u", "t"]
    focus = json.loads((data / "out" / "summary" / "kidneys.json").read_text())["foci"]
    assert focus == [{"host": 2, "voxels": 2}, {"host": 13, "voxels": 1}, {"host": 13, "voxels": 2}]


@pytest.mark.parametrize(
    ("labels", "hosts"),
    [
        (KIDNEYS, {"1": 0, "2": 1, "11": 0, "13": 2}),
        (LIVER, {"0": 1, "1": 1, "2": 0, "11": 0, "13": 0}),
        (TIE, {"1": 1, "2": 0, "11": 0, "13": 0}),
        (STOMACH, {"1": 0, "2": 0, "11": 1, "13": 0}),
    ],
    ids=["kidneys", "liver", "tie", "stomach"],
)
def test_hosts_do_not_depend_on_how_a_scan_is_stored(tmp_path, labels, hosts):
    training = []
    for axcodes in ORIENTATIONS:
        path = save(tmp_path / "labels" / f"{axcodes}.nii.gz", labels, axcodes)
        training.append({"id": axcodes, "image": "i.nii.gz", "label": path, "kind": "weak"})
    stored = [np.asarray(nib.load(case["label"]).dataobj) for case in training]
    assert [array.shape for array in stored] == [(14, 10, 8), (14, 10, 8), (10, 8, 14)]
    assert not np.array_equal(stored[0], stored[1])
    write_datalist(tmp_path / "datalist.json", {"training": training})
    result = stage(tmp_path).run()
    assert [case["hosts"] for case in entries(result["tumors"]).values()] == [hosts] * 3
    summaries = [json.loads((tmp_path / "out" / "summary" / f"{name}.json").read_text()) for name in ORIENTATIONS]
    assert summaries[1]["foci"] == summaries[2]["foci"] == summaries[0]["foci"]
    ras, *twins = (load(case["label"]) for case in entries(result["organs"]).values())
    for twin in twins:
        np.testing.assert_array_equal(twin, ras)


def test_paper_bs_boxes_by_switch(data):
    # Without the last row and slice the boxes of one voxel or slice are empty: no host.
    result = stage(data, faithful_box=True).run()
    hosts = entries(result["tumors"])["kidneys"]["hosts"]
    assert hosts == {"0": 3, "1": 0, "2": 0, "11": 0, "13": 0}


def test_a_tumor_in_a_label_that_nobody_drew_counts_for_no_host(tmp_path):
    path = save(tmp_path / "labels" / "a.nii.gz", SEVEN)
    case = {"id": "a", "image": "i.nii.gz", "label": path, "kind": "unlabeled", "annotated_classes": [14]}
    write_datalist(tmp_path / "datalist.json", {"training": [case]})
    result = stage(tmp_path).run()
    found = entries(result["tumors"])["a"]
    assert (found["hosts"]["1"], found["tumor_known"]) == (0, False)
    np.testing.assert_array_equal(load(entries(result["organs"])["a"]["label"]), body())


def test_a_second_run_does_what_is_missing_or_stale_and_nothing_else(data):
    stage(data).run()
    outputs = {path: path.stat().st_mtime_ns for path in (data / "out").glob("*/*")}
    assert len(outputs) == 14
    lists = {path: path.read_bytes() for path in (data / "out").glob("*.json")}
    assert stage(data).run()["up_to_date"] == 7
    assert {path: path.stat().st_mtime_ns for path in outputs} == outputs
    assert {path: path.read_bytes() for path in lists} == lists

    (data / "out" / "organ_labels" / "healthy.nii.gz").unlink()
    path = data / "labels" / "partial.nii.gz"
    save(path, with_tumor(body(), (3, 7, 4)))
    os.utime(path, ns=(1, 1))
    result = stage(data).run()
    assert (result["assigned"], result["up_to_date"]) == (2, 5)
    partial = entries(result["tumors"])["partial"]
    assert (partial["hosts"]["1"], partial["tumor_known"]) == (1, True)
    assert list(entries(result["unknown"])) == ["unlabeled"]


def test_a_bad_case_is_set_aside_and_leaves_no_outputs(data):
    stage(data).run()
    (data / "labels" / "liver.nii.gz").write_bytes(b"text")
    content = read_datalist(data / "datalist.json")
    content["training"].append({"id": "no_label", "image": "images/n_0000.nii.gz", "kind": "unlabeled"})
    write_datalist(data / "datalist.json", content)
    result = stage(data).run()
    assert list(result["failed"]) == ["liver", "no_label"]
    assert "liver.nii.gz: cannot be read" in result["failed"]["liver"]
    assert "case 'no_label' has no label; merge in its pseudo label first" in result["failed"]["no_label"]
    assert "liver" not in {**entries(result["organs"]), **entries(result["tumors"])}
    for name, crowded in (("organs", []), ("tumors", ["seven"])):
        excluded = read_datalist(result[name])["excluded"]
        assert [case["id"] for case in excluded] == ["e", "liver", "no_label", *crowded]
    assert not list((data / "out").glob("*/liver*"))


def test_what_stops_the_stage_is_said(data):
    with pytest.raises(CaseError, match=r"^max_foci is 0; use 6 \(paper B\)"):
        stage(data, max_foci=0)
    (data / "datalist.json").rename(data / "tumors.json")
    with pytest.raises(CaseError, match=r"tumors\.json: the output folder must not be"):
        AssignHosts(data / "tumors.json", data).run()
    write_datalist(data / "datalist.json", {"training": []})
    with pytest.raises(CaseError, match=r"not one case could be assigned; the first reason: it has no training case"):
        stage(data).run()
    assert not (data / "out").exists()


def test_counts_of_hosts_name_each_organ_of_the_case():
    assert host_counts(LIVER, tumor_foci(LIVER)[1]) == {"0": 1, "1": 1, "2": 0, "11": 0, "13": 0}
    assert list(host_counts(LIVER, tumor_foci(LIVER)[1])) == ["0", "1", "2", "11", "13"]
    assert host_counts(np.zeros((2, 2, 2), np.uint8), []) == {}
