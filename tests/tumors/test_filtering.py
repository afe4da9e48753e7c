"""The filter of pseudo tumors on files: hand-worked decisions, orientations, rounds, resumption, cases left out."""

import json
import os

import nibabel as nib
import numpy as np
import pytest

from abdoseg.datalist import known_classes, load_cases, read_datalist, write_datalist
from abdoseg.files import CaseError
from abdoseg.host_cases import load_host_cases
from abdoseg.labels import TUMOR_ID
from abdoseg.tumors import Decision, FilterPseudoTumors, PseudoTumorRules
from tests.tumors.stage_cases import body, load, save, with_tumor

IN_LIVER = (slice(2, 4), slice(6, 8), slice(3, 5))
IN_LIVER_TOO = (5, slice(6, 8), 3)
IN_RIGHT_KIDNEY = (2, 1, 1)
IN_LEFT_KIDNEY = (10, slice(0, 3), slice(1, 3))
IN_STOMACH = (9, slice(6, 8), slice(3, 5))
RULES = PseudoTumorRules(min_voxels=4)
NONE = {"1": 0, "2": 0, "11": 0, "13": 0}
# What a prediction says of organs must not matter.
NOWHERE = np.full(body().shape, 5, np.uint8)
# Name -> where a tumor is predicted, how label and prediction are stored, and the datalist's word on the case.
CASES = {
    "three": ((IN_LIVER, IN_RIGHT_KIDNEY, IN_LEFT_KIDNEY), "PIR", {"kind": "unlabeled"}),
    "stomach": ((IN_STOMACH, IN_RIGHT_KIDNEY), "RAS", {"kind": "weak", "annotated_classes": [1]}),
    "small": ((IN_LIVER_TOO,), "LAS", {"kind": "unlabeled"}),
    "nothing": ((), "RAS", {"kind": "unlabeled"}),
}


@pytest.fixture
def data(tmp_path):
    """A case with a true tumor, one that is held out, and the cases above with their predictions."""
    drawn = save(tmp_path / "labels" / "drawn.nii.gz", with_tumor(body(), IN_LIVER))
    held_out = save(tmp_path / "labels" / "held_out.nii.gz", body())
    drawn_tumor = {"annotated_classes": [TUMOR_ID]}
    training = [
        {"id": "drawn", "label": drawn, "kind": "weak", "hosts": {**NONE, "1": 1}, "tumor_known": True, **drawn_tumor},
        {"id": "held_out", "label": held_out, "kind": "weak", "hosts": NONE, "tumor_known": False, "validation": True},
    ]
    for name, (boxes, axcodes, known) in CASES.items():
        label = save(tmp_path / "labels" / f"{name}.nii.gz", body(), axcodes)
        save(tmp_path / "predictions" / f"{name}.nii.gz", with_tumor(NOWHERE, *boxes), axcodes)
        training.append({"id": name, "label": label, **known, "hosts": NONE, "tumor_known": False})
    content = {
        "training": [{**case, "image": f"images/{case['id']}_0000.nii.gz"} for case in training],
        "testing": [{"id": "t", "image": "images/t_0000.nii.gz", "kind": "test"}],
        "excluded": [{"id": "e", "reason": "too many foci"}],
    }
    write_datalist(tmp_path / "tumors.json", content)
    return tmp_path


def stage(data, folder="predictions", **settings) -> FilterPseudoTumors:
    settings = {"rules": RULES, "progress": False, **settings}
    return FilterPseudoTumors(data / "tumors.json", data / folder, data / "out", **settings)


def entries(path) -> dict[str, dict]:
    return {case["id"]: case for case in load_cases(path)}


