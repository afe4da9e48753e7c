"""`Predictor`: where it reads and writes, whatever the folders are called."""

import os
import shutil

import pytest

from abdoseg.files import CaseError
from tests.tools.small_data import COARSE, save_scan, save_weights
from tools.chain import BUNDLES
from tools.predict import predict


def test_folders_may_have_any_name(tmp_path):
    scan = save_scan(tmp_path / "0001_0000.nii.gz")
    weights, out = tmp_path / "Gewichte für #2", tmp_path / "@Studie #2, $HOME"
    shutil.copytree(save_weights(tmp_path / "weights", COARSE), weights)
    predict(str(BUNDLES / "coarse_seg"), str(scan), str(out), str(weights))
    assert sorted(os.listdir(out)) == ["0001.nii.gz", "manifest.json"]


def test_the_name_of_a_file_is_no_folder_for_label_maps(tmp_path):
    scan = save_scan(tmp_path / "0001_0000.nii.gz")
    with pytest.raises(CaseError, match=r"labels\.nii\.gz is the name of a file; give a folder, for label maps of the"):
        predict(str(BUNDLES / "coarse_seg"), str(scan), str(tmp_path / "labels.nii.gz"))
    assert os.listdir(tmp_path) == [scan.name]
