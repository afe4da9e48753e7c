"""Our data lists as nnU-Net raw data sets: what nobody drew teaches nothing."""

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nnunetv2.experiment_planning.verify_dataset_integrity import check_cases, verify_labels
from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from abdoseg.datalist import write_datalist
from abdoseg.files import CaseError
from abdoseg.labels import CLASS_IDS, ORGAN_IDS
from abdoseg.nnunet.raw_data import ExportRawData, nnunet_labels
from tests.tools.small_data import AFFINE, FIVE, ORGANS, SHAPE, labels_of, save, save_scan

DRAWN = np.array([[[0, 1, 4, 14]]], dtype=np.uint8)
ALL = (*ORGANS, 14)


@pytest.mark.parametrize(
    ("known", "classes", "wanted"),
    [
        # Every organ is drawn: 0 is background. Whose organ the tumor is in nobody says.
        (set(ORGAN_IDS), ORGAN_IDS, [0, 1, 4, 14]),
        # Liver and tumor are drawn: the voxel without a class may be any other organ; the pancreas's is drawn.
        ({1, 14}, ORGAN_IDS, [14, 1, 4, 14]),
        # All 14: a tumor is a class of its own, 15 is ignored.
        (set(CLASS_IDS), CLASS_IDS, [0, 1, 4, 14]),
        (set(ORGAN_IDS), CLASS_IDS, [15, 1, 4, 14]),
    ],
)
def test_what_a_voxel_becomes(known, classes, wanted):
    assert nnunet_labels(DRAWN, known, classes).ravel().tolist() == wanted


@pytest.fixture
def datalist(tmp_path) -> Path:
    """Two strong cases (one held out, one .nii), a weak one, an unlabeled one and a test case."""
    root = tmp_path / "data"
    training = []
    for number, (classes, kind) in enumerate([(ORGANS, "strong"), (ORGANS, "strong"), ((1, 14), "weak")], 1):
        ending = ".nii" if number == 2 else ".nii.gz"
        image = save_scan(root / f"{number:04}_0000{ending}", number)
        label = save(root / f"{number:04}.nii.gz", labels_of(classes, number))
        entry = {"id": f"{number:04}", "image": str(image), "label": str(label), "kind": kind}
        training.append({**entry, "annotated_classes": list(classes), "teacher_validation": number == 2})
    save_scan(root / "0009_0000.nii.gz", 9)
    save(root / "0009.nii.gz", labels_of(ALL, 9))
    test = {"id": "0009", "image": "0009_0000.nii.gz", "label": "0009.nii.gz", "kind": "test"}
    unlabeled = {"id": "0005", "image": "0009_0000.nii.gz", "kind": "unlabeled", "annotated_classes": []}
    write_datalist(root / "list.json", {"training": training, "unlabeled": [unlabeled], "testing": [test]})
    return root / "list.json"


def export(datalist: Path, name: str = "Dataset007_CT", **settings) -> tuple[Path, dict]:
    folder = datalist.parent.parent / "nnUNet_raw" / name
    return folder, ExportRawData(datalist, folder, progress=False, **settings).run()


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def test_a_data_set_that_nnunet_reads(datalist, capsys):
    folder, result = export(datalist)
    assert {key: result[key] for key in ("exported", "complete", "partial", "skipped", "failed")} == {
        "exported": 4,
        "complete": 2,
        "partial": 1,
        "skipped": 0,
        "failed": {},
    }
    description = json.loads((folder / "dataset.json").read_text())
    manager = LabelManager(description["labels"], None)
    assert manager.foreground_labels == list(ORGANS)
    assert manager.ignore_label == 14
    assert description["numTraining"] == 3
    cases = get_filenames_of_train_images_and_targets(str(folder), description)
    assert sorted(cases) == ["0001", "0002", "0003"]
    for name, files in cases.items():
        # nnU-Net's own checks of a data set.
        assert check_cases(files["images"], files["label"], 1, NibabelIOWithReorient)
        assert verify_labels(files["label"], NibabelIOWithReorient, [*manager.all_labels, manager.ignore_label])
        assert capsys.readouterr().out == ""
        image, label = nib.load(files["images"][0]), nib.load(files["label"])
        assert image.shape == label.shape == SHAPE
        np.testing.assert_allclose(label.affine, image.affine)
        np.testing.assert_allclose(label.affine, AFFINE, atol=1e-4)
        assert label.get_data_dtype() == np.uint8
        assert np.array_equal(voxels(files["images"][0]), voxels(next(datalist.parent.glob(f"{name}_0000.nii*"))))
    assert np.array_equal(voxels(folder / "labelsTr" / "0001.nii.gz"), labels_of(ORGANS, 1))
    weak = labels_of((1, 14), 3)
    assert np.array_equal(voxels(folder / "labelsTr" / "0003.nii.gz"), np.where(weak == 1, 1, 14))
    truth = labels_of(ALL, 9)
    assert np.array_equal(voxels(folder / "labelsTs" / "0009.nii.gz"), truth)
    assert json.loads((folder / "splits_final.json").read_text()) == [{"train": ["0001", "0003"], "val": ["0002"]}]


