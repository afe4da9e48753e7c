"""Predict with DICOM folders: the same labels as from NIfTI, a segmentation in its place, and what is refused."""

import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from abdoseg.dicom import Series, find_series, read_volume
from abdoseg.files import CaseError
from tests.dicom.written import grid, read_segmentation, rotation, same_in_place, volume, write_series
from tests.tools.small_data import STUDENT, labels_of, save_weights
from tools.__main__ import main
from tools.chain import BUNDLES
from tools.dicom_scans import by_folder, find_dicom_scans, named_series
from tools.predict import predict
from tools.scans import find_scans

FINE_SEG = str(BUNDLES / "fine_seg")
REAL = Path(__file__).parents[3] / "shared" / "data"
GRIDS = {
    "reversed": grid((-12, 0, 0), (0, -12, 0), (0, 0, -14)),
    "oblique": rotation(17, "x") @ rotation(-9, "z") @ grid((-12, 0, 0), (0, -13, 0), (0, 0, 14)),
    "flipped": grid((-12, 0, 0), (0, 12, 0), (0, 0, 14)),
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    return str(save_weights(tmp_path_factory.mktemp("weights"), STUDENT))


def scan(affine) -> nib.Nifti1Image:
    noise = np.random.default_rng(0).normal(0, 10, (24, 20, 18))
    return nib.Nifti1Image((40.0 * labels_of(range(1, 15)) - 100 + noise).astype(np.int16), affine)


def test_dicom_and_nifti_of_the_same_scans_get_the_same_labels_in_place(weights, tmp_path, capsys):
    (tmp_path / "nifti").mkdir()
    for name, affine in GRIDS.items():
        nib.save(scan(affine), tmp_path / "nifti" / f"{name}_0000.nii.gz")
        write_series(scan(affine), tmp_path / "dicom" / name / "ct", PatientID=name)
    predict(FINE_SEG, str(tmp_path / "nifti"), str(tmp_path / "a"), weights)
    result = predict(FINE_SEG, str(tmp_path / "dicom"), str(tmp_path / "b"), weights)
    assert result == {"labeled": ["flipped_ct", "oblique_ct", "reversed_ct"], "failed": {}}
    assert f"{tmp_path / 'dicom' / 'flipped' / 'ct'}: series 3 'Abdomen' taken, 18 slices." in capsys.readouterr().out
    assert sorted(os.listdir(tmp_path / "b")) == sorted(
        [f"{name}_ct{ending}" for name in GRIDS for ending in (".nii.gz", ".dcm")] + ["manifest.json"]
    )
    for name in GRIDS:
        wanted = nib.load(tmp_path / "a" / f"{name}.nii.gz")
        assert len(np.unique(np.asarray(wanted.dataobj))) > 3
        same_in_place(nib.load(tmp_path / "b" / f"{name}_ct.nii.gz"), wanted)
        np.testing.assert_array_equal(
            read_segmentation(tmp_path / "b" / f"{name}_ct.dcm", wanted), np.asarray(wanted.dataobj)
        )
        seg = pydicom.dcmread(tmp_path / "b" / f"{name}_ct.dcm", stop_before_pixels=True)
        assert (seg.PatientID, seg.ManufacturerModelName) == (name, "fine_seg")
        assert seg.DeviceSerialNumber == json.loads((tmp_path / "b" / "manifest.json").read_text())["sha256"][:16]


def test_what_is_missing_is_made_and_nothing_else(weights, tmp_path):
    write_series(scan(GRIDS["flipped"]), tmp_path / "in" / "a")
    arguments = (FINE_SEG, str(tmp_path / "in"), str(tmp_path / "out"), weights)
    predict(*arguments)
    label, segmentation = tmp_path / "out" / "a.nii.gz", tmp_path / "out" / "a.dcm"
    stamp = label.stat().st_mtime_ns
    uid = pydicom.dcmread(segmentation, stop_before_pixels=True).SOPInstanceUID
    predict(*arguments)
    assert pydicom.dcmread(segmentation, stop_before_pixels=True).SOPInstanceUID == uid
    segmentation.unlink()
    predict(*arguments)
    assert segmentation.exists()
    assert label.stat().st_mtime_ns == stamp
    # Another scan has taken the folder's place: its segmentation must not be made of the old label map.
    segmentation.unlink()
    for path in (tmp_path / "in" / "a").iterdir():
        path.unlink()
    write_series(scan(GRIDS["oblique"]), tmp_path / "in" / "a")
    failed = predict(*arguments)["failed"]
    assert "another affine" in failed["a"]
    assert failed["a"].endswith("it is no label map of series 3 'Abdomen'; label it anew (predict --overwrite).")
    assert predict(*arguments, overwrite=True)["failed"] == {}
    assert sorted(os.listdir(tmp_path / "out")) == ["a.dcm", "a.nii.gz", "manifest.json"]


def test_faulty_studies_are_set_aside_and_the_others_labeled(weights, tmp_path, capsys):
    root = tmp_path / "in"
    write_series(scan(GRIDS["flipped"]), root / "good")
    write_series(scan(GRIDS["flipped"]), root / "gap", places=[*range(17), 19])
    write_series(scan(grid((-12, 0, 0), (0, 0, -12), (0, 14, 0))), root / "coronal")
    write_series(scan(GRIDS["flipped"]), root / "mr", Modality="MR")
    options = ["--bundle", FINE_SEG, "--input", str(root), "--output", str(tmp_path / "out"), "--weights", weights]
    assert main(["predict", *options]) == 1
    told = capsys.readouterr().out
    failed = json.loads((tmp_path / "out" / "manifest.json").read_text())["failed"]
    assert len(failed) == 2
    assert failed["gap"].startswith(f"{root / 'gap'} (series 3 'Abdomen'): 2 slices are missing")
    (coronal,) = (reason for name, reason in failed.items() if name.startswith("coronal_"))
    assert coronal == (
        f"{root / 'coronal'}: holds no axial CT series (series 3 'Abdomen': coronal, not axial); "
        "name one by --series, or export one."
    )
    assert f"set aside: {coronal}" in told
    assert "1 of 4 DICOM studies have no CT and are passed over." in told
    assert sorted(os.listdir(tmp_path / "out")) == ["good.dcm", "good.nii.gz", "manifest.json"]


def test_series_of_one_study_and_one_folder(tmp_path, capsys):
    study = pydicom.uid.generate_uid()
    small = nib.Nifti1Image(np.asarray(scan(np.eye(4)).dataobj)[..., :5], GRIDS["flipped"])
    write_series(scan(GRIDS["flipped"]), tmp_path / "p" / "thin", study=study, SeriesNumber=2)
    write_series(small, tmp_path / "p" / "thick", study=study, SeriesNumber=1)
    (name,) = find_scans(tmp_path)
    assert name == "p_thin"
    assert "thin: series 2 'Abdomen' taken, 18 slices. Not taken: series 1 'Abdomen': 5 slices of 18." in (
        capsys.readouterr().out
    )
    uids = {series.folder.name: series.uid for series in find_series(tmp_path)}
    assert list(find_scans(tmp_path, series=uids["thick"])) == ["p_thick"]
    assert list(find_scans(tmp_path, series=f"{uids['thick']}, {uids['thin']}")) == ["p_thick", "p_thin"]
    with pytest.raises(CaseError, match=r"holds no series 1\.2\.3; it holds .* \(series 1 'Abdomen'\)"):
        find_scans(tmp_path, series="1.2.3")
    with pytest.raises(CaseError, match="is no folder; --series chooses among the DICOM series"):
        find_scans(tmp_path / "scan_0000.nii.gz", series="1.2.3")
    # Files of both in one folder: the ids tell them apart, and stay when only one of them is asked for.
    for index, path in enumerate((tmp_path / "p" / "thick").iterdir()):
        path.rename(tmp_path / "p" / "thin" / f"thick{index}")
    (tmp_path / "p" / "thick").rmdir()
    (one,) = find_scans(tmp_path)
    both = find_scans(tmp_path, series=f"{uids['thick']},{uids['thin']}")
    assert len(both) == 2
    assert one in both
    assert all(name.startswith("p_thin_") for name in both)


def test_folders_of_patients_may_be_links(tmp_path, caplog):
    write_series(volume(), tmp_path / "disk" / "ann")
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "ann").symlink_to(tmp_path / "disk" / "ann")
    (tmp_path / "studies" / "otto.dcm").symlink_to(tmp_path / "gone.dcm")
    assert list(find_dicom_scans(tmp_path / "studies")) == ["ann"]
    assert "otto.dcm: passed over, this file cannot be read (No such file or directory)." in caplog.text


