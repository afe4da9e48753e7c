"""Which files of a folder are scans, and what is said of the others."""

import pytest

from abdoseg.files import CaseError
from tests.tools.layout_examples import folders
from tools.layout import find_cases
from tools.scans import find_scans
from tools.score_files import find_pairs


@pytest.mark.parametrize("ending", [".NII.GZ", ".NII", ".nii.GZ"])
def test_endings_in_capitals_are_not_passed_over(ending, tmp_path):
    folders(tmp_path)
    images, labels = tmp_path / "images", tmp_path / "labels"
    scan = (images / "b.nii").rename(images / f"b{ending}")
    calls = [(find_scans, images), (find_scans, scan), (find_cases, tmp_path), (find_pairs, labels, images)]
    for find, *paths in calls:
        with pytest.raises(CaseError, match=f"b{ending}: its ending is in capitals; rename it to end in .nii or .nii"):
            find(*paths)


def test_one_file_of_a_series_tells_what_to_name_instead(tmp_path):
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(CaseError, match=r"DICOMDIR holds no scan .*; of a DICOM series, name the folder\."):
        find_scans(tmp_path / "DICOMDIR")
