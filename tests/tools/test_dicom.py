"""Label maps made DICOM SEG and back by the command: in place to the voxel, the right series, faults by name."""

import json
import os

import nibabel as nib
import numpy as np
import pydicom
import pytest

from abdoseg.dicom import find_series, read_volume
from abdoseg.files import CaseError, write_label_map
from abdoseg.label_maps import grid_difference
from tests.dicom.written import GRIDS, read_segmentation, same_in_place, volume, write_series
from tools.__main__ import main
from tools.dicom import dicom
from tools.dicom_scans import find_dicom_scans, write_scans

NAMES = {"feet": "LPI, feet first", "flipped": "LAS, flipped", "oblique": "oblique and reversed"}


@pytest.fixture
def studies(tmp_path):
    """A study of each orientation, named by the folder, and labels/ID.nii.gz as programs may store them."""
    for number, (name, kind) in enumerate(NAMES.items()):
        write_series(volume(kind), tmp_path / "studies" / name, PatientID=name)
        (series,) = find_series(tmp_path / "studies" / name)
        like = read_volume(series)
        labels = np.random.default_rng(number).integers(0, 15, like.shape).astype(np.uint8)
        image = nib.Nifti1Image(labels, like.affine)
        (tmp_path / "labels").mkdir(exist_ok=True)
        # One as it is, one in RAS, one as 3D Slicer may send it: numbers with a fraction of zero.
        image = [image, nib.as_closest_canonical(image), nib.Nifti1Image(labels.astype(np.float32), like.affine)][
            number
        ]
        nib.save(image, tmp_path / "labels" / f"{name}.nii.gz")
    return tmp_path / "studies"


def test_label_maps_become_segmentations_in_their_place_and_come_back(studies, tmp_path, capsys):
    labels, segmentations, back = (str(tmp_path / name) for name in ("labels", "segmentations", "back"))
    assert main(["dicom", labels, str(studies), segmentations]) == 0
    assert f"3 of 3 files written: {segmentations}" in capsys.readouterr().out
    assert sorted(os.listdir(segmentations)) == [f"{name}.dcm" for name in sorted(NAMES)]
    for name in NAMES:
        wanted = nib.load(tmp_path / "labels" / f"{name}.nii.gz")
        path = tmp_path / "segmentations" / f"{name}.dcm"
        np.testing.assert_array_equal(read_segmentation(path, wanted), np.asarray(wanted.dataobj))
        seg = pydicom.dcmread(path)
        assert (seg.PatientID, seg.ManufacturerModelName) == (name, "MONAI Label")
        assert {part.SegmentAlgorithmType for part in seg.SegmentSequence} == {"SEMIAUTOMATIC"}
    # An archive stores them with the series, in folders and under names of its own.
    for number, name in enumerate(sorted(os.listdir(segmentations))):
        (studies / "segs" / str(number)).mkdir(parents=True)
        os.rename(f"{segmentations}/{name}", studies / "segs" / str(number) / "IM0001")
    assert dicom(str(studies), str(studies), back, model="x") == {"written": sorted(NAMES), "failed": {}}
    for name in NAMES:
        found = nib.load(f"{back}/{name}.nii.gz")
        assert found.get_data_dtype() == np.uint8
        same_in_place(found, nib.load(tmp_path / "labels" / f"{name}.nii.gz"))
        # The grid is the one that `predict` writes on, so that MONAI Label takes the file for its scan's.
        (series,) = (one for one in find_series(studies / name) if one.modality == "CT")
        np.testing.assert_allclose(found.affine, read_volume(series).affine, atol=1e-5)


def test_what_does_not_fit_is_set_aside_by_name(studies, tmp_path, capsys):
    labels = tmp_path / "labels"
    (labels / "feet.nii.gz").rename(labels / "stranger.nii.gz")
    other = nib.load(labels / "flipped.nii.gz")
    moved = other.affine.copy()
    moved[2, 3] += 1
    write_label_map(labels / "flipped.nii.gz", np.asarray(other.dataobj), nib.Nifti1Image(other.dataobj, moved))
    assert main(["dicom", str(labels), str(studies), str(tmp_path / "out")]) == 1
    assert os.listdir(tmp_path / "out") == ["oblique.dcm"]
    told = capsys.readouterr().out
    assert "1 of 3 files written" in told
    assert (
        f"set aside: {labels / 'stranger.nii.gz'}: {studies} holds no series stranger, but feet, flipped, obl" in told
    )
    assert f"set aside: {labels / 'flipped.nii.gz'}: another affine (a corner lies 1 mm away); it is no label" in told


