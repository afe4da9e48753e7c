"""The audit on small data sets in the FLARE23 layout: kinds, splits, statistics, and each fault set aside by name."""

import errno
import gzip
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from abdoseg.datalist import load_cases
from abdoseg.datasets import LabelConvention
from abdoseg.files import CaseError
from tools import audit_cases
from tools.audit import audit
from tools.audit_cases import examine_all

SHAPE = (12, 10, 8)
AFFINE = np.array([[-2.0, 0, 0, 10], [0, 2.0, 0, 20], [0, 0, 5.0, 30], [0, 0, 0, 1]])
ORGANS = list(range(1, 14))


def save_image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(list(path.name.encode())).integers(-1000, 1000, SHAPE).astype(np.int16)
    nib.save(nib.Nifti1Image(values, AFFINE), path)
    return path


def save_label(path: Path, classes, shape=SHAPE, affine=AFFINE, dtype=np.uint8) -> Path:
    """Write a label with class number i of ``classes`` in i + 1 voxels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.zeros(shape, dtype)
    labels.flat[: len(classes) * (len(classes) + 1) // 2] = np.repeat(classes, range(1, len(classes) + 1))
    nib.save(nib.Nifti1Image(labels, affine), path)
    return path


def add_case(root: Path, name: str, classes) -> None:
    save_image(root / "imagesTr10" / f"{name}_0000.nii.gz")
    save_label(root / "labelsTr10" / f"{name}.nii.gz", classes)


@pytest.fixture
def flare(tmp_path) -> Path:
    """Ten training cases: five strong, a tumor-only, two five-organ, one with a tumor, one without gallbladder."""
    root = tmp_path / "FLARE"
    for number in range(1, 6):
        add_case(root, f"000{number}", ORGANS)
    for name, classes in {
        "0006": [14],
        "0007": [1, 2, 3, 4, 13],
        "0008": [1, 2, 3, 4, 13],
        "0009": [1, 2, 3, 4, 13, 14],
        "0010": [c for c in ORGANS if c != 9],
    }.items():
        add_case(root, name, classes)
    save_image(root / "unlabelTr10" / "0011_0000.nii.gz")
    save_image(root / "validation" / "Ts_0001_0000.nii.gz")
    save_image(root / "validation" / "Ts_0002_0000.nii.gz")
    save_label(root / "truth" / "Ts_0002.nii.gz", [1, 14])
    return root


def test_kinds_classes_and_sections(flare, tmp_path):
    result = audit(str(flare), str(tmp_path / "out"))
    assert result["failed"] == {}
    assert result["kinds"] == {"strong": 5, "weak": 5, "unlabeled": 1, "test": 2}
    cases = {case["id"]: case for case in load_cases(result["datalist"])}
    assert list(cases) == [f"{number:04}" for number in range(1, 11)]
    assert cases["0001"]["kind"] == "strong"
    assert cases["0001"]["annotated_classes"] == ORGANS
    assert cases["0009"]["annotated_classes"] == [1, 2, 3, 4, 13, 14]
    assert cases["0010"]["kind"] == "weak"
    assert cases["0010"]["image"] == str(flare / "imagesTr10" / "0010_0000.nii.gz")
    assert cases["0010"]["label"] == str(flare / "labelsTr10" / "0010.nii.gz")
    (unlabeled,) = load_cases(result["datalist"], "unlabeled")
    assert (unlabeled["id"], unlabeled["annotated_classes"]) == ("0011", [])
    tests = load_cases(result["datalist"], "testing")
    assert [case.get("label") for case in tests] == [None, str(flare / "truth" / "Ts_0002.nii.gz")]


def test_statistics_are_the_counts_of_the_labels(flare, tmp_path, capsys):
    content = json.loads(Path(audit(str(flare), str(tmp_path / "out"))["audit"]).read_text())
    drawn = {number: cases for number, cases in content["label_counts"].items() if cases}
    assert drawn == {"1": 1, "5": 2, "6": 1, "12": 1, "13": 5}
    assert content["class_cases"]["liver"] == 9
    assert content["class_cases"]["gallbladder"] == 5
    assert content["class_cases"]["aorta"] == 6
    assert content["class_cases"]["tumor"] == 2
    case = content["cases"]["0009"]
    assert case["voxels"] == {"1": 1, "2": 2, "3": 3, "4": 4, "13": 5, "14": 6}
    assert (case["spacing"], case["shape"], case["orientation"]) == ([2, 2, 5], [12, 10, 8], "LAS")
    assert "classes" not in content["cases"]["0011"]
    assert "5 strong, 5 weak, 1 unlabeled, 2 test" in capsys.readouterr().out


def test_splits_have_the_asked_size_and_follow_the_seed(flare, tmp_path):
    def held_out(seed, flag, **shares):
        path = audit(str(flare), str(tmp_path / "out"), seed=seed, **shares)["datalist"]
        assert json.loads(Path(path).read_text())["seed"] == seed
        return [case["id"] for case in load_cases(path, **{flag: True})]

    # 20 % of 5 strong cases, 10 % of 10 cases.
    assert len(held_out(0, "teacher_validation")) == 1
    assert len(held_out(0, "validation")) == 1
    half = held_out(0, "validation", validation_fraction=0.5)
    assert len(half) == 5
    assert held_out(0, "validation", validation_fraction=0.5) == half
    assert len({tuple(held_out(seed, "validation", validation_fraction=0.5)) for seed in range(4)}) > 1
    assert len(held_out(0, "validation", validation_fraction=0.5, validation_cases=2)) == 2
    assert held_out(0, "validation", validation_fraction=0) == []
    strong = held_out(3, "teacher_validation", teacher_validation_fraction=0.4)
    assert len(strong) == 2
    assert set(strong) <= {f"000{number}" for number in range(1, 6)}


def test_the_anatomy_rule_takes_a_missing_gallbladder_for_absent(flare, tmp_path):
    result = audit(str(flare), str(tmp_path / "out"), strong_rule="anatomy")
    strong = {case["id"]: case for case in load_cases(result["datalist"], kind="strong")}
    assert sorted(strong) == ["0001", "0002", "0003", "0004", "0005", "0010"]
    assert strong["0010"]["annotated_classes"] == ORGANS


def truncate(path: Path) -> None:
    """Cut the end off a volume of random label values, which do not shrink to a header and nothing else."""
    values = np.random.default_rng(0).integers(1, 15, SHAPE).astype(np.uint8)
    nib.save(nib.Nifti1Image(values, AFFINE), path)
    path.write_bytes(path.read_bytes()[:-20])


def shorten_inside_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-10]))


def replace_label(**arguments):
    return lambda path: save_label(path, arguments.pop("classes", [1]), **arguments)


SHIFTED = AFFINE + np.array([[0, 0, 0, 0], [0, 0, 0, 1.0], [0, 0, 0, 0], [0, 0, 0, 0]])
FAULTS = {
    "label cut short": ("label", truncate, "0006.nii.gz: the voxels cannot be read"),
    "image cut short": ("image", truncate, "0006_0000.nii.gz: the voxels cannot be read"),
    "voxels missing": ("image", shorten_inside_gzip, "0006_0000.nii.gz: the file is cut short, it holds 2262 of 2272"),
    "no volume": ("image", lambda path: path.write_bytes(b"text"), "0006_0000.nii.gz: cannot be read"),
    "cut in the header": ("label", lambda path: path.write_bytes(path.read_bytes()[:40]), "0006.nii.gz: cannot"),
    "empty file": ("label", lambda path: path.write_bytes(b""), "0006.nii.gz: cannot be read"),
    "shape": ("label", replace_label(shape=(12, 10, 7)), "0006.nii.gz: has shape (12, 10, 7) instead of (12, 10, 8)"),
    "affine": ("label", replace_label(affine=SHIFTED), "0006.nii.gz: has another affine (a corner lies 1 mm away)"),
    "value": ("label", replace_label(classes=[15]), "0006.nii.gz: unknown label value 15"),
    "fraction": ("label", replace_label(classes=[1.5], dtype=np.float32), "0006.nii.gz: label values such as 1.5"),
    "empty label": ("label", replace_label(classes=[]), "0006.nii.gz: the label is empty"),
    "no label": ("label", Path.unlink, "0006_0000.nii.gz: has no label"),
    "no image": ("image", Path.unlink, "0006.nii.gz: has no image"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_case_is_set_aside_by_name_and_the_others_go_on(flare, tmp_path, fault):
    part, damage, reason = FAULTS[fault]
    paths = {"image": flare / "imagesTr10" / "0006_0000.nii.gz", "label": flare / "labelsTr10" / "0006.nii.gz"}
    damage(paths[part])
    result = audit(str(flare), str(tmp_path / "out"))
    assert list(result["failed"]) == ["0006"]
    assert reason in result["failed"]["0006"]
    assert result["kinds"] == {"strong": 5, "weak": 4, "unlabeled": 1, "test": 2}
    assert "0006" not in [case["id"] for case in load_cases(result["datalist"])]
    (excluded,) = json.loads(Path(result["datalist"]).read_text())["excluded"]
    assert excluded["id"] == "0006"
    assert excluded["reason"] == result["failed"]["0006"]


def test_chunk_folders_and_corrected_labels(flare, tmp_path):
    chunk = flare / "imagesTr10" / "1-500"
    chunk.mkdir()
    shutil.move(flare / "imagesTr10" / "0006_0000.nii.gz", chunk)
    (flare / "unlabelTr10").rename(flare / "unlabeledTr10")
    fixed = save_label(flare / "20230507-fix" / "0006.nii.gz", [1, 14])
    result = audit(str(flare), str(tmp_path / "out"))
    assert result["failed"] == {}
    assert result["kinds"]["unlabeled"] == 1
    case = next(case for case in load_cases(result["datalist"]) if case["id"] == "0006")
    assert case["image"] == str(chunk / "0006_0000.nii.gz")
    assert case["label"] == str(fixed)
    assert case["annotated_classes"] == [1, 14]


def test_a_label_that_was_in_work_when_the_audit_was_stopped_is_converted_again(tmp_path, monkeypatch):
    add_case(tmp_path / "data", "0001", [1, 2])
    case = {"id": "0001", "section": "training", "image": str(tmp_path / "data/imagesTr10/0001_0000.nii.gz")}
    case["label"] = str(tmp_path / "data/labelsTr10/0001.nii.gz")

    def drawn(*targets: int) -> list[int]:
        convention = LabelConvention(dict(enumerate(targets, 1)))
        list(examine_all([{**case, "source_labels": convention}], tmp_path, 1))
        return np.unique(np.asarray(nib.load(tmp_path / "labels/0001.nii.gz").dataobj)).tolist()

    def fail(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    assert drawn(3, 4) == [0, 3, 4]
    monkeypatch.setattr(audit_cases, "write_json", fail)
    with pytest.raises(OSError, match="No space left"):
        drawn(5, 6)
    monkeypatch.undo()
    assert drawn(3, 4) == [0, 3, 4]


def test_a_second_file_or_a_second_use_of_an_id_is_set_aside(flare, tmp_path):
    save_label(flare / "labelsTr10" / "more" / "0006.nii.gz", [1])
    save_image(flare / "unlabelTr10" / "0001_0000.nii.gz")
    result = audit(str(flare), str(tmp_path / "out"))
    assert "more/0006.nii.gz: a second file for the case of" in result["failed"]["0006"]
    assert "unlabelTr10/0001_0000.nii.gz: another image has the id 0001" in result["failed"]["0001"]
    assert result["kinds"] == {"strong": 5, "weak": 5, "unlabeled": 1, "test": 2}


def test_what_stops_the_audit_is_said_in_one_sentence_and_nothing_is_written(flare, tmp_path):
    output = tmp_path / "out"
    with pytest.raises(CaseError, match=r"nowhere: there is no such folder"):
        audit(str(tmp_path / "nowhere"), str(output))
    with pytest.raises(CaseError, match=r"Unknown strong rule 'all'\. Use 'count' or 'anatomy'\."):
        audit(str(flare), str(output), strong_rule="all")
    with pytest.raises(CaseError, match="at least 0 and below 1, not 1"):
        audit(str(flare), str(output), validation_fraction=1)
    for wrong in ({"validation_cases": -1}, {"num_threads": 0}):  # -1 would hold out all cases but one
        with pytest.raises(CaseError, match="use at least 0 and 1"):
            audit(str(flare), str(output), **wrong)
    shutil.rmtree(flare / "labelsTr10")
    with pytest.raises(CaseError, match=r"no labels found; looked for files like labelsTr2200/ID\.nii\.gz"):
        audit(str(flare), str(output))
    shutil.rmtree(flare / "imagesTr10")
    with pytest.raises(CaseError, match="no training images found"):
        audit(str(flare), str(output))
    assert not output.exists()
    save_image(flare / "imagesTr10" / "0001_0000.nii.gz")
    save_label(flare / "labelsTr10" / "0001.nii.gz", [])
    with pytest.raises(CaseError, match=r"not one usable training case; the first reason: .*0001\.nii\.gz"):
        audit(str(flare), str(output))
    assert not (output / "datalist.json").exists()
    (tmp_path / "ward.yaml").write_text(f"- name: ward\n  image_dir: {flare / 'unlabelTr10'}\n")
    with pytest.raises(CaseError, match=r"ward\.yaml: not one usable training case; none of its scans has a label\."):
        audit(str(tmp_path / "ward.yaml"), str(output))


def test_an_image_and_its_label_are_a_pair_though_macos_wrote_one_of_the_names(flare, tmp_path):
    save_image(flare / "imagesTr10" / "M\u00fcller_0000.nii.gz")
    save_label(flare / "labelsTr10" / "Mu\u0308ller.nii.gz", [1])
    result = audit(str(flare), str(tmp_path / "out"))
    assert result["failed"] == {}
    assert result["kinds"]["weak"] == 6
