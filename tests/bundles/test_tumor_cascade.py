"""What is the cascade bundle's own: one host at a time, assembly, its formats, presets and organ sources."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import Rand3DElasticd, RandShiftIntensityd

from abdoseg.files import write_json
from abdoseg.networks import build_network, read_architecture, write_architecture
from abdoseg.tumors import EVERY_FAMILY, FAMILIES, AortaCrop, SurvivalRules
from tests.bundles.tiny import (
    REPOSITORY,
    TINY_PLAN,
    config_files,
    copy_tiny,
    fallback_architecture,
    metadata_of,
    run,
    shrink,
    workflow,
)
from tools.predict import predict

BUNDLE = REPOSITORY / "bundles" / "tumor_cascade"
EPOCHS = 6


@pytest.fixture
def copy(tmp_path):
    """A tiny copy without an architecture: training makes its own."""
    copy = copy_tiny(BUNDLE, tmp_path)
    (copy / "models" / "architecture.json").unlink()
    return copy


@pytest.fixture
def plan_file(tmp_path):
    write_json(tmp_path / "plan.json", {**TINY_PLAN, "classes": 2, "batch_size": 1})
    return str(tmp_path / "plan.json")


def save_network(folder, architecture):
    network = build_network(architecture)
    write_architecture(folder / "architecture.json", network.architecture)
    torch.save(network.state_dict(), folder / "model.pt")
    return folder


def contents(*names) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(config_files(BUNDLE, names))
    parser["bundle_root"] = str(BUNDLE)
    return parser


@pytest.mark.parametrize("host", EVERY_FAMILY)
def test_the_published_plans_fit_their_formats(host):
    architecture = fallback_architecture(BUNDLE)["tumors"]
    assert list(architecture) == list(EVERY_FAMILY)
    form = metadata_of(BUNDLE)[f"{host}_data_format"]
    image, pred = form["inputs"]["image"], form["outputs"]["pred"]
    shape = [int(side.removesuffix("*n")) for side in image["spatial_shape"]]
    with torch.inference_mode():
        logits = build_network(architecture[host]).eval()(torch.zeros(1, image["num_channels"], *shape))
    assert logits.shape == (1, pred["num_channels"], *shape)
    plan = architecture[host]["plan"]
    assert not (np.array(plan["patch_size"]) % np.prod(plan["strides"], axis=0)).any()


def test_one_host_is_trained_and_the_parts_label_scans(copy, datalist, plan_file, tmp_path):
    settings = {"datalist": datalist, "plan_file": plan_file, "rest_plan_file": plan_file, "batch_size": 2}
    run(workflow(copy, "train", host="liver", ckpt_dir=str(tmp_path / "liver"), **settings))
    liver = read_architecture(tmp_path / "liver" / "architecture.json", {})
    assert (liver["organs"], list(liver["tumors"])) == (None, ["liver"])
    assert liver["tumors"]["liver"]["plan"]["batch_size"] == 1
    # "rest" has its tumors without a host.
    run(workflow(copy, "train", host="rest", ckpt_dir=str(tmp_path / "rest"), output_dir=str(tmp_path), **settings))
    organs = save_network(tmp_path / "organs", shrink(fallback_architecture(BUNDLE))["organs"])

    tumor_dirs = {"liver": str(tmp_path / "liver"), "rest": str(tmp_path / "rest")}
    parser = ConfigParser()
    parser.read_config(config_files(copy, ["assemble"]))
    parser.update({"bundle_root": str(copy), "organs_dir": str(organs), "tumor_dirs": tumor_dirs})
    parser.get_parsed_content("assembling")

    network = build_network(read_architecture(copy / "models" / "architecture.json", {}))
    network.load_state_dict(torch.load(copy / "models" / "model.pt"))
    trained = torch.load(tmp_path / "liver" / "model.pt")
    for name, value in trained.items():
        assert torch.equal(network.state_dict()[name], value)
    scan = Path(datalist).with_name("0004_0000.nii.gz")
    result = predict(str(copy), str(scan), str(tmp_path / "out"), mirror_axes=[], aorta_crop=None)
    assert result == {"labeled": ["0004"], "failed": {}}
    label = nib.load(tmp_path / "out" / "0004.nii.gz")
    assert label.shape == nib.load(scan).shape
    np.testing.assert_array_equal(label.affine, nib.load(scan).affine)


def test_training_moves_the_host_alone(datalist, tmp_path):
    copy = copy_tiny(BUNDLE, tmp_path)
    before = build_network(read_architecture(copy / "models" / "architecture.json", {})).state_dict()
    torch.save(before, copy / "models" / "model.pt")
    run(workflow(copy, "train", datalist=datalist, host="liver", learning_rate=1.0))
    after = torch.load(copy / "models" / "model.pt")
    kept = {name.split(".")[1] if name.startswith("tumors") else "organs" for name in before}
    assert kept == {"organs", *EVERY_FAMILY}
    for name, value in after.items():
        if not name.startswith("tumors.liver."):
            assert torch.equal(value, before[name]), name
    assert any(not torch.equal(after[name], before[name]) for name in after if name.startswith("tumors.liver."))


def test_the_demo_learns_a_bright_tumor(copy, datalist, tmp_path):
    """The tumor of the tiny liver has 280 HU in 20 HU of liver: some steps of the demo's protocol must find it."""
    wider = {**TINY_PLAN, "classes": 2, "batch_size": 1, "features": [6, 8, 8]}
    write_json(tmp_path / "plan.json", {**wider, "normalization": {"lower": -200, "upper": 300, "mean": 0, "std": 90}})
    settings = {"datalist": datalist, "plan_file": str(tmp_path / "plan.json"), "host": "liver", "val_interval": EPOCHS}
    flow = workflow(copy, "train", "demo", **settings)
    flow.parser.update({"max_epochs": EPOCHS, "iterations_per_epoch": 15, "grid_epochs": [1, 1]})
    run(flow)
    rows = [json.loads(row) for row in (copy / "eval" / "learning_curve.jsonl").read_text().splitlines()]
    assert flow.parser.get_parsed_content("batch_size") == 2
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    assert rows[-1]["validation_dsc"] > 0.5


