"""Which series lie in a folder, and which of a study is taken."""

import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.uid import EnhancedCTImageStorage, SecondaryCaptureImageStorage, generate_uid

from abdoseg.dicom import choose_series, fault_of, find_series, studies_of
from abdoseg.files import CaseError
from tests.dicom.written import change, grid, volume, write_series

ROOT = Path(__file__).parents[2]
CORONAL = grid((-1, 0, 0), (0, 0, -1), (0, 2, 0))
SAGITTAL = grid((0, -1, 0), (0, 0, -1), (2, 0, 0))


def on(affine) -> nib.Nifti1Image:
    return nib.Nifti1Image(np.asarray(volume().dataobj), affine)


def only(folder):
    (series,) = find_series(folder)
    return series


def test_series_of_several_patients_are_found_at_any_depth(tmp_path, caplog):
    write_series(volume(), tmp_path / "a" / "study" / "ct", PatientID="a", SeriesNumber=4, SeriesDescription="thin")
    write_series(volume(shape=(9, 9, 3)), tmp_path / "b", PatientID="b", SeriesNumber=None, SeriesDescription=None)
    (tmp_path / "b" / "notes.txt").write_text("no DICOM")
    (tmp_path / "b" / "cut.dcm").write_bytes(bytes(128) + b"DICM" + b"\x02\x00")
    (tmp_path / "b" / ".hidden").write_bytes((tmp_path / "b" / "IM0000").read_bytes())
    found = {str(series.folder.relative_to(tmp_path)): series for series in find_series(tmp_path)}
    assert set(found) == {"a/study/ct", "b"}
    assert [len(series.slices) for series in found.values()] == [7, 3]
    assert str(found["a/study/ct"]) == "series 4 'thin'"
    assert str(found["b"]) == "series without a number"
    assert len(studies_of(found.values())) == 2
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path / 'b' / 'cut.dcm'}: passed over, it begins as a DICOM file and tells neither")


def test_without_pydicom_the_packages_to_install_are_named(tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("no DICOM")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert find_series(tmp_path) == []
    (tmp_path / "IM0000").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(CaseError, match="DICOM needs the packages pydicom and highdicom; install them by"):
        find_series(tmp_path)


def test_abdoseg_dicom_is_imported_without_its_libraries():
    code = "import sys; sys.modules |= dict.fromkeys(['pydicom', 'highdicom']); import abdoseg.dicom, tools.dicom_scans"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_file_that_lies_there_twice_counts_once(tmp_path):
    path = write_series(volume(), tmp_path)[0]
    shutil.copy(path, tmp_path / "copy.dcm")
    assert len(only(tmp_path).slices) == 7


def test_the_axial_ct_with_most_slices_is_taken_and_the_others_have_reasons(tmp_path):
    study = generate_uid()
    write_series(volume(shape=(9, 9, 5)), tmp_path / "thick", study=study, SeriesNumber=1)
    write_series(volume(), tmp_path / "second", study=study, SeriesNumber=12)
    write_series(volume(), tmp_path / "first", study=study, SeriesNumber=9)
    write_series(on(CORONAL), tmp_path / "coronal", study=study)
    write_series(on(SAGITTAL), tmp_path / "sagittal", study=study)
    write_series(volume(), tmp_path / "mr", study=study, Modality="MR")
    write_series(volume(), tmp_path / "scout", study=study, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_series(volume(), tmp_path / "capture", study=study, SOPClassUID=SecondaryCaptureImageStorage)
    write_series(volume(), tmp_path / "enhanced", study=study, SOPClassUID=EnhancedCTImageStorage)
    write_series(volume(shape=(9, 9, 1)), tmp_path / "one", study=study)
    series = find_series(tmp_path)
    chosen, reasons = choose_series(series)
    assert chosen.folder.name == "first"
    told = {one.folder.name: reasons.get(one.uid) for one in series}
    assert told == {
        "first": None,
        "second": "as many slices, but a higher number",
        "thick": "5 slices of 7",
        "coronal": "coronal, not axial",
        "sagittal": "sagittal, not axial",
        "mr": "modality MR, not CT",
        "scout": "localizer",
        "capture": "pictures such as secondary captures, not CT images",
        "enhanced": "enhanced CT, all slices in one file; export it as one file a slice",
        "one": "one slice only",
    }


def test_a_study_without_an_axial_ct_has_no_series_to_take(tmp_path):
    write_series(on(CORONAL), tmp_path)
    chosen, reasons = choose_series(find_series(tmp_path))
    assert chosen is None
    assert list(reasons.values()) == ["coronal, not axial"]


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"ImagePositionPatient": None}, "slices without size, pixel spacing, position or orientation"),
        ({"ImageOrientationPatient": None}, "slices without size, pixel spacing, position or orientation"),
        ({"PixelSpacing": [0.8, 0.9]}, "slices of different spacing"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.98, 0.2]}, "slices of different orientation"),
        ({"Rows": 10}, "slices of different size"),
        ({"RescaleType": "Z_EFF"}, "values in Z_EFF, not HU"),
    ],
)
def test_slices_that_do_not_belong_together_are_refused(attributes, words, tmp_path):
    paths = write_series(volume(), tmp_path)
    for path in paths if "RescaleType" in attributes else paths[:1]:
        change(path, **attributes)
    assert fault_of(only(tmp_path)) == words


def test_rounding_of_the_orientation_is_no_difference(tmp_path):
    path = write_series(volume(), tmp_path)[1]
    change(path, ImageOrientationPatient=[1, 0, 0, 0, 0.9999999, 0.0002])
    assert fault_of(only(tmp_path)) is None
