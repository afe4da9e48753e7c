"""`tools starter`: lists of anatomies and scans, the chain, and weights installed in half precision."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from abdoseg.datalist import load_cases
from abdoseg.files import CaseError, write_json, write_label_map
from abdoseg.manifest import file_hash
from abdoseg.networks import build_network, read_architecture, write_architecture
from tests.bundles.tiny import TINY_PLAN
from tests.synthesis.small import SPACING, block_tissues
from tools.pipeline import load_pipeline
from tools.starter import CHAIN, anatomy_list, scan_list, starter
from tools.starter_install import install_weights

AFFINE = np.diag([SPACING, SPACING, SPACING, 1.0])
GRID = nib.Nifti1Image(np.zeros((48, 40, 44), np.uint8), AFFINE)


@pytest.fixture
def maps(tmp_path):
    folder = tmp_path / "maps"
    for name in ("one", "two", "tested"):
        write_label_map(folder / f"{name}.nii.gz", block_tissues(), GRID)
    return folder


def test_anatomies_have_weights_and_those_of_tests_are_left_out(maps, tmp_path):
    path = anatomy_list(tmp_path / "work", maps, ("tested",), phantoms=0, phantom_share=0.2)
    entries = load_cases(path, kind="strong", required=True)
    assert {entry["id"]: entry["weight"] for entry in entries} == {"one": 0.5, "two": 0.5}
    with pytest.raises(CaseError, match="holds no other to leave out"):
        anatomy_list(tmp_path / "work", maps, ("other",), 0, 0.2)
    with pytest.raises(CaseError, match="There is nothing to learn from"):
        anatomy_list(tmp_path / "work", None, (), 0, 0.2)


def test_phantoms_share_their_part(maps, tmp_path):
    path = anatomy_list(tmp_path / "work", maps, ("tested", "two"), phantoms=1, phantom_share=0.2)
    weights = {entry["id"]: entry["weight"] for entry in load_cases(path)}
    assert weights == {"one": 0.8, "phantom_0_1": 0.2}
    made = tmp_path / "work" / "anatomies" / "phantom_0_1.nii.gz"
    before = made.stat().st_mtime_ns
    anatomy_list(tmp_path / "work", maps, ("tested", "two"), phantoms=1, phantom_share=0.2)
    assert made.stat().st_mtime_ns == before


def test_scans_of_a_folder_of_folders_with_what_is_drawn_in_each(tmp_path):
    tissues = block_tissues()
    for name, classes in (("a", (1, 3)), ("b", None)):
        folder = tmp_path / "scans" / name
        folder.mkdir(parents=True)
        nib.save(nib.Nifti1Image(tissues.astype(np.int16), AFFINE), folder / "ct.nii.gz")
        if classes:
            drawn = np.where(np.isin(tissues, classes), tissues, 0).astype(np.uint8)
            write_label_map(folder / "label_flare_partial.nii.gz", drawn, GRID)
    entries = load_cases(scan_list(tmp_path / "work", tmp_path / "scans"), section="testing")
    assert [(entry["id"], entry.get("annotated_classes")) for entry in entries] == [("a", [1, 3]), ("b", None)]
    with pytest.raises(CaseError, match="to score with"):
        scan_list(tmp_path / "work", tmp_path)


def test_the_chain_is_sound_and_scores_only_where_there_are_scans():
    places = {"work_dir": "/work", "anatomies": "/a.json"}
    names = [stage.name for stage in load_pipeline(str(CHAIN), None, places)]
    assert names == ["teacher", "coarse", "fine"]
    stages = load_pipeline(str(CHAIN), None, {**places, "scans": "/s.json", "teacher_steps": 5})
    assert [stage.name for stage in stages if stage.tool] == [
        "predict_teacher",
        "score_teacher",
        "predict_student",
        "score_student",
    ]
    assert stages[0].arguments["budget_steps"] == 5


def finished(root):
    """A work folder as `starter` leaves it, of tiny networks."""
    student = {"kind": "residual_unet", "channels": [2, 3, 4], "image_size": [16, 16, 16]}
    fine = {"kind": "efficient_segnet", "channels": [2, 3, 4], "image_size": [16, 16, 16]}
    kinds = {
        "teacher": {"kind": "nnunet", "plan": TINY_PLAN, "deep_supervision": False},
        "coarse": student,
        "fine": {"kind": "coarse_to_fine", "coarse": student, "fine": fine},
    }
    for stage, architecture in kinds.items():
        write_architecture(root / stage / "weights" / "architecture.json", architecture)
        torch.save(build_network(architecture).state_dict(), root / stage / "weights" / "model.pt")
        write_json(root / "manifests" / f"{stage}.json", {"status": "done", "seconds": 60})
        rows = [{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 1.25}]
        (root / stage / "learning_curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_label_map(root / "one.nii.gz", block_tissues(), GRID)
    anatomy_list(root, root / "one.nii.gz", (), 0, 0.0)
    scores = {"liver": {"dsc": 0.91, "nsd": 0.5, "present": True}, "spleen": {"dsc": 1, "nsd": 1, "present": False}}
    write_json(root / "scores" / "student.json", {"cases": {"scan": scores}})
    return root


def test_weights_are_installed_in_half_precision_with_their_card(tmp_path):
    root, bundles = finished(tmp_path / "work"), tmp_path / "bundles"
    installed = install_weights(root, bundles)["installed"]
    assert sorted(installed) == ["coarse_seg", "fine_seg", "teacher_nnunet"]
    for name, stage in (("teacher_nnunet", "teacher"), ("fine_seg", "fine")):
        models = bundles / name / "models"
        assert installed[name] == file_hash(models / "model.pt")
        state = torch.load(models / "model.pt", weights_only=True)
        assert {value.dtype for value in state.values()} == {torch.float16}
        network = build_network(read_architecture(models / "architecture.json", {}))
        network.load_state_dict(state)
        trained = torch.load(root / stage / "weights" / "model.pt", weights_only=True)
        for key, value in network.state_dict().items():
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, trained[key], rtol=1e-3, atol=1e-4)
        card = (models / "model_card.md").read_text()
        assert installed[name] in card
        assert "Anatomies: one." in card
        assert "loss 2.50 to 1.25" in card
    card = (bundles / "fine_seg" / "models" / "model_card.md").read_text()
    assert "| liver | 0.910 |" in card
    assert "spleen" not in card
    assert "Not scored on any real scan" in (bundles / "teacher_nnunet" / "models" / "model_card.md").read_text()
    shutil.rmtree(root / "manifests")
    with pytest.raises(CaseError, match="stage teacher is not done"):
        starter(str(root), install=True)


def tiny_overlays(folder):
    """Overlays that make the starter's networks tiny: stage -> path."""
    student = {"image_size": [16, 16, 16], "anatomy_spacing": 4.0, "stages": []}
    channels = {"channels": [2, 3, 4], "out_channels": 14, "image_size": [16, 16, 16]}
    fine = {"_target_": "abdoseg.networks.coarse_to_fine_architecture", "coarse_dir": "@coarse_dir"}
    overlays = {
        "teacher": {"default_plan": TINY_PLAN, "anatomy_spacing": 4.0, "stages": []},
        "coarse": {**student, "architecture": {"kind": "residual_unet", **channels}},
        "fine": {**student, "architecture": {**fine, "fine": {"kind": "efficient_segnet", **channels}}},
    }
    for stage, overlay in overlays.items():
        (folder / f"{stage}.yaml").write_text(yaml.safe_dump(overlay))
    return {f"{stage}_overlay": str(folder / f"{stage}.yaml") for stage in overlays}


@pytest.mark.slow
def test_all_stages_train_label_and_are_scored(maps, tmp_path):
    tissues = block_tissues()
    folder = tmp_path / "scans" / "a"
    folder.mkdir(parents=True)
    nib.save(nib.Nifti1Image((tissues * 10.0).astype(np.int16), AFFINE), folder / "ct.nii.gz")
    write_label_map(folder / "label_flare.nii.gz", np.where(tissues <= 13, tissues, 0).astype(np.uint8), GRID)
    options = {"anatomies": str(maps), "scans": str(tmp_path / "scans"), "phantoms": 0, **tiny_overlays(tmp_path)}
    options |= {f"{stage}_steps": 1 for stage in ("teacher", "coarse", "fine")}
    assert starter(str(tmp_path / "work"), **options) == {"failed": {}}
    for arm in ("teacher", "student"):
        assert set(json.loads((tmp_path / "work" / "scores" / f"{arm}.json").read_text())["cases"]) == {"a"}
    before = (tmp_path / "work" / "teacher" / "weights" / "model.pt").stat().st_mtime_ns
    starter(str(tmp_path / "work"), **options)
    assert (tmp_path / "work" / "teacher" / "weights" / "model.pt").stat().st_mtime_ns == before