def test_the_student_of_paper_a_finds_the_organs(copy, datalist, tmp_path):
    student = shrink(fallback_architecture(REPOSITORY / "bundles" / "fine_seg"))
    tumor = {"kind": "nnunet", "plan": {**TINY_PLAN, "classes": 2}}
    save_network(copy / "models", {"kind": "tumor_cascade", "organs": student, "tumors": {"liver": tumor}})
    result = predict(str(copy), str(Path(datalist).parent / "0001_0000.nii.gz"), str(tmp_path / "out"))
    assert result == {"labeled": ["0001"], "failed": {}}


def test_weights_of_other_bundles_are_refused(copy, datalist, tmp_path):
    folder = save_network(tmp_path / "organs", shrink(fallback_architecture(BUNDLE))["organs"])
    with pytest.raises(ValueError, match=r"of kind 'nnunet'; tumor_cascade runs 'tumor_cascade'"):
        predict(str(copy), datalist, str(tmp_path / "out"), str(folder))


def test_faithful_inference_is_the_published_one():
    plain, faithful = (contents(*names) for names in (["inference"], ["inference", "faithful"]))
    rule, survival = faithful.get_parsed_content("crop_rule"), faithful.get_parsed_content("survival")
    assert (tuple(rule.margin), rule.unit, rule.multiple) == ((20, 20, 5), "voxel", 8)
    assert survival == SurvivalRules(128, 32, 80, adjacency=False, max_fluid_share=1.0)
    assert plain.get_parsed_content("survival") == SurvivalRules(128, 32, 80, adjacency=True, max_fluid_share=0.5)
    assert (plain["survival_spacing"], faithful["survival_spacing"]) == ([0.8, 0.8, 2.5], None)
    assert faithful.get_parsed_content("aorta_crop") == AortaCrop(20, None, 0.0, inclusive_top=False)
    assert plain.get_parsed_content("aorta_crop") == AortaCrop(20, None, 0.0, inclusive_top=True)
    inferer = faithful.get_parsed_content("inferer")
    assert (inferer.families, inferer.long_scans) == ([*FAMILIES], {"drop_odd": True})
    assert (inferer.organ_inferer.components, inferer.organ_inferer.image_mode) == (None, "area")
    assert {part.image_mode for part in inferer.tumor_inferers.values()} == {"area"}
    assert (inferer.contrast_threshold, inferer.organ_inferer.mirror_axes) == (89, ())
    assert plain.get_parsed_content("inferer").families == [*EVERY_FAMILY]


def test_faithful_training_is_the_published_one(datalist):
    parser = contents("train", "faithful_train")
    rule = parser.get_parsed_content("crop_rule")
    assert (tuple(rule.margin), rule.unit, rule.multiple) == ((5, 10, 10), "voxel", 8)
    assert parser["image_mode"] == "area"
    assert parser["healthy_per_tumor"] == 0


def test_the_papers_augmentation_has_switches(datalist, copy):
    for probabilities in ((0.2, 0.15), (0.0, 0.0)):
        names = ("elastic_prob", "additive_brightness_prob")
        settings = dict(zip(names, probabilities, strict=True)) if not probabilities[0] else {}
        flow = workflow(copy, "train", datalist=datalist, **settings)
        flow.initialize()
        steps = flow.parser.get_parsed_content("train#preprocessing").transforms
        found = [
            step.prob for kind in (Rand3DElasticd, RandShiftIntensityd) for step in steps if isinstance(step, kind)
        ]
        assert tuple(found) == probabilities