def test_names_of_many_series_take_a_look_at_each_not_at_each_pair(tmp_path):
    looks = 0

    class Counted(Series):
        @property
        def folder(self):
            nonlocal looks
            looks += 1
            return super().folder

    write_series(volume(), tmp_path / "one")
    (one,) = find_series(tmp_path)
    found = []
    for number in range(200):
        slices = tuple(replace(part, path=tmp_path / str(number) / part.path.name) for part in one.slices)
        found.append(Counted(str(number), one.study, None, "", "CT", slices))
    assert named_series(tmp_path, by_folder(found)) == {str(number): [found[number]] for number in range(200)}
    assert looks <= 3 * len(found)


def test_a_wanted_series_that_cannot_be_labeled_says_why(weights, tmp_path):
    write_series(scan(GRIDS["flipped"]), tmp_path / "in" / "a", Modality="MR")
    (series,) = find_series(tmp_path / "in")
    result = predict(FINE_SEG, str(tmp_path / "in"), str(tmp_path / "out"), weights, series=series.uid)
    assert result["failed"]["a"].endswith("(series 3 'Abdomen'): modality MR, not CT; choose another --series.")


def test_folders_without_a_ct_and_of_the_same_name_are_refused(tmp_path):
    write_series(scan(GRIDS["flipped"]), tmp_path / "mr" / "a", Modality="MR")
    with pytest.raises(CaseError, match=r"holds DICOM series without a CT among them \(modality MR\)"):
        find_scans(tmp_path / "mr")
    write_series(scan(GRIDS["flipped"]), tmp_path / "ct" / "a" / "b_c")
    write_series(scan(GRIDS["flipped"]), tmp_path / "ct" / "a_b" / "c")
    with pytest.raises(CaseError, match="have the same id a_b_c; rename one of the folders"):
        find_dicom_scans(tmp_path / "ct")


