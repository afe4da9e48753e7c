"""The audit of a folder with planted faults: every one is named, no healthy scan is accused, the rest can be used."""

import html
import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from abdoseg.checks import FAULT_KINDS, REPAIRED, SET_ASIDE
from abdoseg.datalist import load_cases
from abdoseg.label_maps import grid_difference, open_volume, read_label_map
from tests.tools.planted import Planter
from tests.tools.planted_faults import plant_all
from tests.tools.small_data import OVERLAYS
from tools.audit import audit
from tools.chain import Stage
from tools.workflow import run_bundle


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Planter:
    return plant_all(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def audited(planted, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("audited")
    audit(str(planted.root / "datasets.yaml"), str(output))
    return output


@pytest.fixture(scope="module")
def content(audited) -> dict:
    return json.loads((audited / "audit.json").read_text())


def kinds_of(content: dict) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for fault in content["faults"]:
        found.setdefault(planted_name(fault["id"]), set()).add(fault["kind"])
    return found


def planted_name(case_id: str) -> str:
    """Drop the name of the data set, with which the ids of a datasets.yaml begin."""
    return case_id.split("_", 1)[1]


def with_severity(planted: Planter, severity: str) -> set[str]:
    return {
        name
        for name, (kinds, _) in planted.expected.items()
        if any(FAULT_KINDS[kind].severity == severity for kind in kinds)
    }


def test_every_kind_is_planted_and_several_twice(planted):
    kinds = [kind for expected, _ in planted.expected.values() for kind in expected]
    assert set(kinds) == set(FAULT_KINDS)
    assert len(planted.expected) >= 40
    assert sum(kinds.count(kind) > 1 for kind in set(kinds)) > 10


def test_every_fault_is_named_with_its_file_and_its_remedy(planted, content):
    found = kinds_of(content)
    assert {name: found.get(name) for name in planted.expected} == {
        name: kinds for name, (kinds, _) in planted.expected.items()
    }
    for name, (_, file) in planted.expected.items():
        faults = [fault for fault in content["faults"] if planted_name(fault["id"]) == name]
        assert {Path(fault["file"]).name for fault in faults} >= {file}
        for fault in faults:
            assert fault["message"].startswith(f"{fault['file']}: ")
            assert fault["message"].endswith(".")
            assert fault["severity"] == FAULT_KINDS[fault["kind"]].severity


def test_no_healthy_scan_is_accused(planted, content):
    assert set(planted.healthy) & set(kinds_of(content)) == set()
    assert set(planted.healthy) <= set(map(planted_name, content["cases"]))


def test_what_is_set_aside_and_what_stays(planted, audited, content):
    set_aside = {
        name
        for name, (kinds, _) in planted.expected.items()
        if any(FAULT_KINDS[k].severity == SET_ASIDE for k in kinds)
    }
    datalist = json.loads((audited / "datalist.json").read_text())
    assert {planted_name(case["id"]) for case in datalist["excluded"]} == set_aside
    kept = {planted_name(case["id"]) for section in ("training", "unlabeled", "testing") for case in datalist[section]}
    assert kept == set(planted.healthy) | (set(planted.expected) - set_aside)
    assert kept == set(map(planted_name, content["cases"]))
    training = {planted_name(case["id"]): case for case in datalist["training"]}
    assert training["weak1"]["annotated_classes"] == [1, 2, 3, 4, 13]
    assert training["LPS"]["kind"] == "strong"
    assert [training[f"declared{number}"]["annotated_classes"] for number in (1, 2, 3)] == [[1, 3]] * 3
    assert training["declared3"]["dataset"] == "declared"


def test_repaired_copies_lie_on_the_grids_of_their_images(planted, audited, content):
    mended = with_severity(planted, REPAIRED)
    copies = sorted(path.name for path in (audited / "repaired").rglob("*.nii.gz"))
    assert copies == sorted(
        f"flare_{Path(one['file']).name}" for one in content["faults"] if one["severity"] == REPAIRED
    )
    cases = {planted_name(case["id"]): case for case in load_cases(audited / "datalist.json")}
    for name in mended:
        case, file = cases[name], planted.expected[name][1]
        assert str(audited / "repaired") in (case["image"] if file.endswith("_0000.nii.gz") else case["label"])
        image = open_volume(case["image"])
        labels, label = read_label_map(case["label"])
        assert np.abs(label.affine - image.affine).max() < 1e-6
        assert grid_difference(label, image) is None
        assert label.get_data_dtype() == np.uint8
        # Nothing was lost: the classes lie in the world where the planter's phantom has them.
        original = nib.load(planted.paths(name)[1])
        values = np.rint(np.asarray(original.dataobj)).reshape(original.shape[:3])
        assert np.bincount(labels.ravel(), minlength=15).tolist() == [(values == c).sum() for c in range(15)]
    turned = cases["1036"]
    labels, label = read_label_map(turned["label"])
    original = nib.load(planted.paths("1036")[1])
    back = nib.Nifti1Image(labels, label.affine).as_reoriented(
        nib.orientations.io_orientation(np.linalg.inv(original.affine) @ label.affine)
    )
    assert np.array_equal(back.dataobj, original.dataobj)
    assert not np.array_equal(labels, original.dataobj)
    image = open_volume(cases["1014"]["image"])
    assert np.array_equal(image.dataobj, np.asarray(nib.load(planted.paths("1014")[0]).dataobj)[..., 0])


def test_the_report_shows_each_kind_and_names_its_cases(planted, audited, content):
    page = html.unescape((audited / "report.html").read_text())
    for kind in set(FAULT_KINDS):
        assert FAULT_KINDS[kind].title in page
    for fault in content["faults"]:
        assert fault["message"] in page
    # The label statistics and one picture of each kind but "layout".
    assert page.count("<img ") == 1 + len(set(FAULT_KINDS)) - 1
    assert "http" not in page
    left_handed = sum(
        np.linalg.det(open_volume(case["image"]).affine[:3, :3]) < 0
        for section in ("training", "unlabeled", "testing")
        for case in load_cases(audited / "datalist.json", section)
    )
    assert left_handed > 0
    assert f"{left_handed} of them are left-handed" in page


def test_a_second_audit_reads_only_what_has_changed(planted, audited, content, tmp_path):
    output = tmp_path / "again"
    shutil.copytree(audited, output)
    findings = {path.name: path.stat().st_mtime_ns for path in (output / "findings").iterdir()}
    image, _ = planted.paths("strong1")
    shutil.copy(image, tmp_path / "kept")
    try:
        os.utime(image)
        audit(str(planted.root / "datasets.yaml"), str(output))
    finally:
        shutil.copy2(tmp_path / "kept", image)
    changed = [path.name for path in (output / "findings").iterdir() if path.stat().st_mtime_ns != findings[path.name]]
    assert changed == ["flare_strong1.json"]
    assert json.loads((output / "audit.json").read_text()) == content


def test_left_and_right_of_a_mirrored_scan_are_told_by_the_organs(content):
    told = {planted_name(fault["id"]): fault["message"] for fault in content["faults"]}
    assert "liver and spleen are on their sides, so swap the two ids" in told["1068"]
    assert "or correct the scan's affine if it is mirrored" in told["1070"]
    assert "situs inversus" in told["1071"]


def test_all_that_is_left_is_trained_on(planted, audited, tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(OVERLAYS["coarse"]))
    arguments = {
        "seed": 0,
        "datalist": str(audited / "datalist.json"),
        "ckpt_dir": str(tmp_path / "weights"),
        "output_dir": str(tmp_path),
    }
    configs = ("train.yaml", str(overlay))
    run_bundle(Stage("coarse", bundle="coarse_seg", run="training", configs=configs, arguments=arguments), {})
    assert (tmp_path / "weights" / "model.pt").is_file()
    (line,) = map(json.loads, (tmp_path / "learning_curve.jsonl").read_text().splitlines())
    assert 0 < line["loss"] < 10
    # Every case was read, to train on or to validate: each has left its sample.
    cases = load_cases(audited / "datalist.json")
    assert len(cases) > 40
    assert len(list((tmp_path / "cache").glob("*.pt"))) == len(cases)