def test_kept_tumors_join_the_true_ones(data):
    result = stage(data, num_threads=2).run()
    assert (result["kept"], result["filtered"], result["up_to_date"], result["failed"]) == (2, 4, 0, {})
    before, after = entries(data / "tumors.json"), entries(result["datalist"])
    assert list(after) == ["drawn", "held_out", "three", "stomach"]
    assert {name: after[name] for name in ("drawn", "held_out")} == {
        name: before[name] for name in ("drawn", "held_out")
    }
    for name, hosts, kept in (
        ("three", {"1": 1, "13": 1}, (IN_LIVER, IN_LEFT_KIDNEY)),
        ("stomach", {"11": 1}, (IN_STOMACH,)),
    ):
        label = str(data / "out" / "labels" / f"{name}.nii.gz")
        expected = {"label": label, "hosts": {**NONE, **hosts}, "tumor_pseudo": True, "tumor_known": False}
        assert after[name] == {**before[name], **expected, "filled_classes": [TUMOR_ID]}
        np.testing.assert_array_equal(load(label), with_tumor(body(), *kept))
    stored = nib.load(after["three"]["label"])
    assert (nib.aff2axcodes(stored.affine), stored.get_data_dtype()) == (tuple("PIR"), np.uint8)
    content = read_datalist(result["datalist"])
    assert [case["id"] for case in content["testing"] + content["excluded"]] == ["t", "e"]


def test_they_can_be_trained_on(data):
    result = stage(data).run()
    samples = {family: load_host_cases(result["datalist"], family) for family in ("liver", "kidneys", "rest")}
    assert {family: [(case["id"], case["organ"]) for case in found] for family, found in samples.items()} == {
        "liver": [("drawn", 1), ("three", 1)],
        "kidneys": [("three", 13)],
        "rest": [("stomach", 0)],
    }
    assert not load_host_cases(result["datalist"], "liver", validation=True)
    listed = entries(result["datalist"])
    for case in (case for found in samples.values() for case in found):
        assert TUMOR_ID in known_classes(listed[case["id"]]), "background would be taught where nobody looked"


def test_the_summary_tells_why(data):
    stage(data).run()
    summary = json.loads((data / "out" / "summary.json").read_text())
    few = "the tumor has {} voxels, fewer than 4".format
    assert summary["rejected"] == {"small": f"liver: {few(2)}", "nothing": "no tumor was found"}
    assert summary["families"] == {
        "liver": {"kept": 1, "rejected": 1},
        "pancreas": {"kept": 0, "rejected": 0},
        "kidneys": {"kept": 1, "rejected": 2},
        "rest": {"kept": 1, "rejected": 0},
    }
    assert (summary["min_voxels"], summary["cases"], summary["kept"]) == (4, 4, 2)
    three = json.loads((data / "out" / "summary" / "three.json").read_text())["decisions"]
    assert [Decision(**decision) for decision in three] == [
        Decision("liver", 1, 1, 8, None),
        Decision("kidneys", 2, 1, 1, few(1)),
        Decision("kidneys", 13, 1, 6, None),
    ]


def test_the_published_number_is_the_default(data):
    result = FilterPseudoTumors(data / "tumors.json", data / "predictions", data / "out", progress=False).run()
    assert result["kept"] == 0
    assert list(entries(result["datalist"])) == ["drawn", "held_out"]
    summary = json.loads((data / "out" / "summary.json").read_text())
    assert summary["rejected"]["three"].startswith("liver: the tumor has 8 voxels, fewer than 2048; right kidney: ")


def test_families_that_are_not_asked_for(data):
    result = stage(data, families=["kidneys"]).run()
    after = entries(result["datalist"])
    assert list(after) == ["drawn", "held_out", "three"]
    assert after["three"]["hosts"] == {**NONE, "13": 1}
    np.testing.assert_array_equal(load(after["three"]["label"]), with_tumor(body(), IN_LEFT_KIDNEY))
    summary = json.loads((data / "out" / "summary.json").read_text())
    assert summary["rejected"]["stomach"] == (
        "right kidney: the tumor has 1 voxels, fewer than 4; rest: tumors of this family are not asked for"
    )


