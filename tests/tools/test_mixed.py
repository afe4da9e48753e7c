"""A datasets.yaml: several data sets as one datalist, what each is used for, and every fault of the file told."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from abdoseg.datalist import load_cases, read_datalist
from abdoseg.datasets import LabelConvention
from abdoseg.files import CaseError
from tests.tools.layout_examples import amos, body, btcv, flare23, folders, kits, save, save_scan, values_of
from tests.tools.test_layouts import in_ras
from tools.__main__ import main
from tools.audit import audit
from tools.chain import data_signature
from tools.layout import find_cases

DOCUMENT = Path(__file__).parents[2] / "docs" / "datasets.md"
TWO = {"image_dir": "own/scans", "label_dir": "own/drawn", "labels": {1: "kidneys"}, "annotated": ["kidneys"]}


def declare(root: Path, *data_sets: dict) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    path = root / "datasets.yaml"
    path.write_text(yaml.safe_dump(list(data_sets)))
    return path


def own(root: Path) -> None:
    """Two folders with names of their own; one value for both kidneys."""
    for name, orientation in (("a", "LPS"), ("b", "RAS")):
        save_scan(root / "own" / "scans" / f"{name}_0000.nii.gz", orientation)
        save(root / "own" / "drawn" / f"{name}.nii.gz", values_of(body(), {2: 1, 13: 1}), orientation)


def test_mixed_data_sets_become_one_datalist(tmp_path):
    flare23(tmp_path / "flare")
    kits(tmp_path / "kits")
    own(tmp_path)
    save_scan(tmp_path / "ward" / "a.nii.gz")
    path = declare(
        tmp_path,
        {"name": "flare", "path": "flare"},
        {"name": "kits", "path": "kits", "use": {"testing": "none"}},
        {"name": "own", **TWO},
        {"name": "ward", "image_dir": "ward"},
    )
    result = audit(str(path), str(tmp_path / "out"), num_threads=1)
    assert result["failed"] == {}
    training = {case["id"]: case for case in load_cases(result["datalist"])}
    assert {name: (case["dataset"], case["annotated_classes"]) for name, case in training.items()} == {
        "flare_FLARE23_0001": ("flare", list(range(1, 14))),
        "flare_FLARE23_0002": ("flare", [1, 2, 3, 4, 13, 14]),
        "kits_case_00000": ("kits", [2, 13, 14]),
        "kits_case_00004": ("kits", [2, 13, 14]),
        "own_a": ("own", [2, 13]),
        "own_b": ("own", [2, 13]),
    }
    for name, labels in {"own_a": values_of(body(), {2: 2, 13: 13}), "flare_FLARE23_0001": body()}.items():
        np.testing.assert_array_equal(in_ras(training[name]["label"]), labels)
    others = {case["id"] for section in ("unlabeled", "testing") for case in load_cases(result["datalist"], section)}
    assert others == {"flare_FLARE23_2201", "flare_FLARE23Ts_0001", "ward_a"}
    assert read_datalist(result["datalist"])["unlabeled"][1]["dataset"] == "ward"


def sections(path: Path) -> dict[str, str]:
    return {case["id"]: case["section"] for case in find_cases(path)[0]}


def test_what_the_cases_are_used_for_can_be_changed(tmp_path):
    amos(tmp_path / "amos")
    amos_set = {"name": "amos", "path": str(tmp_path / "amos")}
    as_it_is = {"amos_amos_0001": "training", "amos_amos_0008": "testing", "amos_amos_0500": "testing"}
    assert sections(declare(tmp_path, amos_set)) == as_it_is
    assert set(sections(declare(tmp_path, {**amos_set, "use": "unlabeled"})).values()) == {"unlabeled"}
    assert all("label" not in case for case in find_cases(tmp_path / "datasets.yaml")[0])
    testing = find_cases(declare(tmp_path, {**amos_set, "use": "testing"}))[0]
    assert [(case["id"], case["section"], "label" in case) for case in testing] == [
        (name, "testing", labeled) for name, labeled in zip(as_it_is, (True, True, False), strict=True)
    ]
    taken, excluded = find_cases(declare(tmp_path, {**amos_set, "use": {"testing": "training"}}))
    assert [case["id"] for case in taken] == ["amos_amos_0001", "amos_amos_0008"]
    assert [case["id"] for case in excluded] == ["amos_amos_0500"]
    assert "amos_0500.nii.gz: has no label to train on; use it as unlabeled" in excluded[0]["reason"]


def test_a_declaration_takes_the_place_of_what_a_layout_knows(tmp_path):
    btcv(tmp_path / "btcv")
    folders(tmp_path / "plain")
    path = declare(
        tmp_path,
        {"name": "btcv", "path": "btcv", "annotated": ["liver", "kidneys"]},
        {"name": "rule", "path": "btcv", "annotated": "rule"},
        {"name": "map", "path": "btcv", "labels": {6: "spleen"}, "annotated": ["spleen"], "layout": "btcv"},
        {"name": "plain", "path": "plain", "annotated": "organs"},
    )
    found = {case["id"]: case["source_labels"] for case in find_cases(path)[0] if "source_labels" in case}
    assert found["btcv_0001"].annotated == (1, 2, 13)
    assert found["btcv_0001"].mapping == found["rule_0001"].mapping != LabelConvention().mapping
    assert found["rule_0001"].annotated is None
    assert found["map_0001"] == LabelConvention({6: 3}, (3,))
    assert found["plain_a"] == LabelConvention(annotated=tuple(range(1, 14)))


def test_the_signature_follows_files_and_declarations(tmp_path):
    kits(tmp_path / "kits")
    folders(tmp_path / "plain")
    plain, kits_set = {"name": "plain", "path": "plain"}, {"name": "kits", "path": "kits"}
    path = declare(tmp_path, plain, kits_set)
    before = data_signature(path)
    assert data_signature(path) == before
    (tmp_path / "out").mkdir()
    (tmp_path / "kits" / "dataset" / "notes.txt").write_text("")
    path.write_text(path.read_text() + "# a remark\n")
    assert data_signature(path) == before
    signatures = {before, data_signature(declare(tmp_path, {**plain, "annotated": "organs"}, kits_set))}
    declare(tmp_path, plain, kits_set)
    label = tmp_path / "kits" / "dataset" / "case_00000" / "segmentation.nii.gz"
    label.write_bytes(label.read_bytes() + b"\0")
    signatures.add(data_signature(path))
    (tmp_path / "kits" / "dataset" / "case_00004" / "imaging.nii.gz").unlink()
    signatures.add(data_signature(path))
    assert len(signatures) == 4
    # The folder itself, without a file that names it.
    assert data_signature(tmp_path / "plain") not in signatures


def test_a_chain_runs_on_a_datasets_yaml_and_sees_when_it_changes(tmp_path, capsys):
    folders(tmp_path / "plain")
    path = declare(tmp_path, {"name": "plain", "path": "plain"})
    options = ["run", "two_stage", f"--data_dir={path}", f"--work_dir={tmp_path / 'work'}", "--only=audit"]
    assert main(options) == 0
    assert main(options) == 0
    assert "audit: done already" in capsys.readouterr().out
    declare(tmp_path, {"name": "plain", "path": "plain", "annotated": ["organs", "tumor"]})
    assert main(options) == 0
    assert "done already" not in capsys.readouterr().out
    kinds = [case["kind"] for case in load_cases(tmp_path / "work" / "audit" / "datalist.json")]
    assert kinds == ["strong", "strong"]


def test_the_example_in_the_document_is_read(tmp_path):
    flare23(tmp_path / "FLARE23")
    kits(tmp_path / "kits23")
    save_scan(tmp_path / "ward" / "1.nii.gz")
    save_scan(tmp_path / "clinic" / "scans" / "1.nii.gz")
    save(tmp_path / "clinic" / "drawn" / "1.nii.gz", values_of(body(2), {2: 1, 13: 1, 14: 2, 4: 3}))
    (example,) = re.findall(r"```yaml\n(.+?)```", DOCUMENT.read_text(), re.DOTALL)
    (tmp_path / "datasets.yaml").write_text(example.replace("/data/FLARE23", "FLARE23"))
    candidates, excluded = find_cases(tmp_path / "datasets.yaml")
    assert [(case["id"], case["section"]) for case in candidates] == [
        ("flare_FLARE23_0001", "training"),
        ("flare_FLARE23_0002", "training"),
        ("kits_case_00000", "training"),
        ("kits_case_00004", "training"),
        ("clinic_1", "training"),
        ("flare_FLARE23_2201", "unlabeled"),
        ("kits_case_00210", "unlabeled"),
        ("ward_1", "unlabeled"),
        ("flare_FLARE23Ts_0001", "testing"),
    ]
    assert excluded == []


GOOD = {"name": "own", **TWO}
FAULTS = {
    "no list": ({"own": GOOD}, "holds no list of data sets"),
    "empty": ([], "holds no list of data sets"),
    "no mapping": (["own"], "data set 1 is no mapping; give it a name and a path"),
    "no name": ([{"path": "own"}], "data set 1 needs a name of letters, digits, dots and hyphens, not None"),
    "bad name": ([{**GOOD, "name": "a b"}], "not 'a b'"),
    "twice": ([GOOD, GOOD], "data set 2 has the name own of another one"),
    "key": ([{**GOOD, "lables": {}}], r"data set 1 has the unknown key 'lables'; use name, path, image_dir"),
    "no place": ([{"name": "own"}], r"data set 1 \(own\) needs either a path or an image_dir"),
    "two places": ([{**GOOD, "path": "own"}], "needs either a path or an image_dir"),
    "labels alone": ([{"name": "own", "path": "own", "label_dir": "own"}], "has a label_dir, but no image_dir"),
    "no folder name": ([{"name": "own", "path": 5}], r"\(own\): path is a folder, not 5 without quotes\."),
    "number": ([{**GOOD, "name": 2023}], "letters, digits, dots and hyphens, not 2023 without quotes\\."),
    "not there": ([{"name": "own", "path": "gone"}], "own: .*gone: there is no such folder"),
    "no image_dir": ([{**GOOD, "image_dir": "gone"}], "own: .*gone: there is no such folder"),
    "layout": ([{"name": "own", "path": "own", "layout": "amos23"}], "'amos23'; leave it out, or use one of totalseg"),
    "other layout": ([{"name": "own", "path": "own", "layout": "amos"}], r"looked for imagesTr/amos_0001\.nii\.gz"),
    "no layout": ([{"name": "own", "path": "own"}], "own: .*own: not laid out in a way that is known"),
    "not annotated": ([{key: GOOD[key] for key in GOOD if key != "annotated"}], "must say for which of these classes"),
    "class": ([{**GOOD, "labels": {1: "kidny"}}], "own: we have no class 'kidny' for the label 1"),
    "annotated": ([{**GOOD, "annotated": ["kidny"]}], "own: 'annotated' names 'kidny'"),
    "mask names": ([{**GOOD, "labels": {"kidney": "kidneys"}}], "'labels' names the mask file 'kidney', but this"),
    "use": ([{**GOOD, "use": "validation"}], "'use' is one of training, unlabeled, testing.*not 'training' to 'valid"),
    "use list": ([{**GOOD, "use": ["training"]}], r"not \['training'\]"),
    "use nothing": ([{**GOOD, "use": "none"}], "own: not one case to take; 'use' leaves all of them out"),
    "no case": ([{**GOOD, "image_dir": "empty"}], "not one case to take; the first reason: .*a.nii.gz: has no"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_the_file_is_told_in_one_sentence(fault, tmp_path):
    own(tmp_path)
    (tmp_path / "empty").mkdir()
    content, sentence = FAULTS[fault]
    path = tmp_path / "datasets.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(CaseError, match=sentence) as told:
        find_cases(path)
    assert str(told.value).startswith(str(path))
    assert "\n" not in str(told.value)


def test_a_file_that_is_missing_or_no_yaml_is_told(tmp_path):
    with pytest.raises(CaseError, match=r"datasets\.yaml: there is no such file"):
        find_cases(tmp_path / "datasets.yaml")
    (tmp_path / "datasets.yaml").write_text("- name: [")
    with pytest.raises(CaseError, match=r"datasets\.yaml: not a YAML file"):
        find_cases(tmp_path / "datasets.yaml")
    (tmp_path / "datasets.yaml").write_text("- {name: own, path: Städtisches}", encoding="cp1252")
    with pytest.raises(CaseError, match=r"datasets\.yaml: not a text in UTF-8; save it with this encoding\."):
        find_cases(tmp_path / "datasets.yaml")


def test_values_do_not_fit_a_layout_of_mask_files(tmp_path):
    save_scan(tmp_path / "ts" / "s1" / "ct.nii.gz")
    save(tmp_path / "ts" / "s1" / "segmentations" / "liver.nii.gz", (body() == 1).astype(np.uint8))
    ts = {"name": "ts", "path": "ts"}
    with pytest.raises(CaseError, match=r"ts: .*'labels' names the value 1, but this layout has mask files"):
        find_cases(declare(tmp_path, {**ts, "labels": {1: "liver"}, "annotated": ["liver"]}))
    (case,), _ = find_cases(declare(tmp_path, {**ts, "annotated": "organs"}))
    # Of the organs that were declared, those without a mask are unknown in this case.
    assert case["source_labels"].annotated == (1,)