def test_label_maps_never_lie_where_they_would_be_taken_for_scans(weights, tmp_path):
    write_series(scan(GRIDS["flipped"]), tmp_path / "a")
    with pytest.raises(CaseError, match="its label map would take its place; give another --output"):
        predict(FINE_SEG, str(tmp_path), str(tmp_path), weights)
    assert os.listdir(tmp_path) == ["a"]


def real(name: str) -> Path:
    path = REAL / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


def test_a_real_compressed_series(weights, tmp_path):
    with zipfile.ZipFile(real("ct_example_dicom20/dicom.zip")) as archive:
        archive.extractall(tmp_path / "in")
    result = predict(FINE_SEG, str(tmp_path / "in"), str(tmp_path / "out"), weights)
    assert result["failed"] == {}
    (name,) = result["labeled"]
    labels = nib.load(tmp_path / "out" / f"{name}.nii.gz")
    assert labels.shape == (512, 512, 20)
    np.testing.assert_allclose(labels.header.get_zooms(), (0.977, 0.977, 2), atol=1e-3)
    found = read_segmentation(tmp_path / "out" / f"{name}.dcm", labels)
    np.testing.assert_array_equal(found, np.asarray(labels.dataobj))
    # The label map that comes with the scan, on another orientation of the same grid, lies over the body.
    given = nib.as_closest_canonical(nib.load(real("ct_example_dicom20/label_flare.nii.gz")))
    (series,) = find_series(tmp_path / "in")
    volume = nib.as_closest_canonical(read_volume(series))
    np.testing.assert_allclose(volume.affine, given.affine, atol=1e-3)
    liver = np.asarray(volume.dataobj)[np.asarray(given.dataobj) == 1]
    assert 50 < np.median(liver) < 150


def test_a_real_ct_as_dicom_and_as_nifti(weights, tmp_path):
    source = real("ct_example_3mm/ct.nii.gz")
    write_series(nib.load(source), tmp_path / "in" / "a", intercepts=-2048)
    (series,) = find_series(tmp_path / "in")
    same_in_place(read_volume(series), nib.load(source))
    predict(FINE_SEG, str(tmp_path / "in"), str(tmp_path / "b"), weights)
    predict(FINE_SEG, str(source), str(tmp_path / "a"), weights)
    wanted = nib.load(tmp_path / "a" / "ct.nii.gz")
    same_in_place(nib.load(tmp_path / "b" / "a.nii.gz"), wanted)
    np.testing.assert_array_equal(read_segmentation(tmp_path / "b" / "a.dcm", wanted), np.asarray(wanted.dataobj))


def test_a_real_tilted_series_is_refused(weights, tmp_path):
    with zipfile.ZipFile(real("geometry/ge_head_gantry_tilt_variable_spacing_dicom.zip")) as archive:
        archive.extractall(tmp_path / "in")
    failed = predict(FINE_SEG, str(tmp_path / "in"), str(tmp_path / "out"), weights)["failed"]
    (reason,) = failed.values()
    assert "the gaps between slices vary from 1.08 to 7 mm" in reason
    assert "export a reconstruction with even slices" in reason