def test_decisions_do_not_depend_on_how_a_scan_is_stored(tmp_path):
    training = []
    for axcodes in ("RAS", "LAS", "PIR"):
        label = save(tmp_path / "labels" / f"{axcodes}.nii.gz", body(), axcodes)
        save(tmp_path / "predictions" / f"{axcodes}.nii.gz", with_tumor(NOWHERE, *CASES["three"][0]), axcodes)
        case = {"id": axcodes, "image": "i.nii.gz", "label": label, "kind": "unlabeled"}
        training.append({**case, "hosts": NONE, "tumor_known": False})
    write_datalist(tmp_path / "tumors.json", {"training": training})
    after = entries(stage(tmp_path).run()["datalist"])
    expected = with_tumor(body(), IN_LIVER, IN_LEFT_KIDNEY)
    summaries = []
    for name, case in after.items():
        assert case["hosts"] == {**NONE, "1": 1, "13": 1}
        np.testing.assert_array_equal(load(case["label"]), expected)
        summaries.append(json.loads((tmp_path / "out" / "summary" / f"{name}.json").read_text())["decisions"])
    assert summaries[0] == summaries[1] == summaries[2]


def test_a_tumor_of_an_unchecked_label_is_replaced(data):
    save(data / "labels" / "stomach.nii.gz", with_tumor(body(), IN_LIVER))
    result = stage(data).run()
    np.testing.assert_array_equal(load(entries(result["datalist"])["stomach"]["label"]), with_tumor(body(), IN_STOMACH))


def write_round_before(data):
    """Per case, what share of the present prediction differs: three 1 / 1120, stomach 1/2, the others nothing."""
    for name, (boxes, axcodes, _) in CASES.items():
        before = with_tumor(NOWHERE, *boxes)
        if name == "three":
            before[0, 0, 0] = 4
        if name == "stomach":
            before[:7] = 0
        save(data / "before" / f"{name}.nii.gz", before, axcodes)


@pytest.mark.parametrize(
    ("discard", "unstable", "kept"),
    # Of four cases 0.1 is none.
    [
        (0, {}, ["three", "stomach"]),
        (0.1, {}, ["three", "stomach"]),
        (0.25, {"stomach": 0.5}, ["three"]),
        (0.5, {"stomach": 0.5, "three": 1 / 1120}, []),
    ],
)
def test_what_changes_most_between_rounds_is_left_out(data, discard, unstable, kept):
    write_round_before(data)
    result = stage(data, previous_dir=data / "before", discard=discard).run()
    assert list(entries(result["datalist"])) == ["drawn", "held_out", *kept]
    summary = json.loads((data / "out" / "summary.json").read_text())
    assert summary["unstable"] == unstable
    assert (summary["kept"], summary["discard"], list(summary["rejected"])) == (
        len(kept),
        discard,
        ["small", "nothing"],
    )


def test_the_first_round_has_none_before(data, caplog):
    result = stage(data, previous_dir=data / "before", discard=0.5).run()
    assert (result["kept"], result["failed"]) == (2, {})
    assert f"{data}/before: there is no such round before; no case is left out for its change." in caplog.messages
    # Once there is one, all cases are compared.
    write_round_before(data)
    assert stage(data, previous_dir=data / "before", discard=0.5).run()["kept"] == 0


def test_a_label_map_that_vanished_changed_most(data):
    write_round_before(data)
    save(data / "predictions" / "nothing.nii.gz", np.zeros(body().shape, np.uint8))
    stage(data, previous_dir=data / "before", discard=0.25).run()
    text = (data / "out" / "summary.json").read_text()
    assert json.loads(text)["unstable"] == {"nothing": "inf"}
    # A second run reads it back.
    assert stage(data, previous_dir=data / "before", discard=0.25).run()["up_to_date"] == 4
    assert (data / "out" / "summary.json").read_text() == text


