"""The teacher as an nnU-Net model and back, and beside nnunetv2's predictor on real processes."""

import json
import sys

import nibabel as nib
import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from abdoseg.files import CaseError
from abdoseg.labels import NAMES
from abdoseg.networks import build_network, complete_architecture
from abdoseg.nnunet.importing import import_model
from tests.tools.small_data import PLAN, STUDENT, TEACHER, save_scan, save_weights
from tools.benchmark_teacher import PEER, benchmark_teacher
from tools.nnunet_peer import write_nnunet_model
from tools.turns import format_turns

# No two axes are alike, so that an exchanged one shows.
UNEVEN = {
    **PLAN,
    "spacing": [11.0, 12.0, 14.0],
    "patch_size": [16, 8, 12],
    "strides": [[1, 1, 1], [2, 2, 1], [2, 1, 2]],
    "kernels": [[3, 3, 1], [3, 1, 3], [3, 3, 3]],
}


@pytest.fixture
def teacher(tmp_path):
    return save_weights(tmp_path / "teacher", {"kind": "nnunet", "plan": UNEVEN})


def test_the_teacher_as_nnunets_model_and_back(teacher, tmp_path):
    write_nnunet_model(teacher, tmp_path / "model")
    imported = import_model(str(tmp_path / "model"))
    state = torch.load(teacher / "model.pt", weights_only=True)
    assert set(imported.state) == set(state)
    for name, value in state.items():
        assert torch.equal(imported.state[name], value), name
    plan = imported.architecture["plan"]
    for key in ("spacing", "patch_size", "features", "strides", "kernels", "normalization", "classes"):
        assert plan[key] == UNEVEN[key], key
    assert plan["imported"]["class_ids"] == list(range(14))
    assert plan["imported"]["orientation"] == "RAS"
    assert plan["imported"]["resampling"]["image"]["order"] == 3


def test_nnunets_network_says_what_ours_says(teacher, tmp_path):
    write_nnunet_model(teacher, tmp_path / "model")
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(tmp_path / "model"), use_folds=(0,))
    predictor.network.load_state_dict(predictor.list_of_parameters[0])
    ours = build_network(complete_architecture({"kind": "nnunet", "plan": UNEVEN}))
    ours.load_state_dict(torch.load(teacher / "model.pt", weights_only=True))
    image = torch.randn(1, 1, *UNEVEN["patch_size"], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, wanted = ours.eval()(image), predictor.network.eval()(image.permute(0, 1, 4, 3, 2))
    torch.testing.assert_close(found, wanted.permute(0, 1, 4, 3, 2), rtol=1e-4, atol=1e-4)
    assert predictor.dataset_json["labels"]["liver"] == 1
    assert [NAMES[value] for value in range(1, 14)] == list(predictor.dataset_json["labels"])[1:]


def test_other_weights_are_refused(tmp_path):
    student = save_weights(tmp_path / "student", STUDENT)
    with pytest.raises(CaseError, match=r"student does not hold a plain U-Net of the teacher's own training"):
        write_nnunet_model(student, tmp_path / "model")
    with pytest.raises(CaseError, match=r"empty has no architecture\.json"):
        write_nnunet_model(tmp_path / "empty", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_without_nnunetv2_one_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, PEER, None)  # as where it is not installed
    with pytest.raises(CaseError, match=r"needs nnunetv2; install it by: pip install -e '\.\[test\]'"):
        benchmark_teacher(str(tmp_path), str(tmp_path / "scan.nii.gz"))


@pytest.mark.slow
def test_the_teacher_beside_nnunetv2(tmp_path):
    teacher = save_weights(tmp_path / "teacher", TEACHER)
    save_scan(tmp_path / "scan.nii.gz")
    result = benchmark_teacher(str(teacher), str(tmp_path / "scan.nii.gz"), repeats=2)
    (part,) = result["lengths"].values()
    assert part["shape"] == list(nib.load(tmp_path / "scan.nii.gz").shape)
    assert set(part["arms"]) == {PEER, "teacher"}
    assert all(figures["wall_s"]["n"] == 2 for figures in part["arms"].values())
    assert part["faster"]["teacher"]["n"] == 2
    assert len(part["dsc"]["teacher"]) > 1
    # Random weights: near-ties in classes of few voxels; test_trained_models.py asks trained ones for 0.999.
    assert part["mean_dsc"]["teacher"] > 0.98
    assert part["mean_dsc"]["teacher"] == np.mean(list(part["dsc"]["teacher"].values()))
    json.dumps(result)
    assert f"{part['mean_dsc']['teacher']:.5f}" in format_turns(result["lengths"])
