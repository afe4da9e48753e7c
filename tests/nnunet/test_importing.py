"""An imported model labels scans as nnunetv2 itself does, whatever way they are stored and resampled."""

import copy
import json
from functools import cache, partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from nnunetv2.inference import predict_from_raw_data
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian

from abdoseg.nnunet.importing import import_model
from tests.nnunet.models import dice, imported_logits, patch_of, phantom, save
from tests.nnunet.tiny_folder import ARCHITECTURE, LABELS, OLD, RESIDUAL, network_of, write_model
from tools.chain import BUNDLES
from tools.import_ import import_
from tools.predict import predict

TEACHER = str(BUNDLES / "teacher_nnunet")
REAL = Path(__file__).parents[3] / "shared" / "data" / "ct_example_3mm" / "ct.nii.gz"
CPU = torch.device("cpu")
OURS = {1: 3, 2: 2, 3: 0, 4: 1}  # spleen, right kidney, femur and liver of the tiny model in our ids
REORIENTING = {"image_reader_writer": "NibabelIOWithReorient"}
TURNED = {"transpose_forward": [1, 0, 2], "transpose_backward": [1, 0, 2]}
# Shape (x, y, z) and spacing of a scan in RAS, how it is stored, and what is special about the model. Its spacing is in
# nnU-Net's order of axes.
MODELS = {
    "thick slices": ((28, 24, 20), (1.1, 1.1, 4.0), "LAS", {"fullres": {"spacing": [3.0, 1.5, 1.5]}}),
    "thick plan": ((30, 26, 34), (1.2, 1.2, 1.2), "LPI", {"fullres": {"spacing": [6.0, 1.4, 1.4]}}),
    "turned by the reader": (
        (24, 22, 18),
        (3.0, 3.0, 3.0),
        "LPS",
        {"fullres": {"spacing": [2.5, 2.5, 2.5]}, "plans": REORIENTING, "mirrored": None},
    ),
    "coronal, turned by the plans": (
        (30, 16, 32),
        (1.2, 3.0, 1.0),
        "PSR",
        {"fullres": {"spacing": [2.5, 1.0, 1.3]}, "plans": TURNED, "mirrored": (1, 2)},
    ),
    "smaller than the patch": ((12, 10, 9), (2.0, 2.0, 2.0), "RAS", {"fullres": {"spacing": [2.2, 2.0, 2.0]}}),
    "residual encoder": (
        (28, 24, 20),
        (2.0, 2.0, 2.0),
        "RPS",
        {"fullres": {"spacing": [2.5, 2.2, 2.2], "architecture": RESIDUAL}, "network": RESIDUAL},
    ),
    "plans of before nnU-Net 2.4": (
        (28, 24, 20),
        (2.0, 2.0, 2.0),
        "RAS",
        {"fullres": {**OLD, "architecture": None, "spacing": [2.5, 2.2, 2.2]}, "network": "old"},
    ),
}


def write(folder: Path, settings: dict) -> Path:
    """The model folder, with random weights of its own network."""
    settings = copy.deepcopy(settings)
    wanted = settings.get("network", ARCHITECTURE)
    if wanted == "old":
        wanted = copy.deepcopy(ARCHITECTURE)
        wanted["arch_kwargs"]["features_per_stage"] = [4, 6, 6]
        settings["without"] = "architecture"
    settings["network"] = network_of(wanted, len(LABELS), seed=4)
    return write_model(folder, **settings)


def nnunet(folder: Path) -> nnUNetPredictor:
    predictor = nnUNetPredictor(device=CPU, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), use_folds=(0,))
    return predictor


@pytest.mark.parametrize("name", MODELS)
def test_labels_of_a_whole_scan(name, tmp_path, monkeypatch):
    shape, spacing, axcodes, settings = MODELS[name]
    folder = write(tmp_path / "model", settings)
    predictor = nnunet(folder)
    image, _ = phantom(shape, 0)
    save(tmp_path / "scans" / "case_0000.nii.gz", image, spacing, axcodes)
    # nnU-Net gathers logits in half precision, in which the weights at the corners of a scan have one digit; with
    # random networks that decides what is found there.
    monkeypatch.setattr(torch, "half", torch.float32)
    monkeypatch.setattr(
        predict_from_raw_data, "compute_gaussian", cache(partial(compute_gaussian, dtype=torch.float32))
    )
    (tmp_path / "theirs").mkdir()
    predictor.predict_from_files_sequential(str(tmp_path / "scans"), str(tmp_path / "theirs"))
    monkeypatch.undo()

    orientation = None if settings.get("plans") is REORIENTING else axcodes
    import_("nnunet", str(folder), str(tmp_path / "weights"), orientation=orientation)
    out = tmp_path / "ours"
    predict(TEACHER, str(tmp_path / "scans"), str(out), weights=str(tmp_path / "weights"), components=None, amp=False)

    assert json.loads((out / "manifest.json").read_text())["classes"] == sorted({*OURS.values()} - {0})
    theirs = np.asarray(nib.load(tmp_path / "theirs" / "case.nii.gz").dataobj).astype(int)
    found = np.asarray(nib.load(out / "case.nii.gz").dataobj)
    assert found.shape == theirs.shape
    assert sum((theirs == value).sum() > 100 for value in OURS) >= 2
    wanted = np.array([0, *OURS.values()])[theirs]
    for value in {*OURS.values()} - {0}:
        assert dice(found, wanted, value) >= 0.999


@pytest.mark.skipif(not REAL.is_file(), reason="the real CT is not there")
@pytest.mark.parametrize("name", ["thick slices", "coronal, turned by the plans", "residual encoder"])
def test_logits_of_a_patch_of_a_real_scan(name, tmp_path):
    _, _, axcodes, settings = MODELS[name]
    folder = write(tmp_path, settings)
    predictor = nnunet(folder)
    patch, logits = patch_of(predictor, REAL)

    found, wanted = imported_logits(import_model(folder, orientation=axcodes), folder, patch, logits)

    assert patch.std() > 0.1
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