def test_a_label_map_on_the_right_angles_of_a_bent_series_is_its_label_map(tmp_path):
    """ITK, and with it 3D Slicer, straightens a grid that rounding has bent, here by 0.3 degrees."""
    import SimpleITK

    bent = GRIDS["LPS"] + np.outer([0, 1, 0, 0], [0, 0, 0.015, 0])
    write_series(nib.Nifti1Image(np.zeros((9, 121, 7), np.int16), bent), tmp_path / "studies" / "a")
    assert write_scans(find_dicom_scans(tmp_path / "studies"), tmp_path) == {}
    scan, theirs = nib.load(tmp_path / "a.nii.gz"), SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    labels = np.random.default_rng(0).integers(0, 15, scan.shape).astype(np.uint8)
    drawn = SimpleITK.GetImageFromArray(labels.transpose(2, 1, 0))
    drawn.CopyInformation(theirs)
    (tmp_path / "labels").mkdir()
    SimpleITK.WriteImage(drawn, str(tmp_path / "labels" / "a.nii.gz"))
    assert "a corner lies" in grid_difference(nib.load(tmp_path / "labels" / "a.nii.gz"), scan)
    assert dicom(str(tmp_path / "labels"), str(tmp_path / "studies"), str(tmp_path / "seg"))["written"] == ["a"]
    np.testing.assert_array_equal(read_segmentation(tmp_path / "seg" / "a.dcm", scan), labels)


def test_two_segmentations_of_a_series_are_told_apart_by_the_person(studies, tmp_path):
    dicom(str(tmp_path / "labels"), str(studies), str(tmp_path / "a"))
    os.rename(tmp_path / "labels" / "oblique.nii.gz", tmp_path / "oblique.nii.gz")
    dicom(str(tmp_path / "oblique.nii.gz"), str(studies), str(tmp_path / "a" / "b"))
    failed = dicom(str(tmp_path / "a"), str(studies), str(tmp_path / "back"))["failed"]
    (reason,) = failed.values()
    assert reason.endswith("another file tells of series 3 'Abdomen' too; name the one to read by --labels.")
    one = dicom(str(tmp_path / "a" / "b" / "oblique.dcm"), str(studies), str(tmp_path / "back"))
    assert one == {"written": ["oblique"], "failed": {}}


def test_folders_without_anything_to_do_are_refused(studies, tmp_path):
    for arguments, words in (
        (("nowhere", str(studies)), "nowhere does not exist; --labels takes label maps"),
        ((str(studies), str(studies)), r"studies holds neither label maps \(\.nii\.gz\) nor DICOM SEG"),
        ((str(tmp_path / "labels"), "nowhere"), "nowhere is no folder; --studies takes the folder with the DICOM"),
    ):
        with pytest.raises(CaseError, match=words):
            dicom(*arguments, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_copies_for_other_programs_remember_their_series(studies, tmp_path):
    copies = tmp_path / "work" / "studies"
    write_series(volume(), studies / "gap", places=[0, 1, 2, 3, 4, 5, 8])
    failed = write_scans(find_dicom_scans(studies), copies)
    assert list(failed) == ["gap"]
    assert "2 slices are missing" in failed["gap"]
    assert sorted(os.listdir(copies)) == [*(f"{name}.nii.gz" for name in sorted(NAMES)), "series.json"]
    stamps = {name: (copies / f"{name}.nii.gz").stat().st_mtime_ns for name in NAMES}
    for name, kind in NAMES.items():
        same_in_place(nib.load(copies / f"{name}.nii.gz"), volume(kind))
    # A segmentation that is put beside its series does not make it another case.
    dicom(str(tmp_path / "labels" / "feet.nii.gz"), str(studies), str(studies / "feet"))
    assert list(write_scans(find_dicom_scans(studies), copies)) == ["gap"]
    assert stamps == {name: (copies / f"{name}.nii.gz").stat().st_mtime_ns for name in NAMES}

    # Another patient's series on the same grid has taken the folder's place.
    final = copies / "labels" / "final"
    final.mkdir(parents=True)
    os.rename(tmp_path / "labels" / "feet.nii.gz", final / "feet.nii.gz")
    assert dicom(str(final), str(studies), str(tmp_path / "out"))["written"] == ["feet"]
    for path in (studies / "feet").iterdir():
        path.unlink()
    write_series(volume(NAMES["feet"], seed=9), studies / "feet", PatientID="another")
    told = write_scans(find_dicom_scans(studies), copies)["feet"]
    assert told.startswith(f"{copies / 'feet.nii.gz'} was made of another series than lies in {studies / 'feet'} now;")
    told = dicom(str(final), str(studies), str(tmp_path / "out"))["failed"]["feet.nii.gz"]
    assert f"was drawn on another series than lies in {studies / 'feet'} now; bring that back." in told
    assert set(json.loads((copies / "series.json").read_text())) == set(NAMES)
