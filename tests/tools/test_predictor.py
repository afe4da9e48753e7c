"""`Predictor`: where it reads and writes, whatever the folders are called."""

import os
import shutil

from tests.tools.small_data import COARSE, save_scan, save_weights
from tools.chain import BUNDLES
from tools.predict import predict


def test_folders_may_have_any_name(tmp_path):
    scan = save_scan(tmp_path / "0001_0000.nii.gz")
    weights, out = tmp_path / "Gewichte für #2", tmp_path / "@Studie #2, $HOME"
    shutil.copytree(save_weights(tmp_path / "weights", COARSE), weights)
    predict(str(BUNDLES / "coarse_seg"), str(scan), str(out), str(weights))
    assert sorted(os.listdir(out)) == ["0001.nii.gz", "manifest.json"]
