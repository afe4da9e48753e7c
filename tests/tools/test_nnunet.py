"""The commands import and export: nnU-Net models become teachers, data lists become nnU-Net's data sets."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch

from abdoseg.files import CaseError
from tests.nnunet.tiny_folder import DATASET, write_model
from tests.tools.small_data import save_data_set, save_scan
from tools.__main__ import main
from tools.chain import BUNDLES, Manifests
from tools.pipeline import load_pipeline
from tools.run import run

TEACHER = str(BUNDLES / "teacher_nnunet")
PLACES = {"data_dir": "/data", "work_dir": "/work"}


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres")


def test_an_imported_model_labels_scans(model, tmp_path, capsys):
    scans = tmp_path / "scans"
    save_scan(scans / "0001_0000.nii.gz")
    weights = tmp_path / "weights"
    assert main(["import", "nnunet", str(model), "--output", str(weights), "--orientation", "LPS"]) == 0
    told = capsys.readouterr().out
    assert "Dataset009_tiny, nnUNetTrainer, 3d_fullres, fold 0, epoch 7" in told
    assert "12 x 24 x 28 mm (x, y, z), LPS; mirrored: left-right, inferior-superior" in told
    assert "spleen -> 3 spleen; kidney_right -> 2 right kidney; liver -> 1 liver" in told
    assert "becomes background: 1 classes (femur_left)" in told
    assert "not known to this model: pancreas, aorta" in told

    options = ["--input", str(scans), "--output", str(tmp_path / "out"), "--weights", str(weights)]
    assert main(["predict", "--bundle", TEACHER, *options]) == 0

    labels = np.asarray(nib.load(tmp_path / "out" / "0001.nii.gz").dataobj)
    assert set(np.unique(labels)) <= {0, 1, 2, 3}
    assert labels.any()
    architecture = json.loads((weights / "architecture.json").read_text())
    assert architecture["out_channels"] == 5
    assert architecture["plan"]["imported"]["source"]["trainer"] == "nnUNetTrainer"
    assert all(
        isinstance(value, torch.Tensor) for value in torch.load(weights / "model.pt", weights_only=True).values()
    )


def test_a_class_map_and_a_fold(model, tmp_path, capsys):
    write_model(model, folds=("0", "2"))
    (tmp_path / "map.yaml").write_text("femur_left: tumor\nliver: liver\n")
    options = ["--output", str(tmp_path / "w"), "--orientation", "RAS", "--class_map", str(tmp_path / "map.yaml")]
    assert main(["import", "nnunet", str(model), *options]) == 2
    assert "has the folds 0, 2; choose one by --fold 0" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()
    assert main(["import", "nnunet", str(model), *options, "--fold", "2"]) == 0
    told = capsys.readouterr().out
    assert "femur_left -> 14 tumor; liver -> 1 liver" in told
    assert "fold 2" in told
    assert "a merge takes no tumor from a teacher" in told
    assert json.loads((tmp_path / "w" / "architecture.json").read_text())["plan"]["classes"] == 15


@pytest.mark.parametrize("command", ["import", "export"])
def test_other_formats_are_refused(command, tmp_path, capsys):
    assert main([command, "monai", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "error: Unknown format 'monai'. Use 'nnunet'.\n"


def test_our_data_set_goes_out_and_the_model_made_of_it_comes_back(tmp_path, capsys):
    data = save_data_set(tmp_path / "data", [tuple(range(1, 14)), (1, 14)], testing=1)
    assert main(["audit", str(data), str(tmp_path / "audit")]) == 0
    raw = tmp_path / "nnUNet_raw" / "Dataset007_CT"
    assert main(["export", "nnunet", str(tmp_path / "audit" / "datalist.json"), "--output", str(raw)]) == 0
    assert "1 training cases with all classes known, 1 with some, 0 left out" in capsys.readouterr().out
    description = json.loads((raw / "dataset.json").read_text())
    assert description["labels"]["ignore"] == 14

    # A model that was trained on it needs neither a class map nor an orientation.
    reader = {"image_reader_writer": description["overwrite_image_reader_writer"]}
    labels = {name: value for name, value in description["labels"].items() if name != "ignore"}
    folder = write_model(tmp_path / "model", plans=reader, dataset={**DATASET, "labels": labels})
    (folder / "dataset.json").write_text(json.dumps(description))
    assert main(["import", "nnunet", str(folder), "--output", str(tmp_path / "w")]) == 0
    plan = json.loads((tmp_path / "w" / "architecture.json").read_text())["plan"]
    assert plan["imported"]["class_ids"] == list(range(14))
    assert (plan["classes"], plan["imported"]["orientation"]) == (14, "RAS")


def test_a_broken_case_makes_exit_code_1(tmp_path, capsys):
    data = save_data_set(tmp_path / "data", [tuple(range(1, 14)), tuple(range(1, 14))])
    assert main(["audit", str(data), str(tmp_path / "audit")]) == 0
    (data / "labelsTr2200" / "0002.nii.gz").unlink()
    raw = tmp_path / "Dataset007_CT"
    assert main(["export", "nnunet", str(tmp_path / "audit" / "datalist.json"), "--output", str(raw)]) == 1
    assert "set aside: 0002: " in capsys.readouterr().out


def test_chains_take_a_model_in_place_of_a_training():
    for chain in ("two_stage", "cascade"):
        trained = {stage.name for stage in load_pipeline(chain, None, PLACES)}
        stages = {stage.name: stage for stage in load_pipeline(chain, None, {**PLACES, "teacher_model": "/model"})}
        assert trained - set(stages) == {"plan", "teacher"}
        assert set(stages) - trained == {"import_teacher"}
        assert stages["pseudo_labels"].after == ("import_teacher",)


def test_the_chain_runs_from_a_model_to_merged_labels(model, tmp_path, capsys):
    data = save_data_set(tmp_path / "data", [(1, 14), (1, 2)])
    settings = {"teacher_model": str(model), "teacher_orientation": "RAS", "validation_cases": 1}
    work, only = tmp_path / "work", "audit,import_teacher,pseudo_labels,merge"
    assert run("two_stage", str(data), str(work), only=only, **settings) == {"failed": {}}
    merged = json.loads((work / "merged" / "datalist.json").read_text())["training"]
    assert [case["merged"] for case in merged] == [True, True]
    capsys.readouterr()
    run("two_stage", str(data), str(work), only=only, **settings)
    assert capsys.readouterr().out.count("done already") == 4
    # Another training of the model at the same place makes the labels stale.
    write_model(model, mirrored=None)
    run("two_stage", str(data), str(work), only=only, **settings)
    assert capsys.readouterr().out.count("done already") == 1
    assert Manifests(work).read("merge")["status"] == "done"


def test_a_chain_without_the_model_says_so(tmp_path):
    data = save_data_set(tmp_path / "data", [(1, 14)])
    with pytest.raises(CaseError, match=r"gone/plans\.json: neither"):
        run("two_stage", str(data), str(tmp_path / "work"), teacher_model=str(tmp_path / "gone"))