def test_a_second_run_does_what_is_missing_or_stale_and_nothing_else(data):
    stage(data).run()
    outputs = {path: path.stat().st_mtime_ns for path in (data / "out").glob("*/*")}
    assert len(outputs) == 8
    lists = {path: path.read_bytes() for path in (data / "out").glob("*.json")}
    assert stage(data).run()["up_to_date"] == 4
    assert {path: path.stat().st_mtime_ns for path in outputs} == outputs
    assert {path: path.read_bytes() for path in lists} == lists

    (data / "out" / "labels" / "three.nii.gz").unlink()
    path = data / "predictions" / "small.nii.gz"
    save(path, with_tumor(NOWHERE, IN_LIVER), "LAS")
    os.utime(path, ns=(1, 1))
    result = stage(data).run()
    assert (result["filtered"], result["up_to_date"], result["kept"]) == (2, 2, 3)
    np.testing.assert_array_equal(load(entries(result["datalist"])["small"]["label"]), with_tumor(body(), IN_LIVER))
    assert stage(data, rules=PseudoTumorRules(1)).run()["up_to_date"] == 0
    assert stage(data, rules=PseudoTumorRules(1), families=["liver"]).run()["up_to_date"] == 0


FAULTS = {
    "no prediction": ("predictions", lambda path: path.unlink(), "there is no such prediction; let the cascade label"),
    "no round before": ("before", lambda path: path.unlink(), "there is no such prediction; let the cascade label"),
    "value": ("predictions", lambda path: save(path, NOWHERE * 7), "unknown label value 35"),
    "grid": ("predictions", lambda path: save(path, NOWHERE, "PIR"), "a prediction lies on the grid of"),
    "broken": ("before", lambda path: path.write_bytes(b"text"), "cannot be read"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_case_is_set_aside_and_leaves_no_outputs(data, fault):
    write_round_before(data)
    stage(data, previous_dir=data / "before").run()
    folder, damage, reason = FAULTS[fault]
    damage(data / folder / "stomach.nii.gz")
    result = stage(data, previous_dir=data / "before").run()
    assert list(result["failed"]) == ["stomach"]
    assert f"{folder}/stomach.nii.gz: " in result["failed"]["stomach"]
    assert reason in result["failed"]["stomach"]
    assert list(entries(result["datalist"])) == ["drawn", "held_out", "three"]
    assert [case["id"] for case in read_datalist(result["datalist"])["excluded"]] == ["e", "stomach"]
    assert not list((data / "out").glob("*/stomach*"))


def test_without_cases_to_filter_the_list_stays(data):
    content = read_datalist(data / "tumors.json")
    content["training"] = content["training"][:2]
    write_datalist(data / "tumors.json", content)
    result = stage(data, "nowhere").run()
    assert (result["kept"], result["filtered"]) == (0, 0)
    assert list(entries(result["datalist"])) == ["drawn", "held_out"]


def test_what_stops_the_stage_is_said(data):
    with pytest.raises(CaseError, match=r"^Unknown families \['liver', 'spleen'\]\. Use a list of 'liver', 'pancreas'"):
        stage(data, families=["liver", "spleen"])
    with pytest.raises(CaseError, match=r"^Unknown families 'liver'\. Use a list"):
        stage(data, families="liver")
    with pytest.raises(CaseError, match=r"^discard is 3\.8; use a share"):
        stage(data, discard=3.8, previous_dir=data)
    with pytest.raises(CaseError, match=r"^discard is 0\.038, but nothing tells what changed"):
        stage(data, discard=0.038)
    with pytest.raises(CaseError, match="nowhere: there is no such folder; it should hold the cascade's labels"):
        stage(data, "nowhere").run()
    (data / "empty").mkdir()
    with pytest.raises(CaseError, match=r"not one case could be filtered; the first reason: .*empty/three"):
        stage(data, "empty").run()
    with pytest.raises(CaseError, match=r"tumors\.json: the output folder must not be"):
        FilterPseudoTumors(data / "tumors.json", data / "predictions", data, progress=False).run()
    content = read_datalist(data / "tumors.json")
    del content["training"][0]["tumor_known"]
    write_datalist(data / "tumors.json", content)
    with pytest.raises(CaseError, match="case 'drawn' does not tell whether its tumors are known; assign hosts"):
        stage(data).run()
    assert not (data / "out").exists()