def test_images_are_links_or_copies(datalist):
    folder, _ = export(datalist)
    image = folder / "imagesTr" / "0001_0000.nii.gz"
    before = (datalist.parent / "0001_0000.nii.gz").stat()
    assert image.is_symlink()
    assert image.resolve() == (datalist.parent / "0001_0000.nii.gz").resolve()
    assert not (folder / "imagesTr" / "0002_0000.nii.gz").is_symlink()
    copied, _ = export(datalist, "Dataset008_Copy-1K", copy=True)
    assert not (copied / "imagesTr" / "0001_0000.nii.gz").is_symlink()
    assert (copied / "imagesTr" / "0001_0000.nii.gz").read_bytes() == image.read_bytes()
    after = (datalist.parent / "0001_0000.nii.gz").stat()
    assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns)
    assert not list(folder.rglob(".tmp-*"))


def test_partial_cases_can_be_left_out_and_then_nothing_is_ignored(datalist):
    folder, result = export(datalist, partial="skip")
    assert (result["complete"], result["partial"], result["skipped"]) == (2, 0, 1)
    description = json.loads((folder / "dataset.json").read_text())
    assert "ignore" not in description["labels"]
    assert description["numTraining"] == 2
    assert not (folder / "labelsTr" / "0003.nii.gz").exists()


def test_cases_that_are_no_longer_wanted_go(datalist):
    folder, _ = export(datalist)
    (folder / "labelsTr" / "mine.nii.gz").write_text("not of this command")
    for part in ("imagesTr", "labelsTr", "summary"):
        (folder / part / ".tmp-1-0001_0000.nii.gz").touch()  # of a process that was killed while it wrote
    export(datalist, partial="skip")
    assert not list(folder.rglob("0003*"))
    assert not list(folder.rglob(".tmp-*"))
    assert (datalist.parent / "0003_0000.nii.gz").exists()
    assert sorted(path.name for path in (folder / "labelsTr").iterdir()) == [
        "0001.nii.gz",
        "0002.nii.gz",
        "mine.nii.gz",
    ]


def test_a_case_that_was_in_work_when_the_export_was_killed_goes_when_it_is_no_longer_wanted(datalist, monkeypatch):
    work = ExportRawData.work

    def killed(self, case, inputs):
        summary = work(self, case, inputs)
        if case["id"] == "0003":
            raise KeyboardInterrupt
        return summary

    monkeypatch.setattr(ExportRawData, "work", killed)
    with pytest.raises(KeyboardInterrupt):
        export(datalist)
    monkeypatch.undo()
    assert list(datalist.parents[1].rglob("labelsTr/0003.nii.gz"))
    folder, _ = export(datalist, partial="skip")
    assert not list(folder.rglob("0003*"))


def test_the_tumor_needs_cases_that_know_all(datalist):
    with pytest.raises(CaseError, match=r"no training case knows all 14 classes.* export a merged data list"):
        export(datalist, classes="all")
    content = json.loads(datalist.read_text())
    content["training"][2]["filled_classes"] = list(ORGANS)
    write_datalist(datalist, content)
    folder, result = export(datalist, classes="all")
    assert (result["complete"], result["partial"]) == (1, 2)
    assert json.loads((folder / "dataset.json").read_text())["labels"]["ignore"] == 15
    assert np.array_equal(voxels(folder / "labelsTr" / "0003.nii.gz"), labels_of((1, 14), 3))
    organs = labels_of(ORGANS, 1)
    assert np.array_equal(voxels(folder / "labelsTr" / "0001.nii.gz"), np.where(organs, organs, 15))


def test_a_second_call_writes_what_is_missing(datalist):
    folder, _ = export(datalist)
    labels = sorted(folder.glob("labels*/*"))
    before = [path.stat().st_mtime_ns for path in labels]
    _, result = export(datalist)
    assert (result["exported"], result["up_to_date"]) == (0, 4)
    assert [path.stat().st_mtime_ns for path in labels] == before
    (folder / "labelsTr" / "0001.nii.gz").unlink()
    assert export(datalist)[1]["exported"] == 1
    # What is not annotated any more is not known any more.
    content = json.loads(datalist.read_text())
    content["training"][1]["annotated_classes"] = list(FIVE)
    write_datalist(datalist, content)
    assert export(datalist)[1]["partial"] == 2
    assert 14 in voxels(folder / "labelsTr" / "0002.nii.gz")


def test_a_broken_case_is_set_aside(datalist):
    os.truncate(datalist.parent / "0003.nii.gz", 100)
    folder, result = export(datalist)
    assert list(result["failed"]) == ["0003"]
    assert not (folder / "imagesTr" / "0003_0000.nii.gz").exists()
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 2


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("mine", {}, "are called DatasetNNN_NAME, for example Dataset007_CT"),
        ("Dataset007_CT", {"classes": "some"}, "Unknown classes 'some'. Use 'organs' or 'all'"),
        ("Dataset007_CT", {"partial": "guess"}, "Unknown rule 'guess' for partial cases. Use 'ignore' or 'skip'"),
    ],
)
def test_wrong_settings_are_named(datalist, name, settings, words):
    with pytest.raises(CaseError, match=words):
        export(datalist, name, **settings)
