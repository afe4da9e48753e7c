"""A zip with starter weights, which nobody named, labels elsewhere as `predict` does here."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from abdoseg.networks import read_architecture, write_architecture
from tests.bundles.tiny import REPOSITORY, TINY_PLAN, workflow
from tests.tools.test_starter_install import finished
from tests.zoo.packing import unpacked
from tools.pack import pack
from tools.predict import predict
from tools.starter_install import install_weights
from tools.starter_weights import starter_folder

BUNDLES = ("teacher_nnunet", "coarse_seg", "fine_seg")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Copies of the bundles with tiny starter weights."""
    root = tmp_path_factory.mktemp("starter")
    work = finished(root / "work")
    teacher = {"kind": "nnunet", "plan": {**TINY_PLAN, "mirror_axes": []}, "deep_supervision": False}
    write_architecture(work / "teacher" / "weights" / "architecture.json", teacher)
    for name in BUNDLES:
        source = REPOSITORY / "bundles" / name
        shutil.copytree(source, root / "bundles" / name, ignore=shutil.ignore_patterns("models", "eval"))
    install_weights(work, root / "bundles")
    return root


@pytest.mark.parametrize("name", BUNDLES)
def test_monais_own_command_takes_the_starter_too(name, installed, tmp_path):
    flow = workflow(installed / "bundles" / name, "inference", dataset_dir=str(tmp_path), output_dir=str(tmp_path))
    flow.initialize()
    state = torch.load(starter_folder(name, installed / "bundles") / "model.pt", weights_only=True)
    loaded = flow.network_def.state_dict()
    assert set(loaded) == set(state)
    assert all(torch.equal(loaded[key], value.float()) for key, value in state.items())


@pytest.mark.parametrize("name", BUNDLES)
def test_a_zip_of_the_starter_holds_its_weights_and_its_card(name, installed):
    source = installed / "bundles" / name
    root = unpacked(Path(pack(str(source), output=str(installed))["archive"]), installed / "unpacked")
    starter = starter_folder(name, installed / "bundles")
    for file in ("model.pt", "architecture.json"):
        assert (root / "models" / file).read_bytes() == (starter / file).read_bytes()
    assert not (root / "models" / "starter").exists()
    assert (root / "docs" / "model_card.md").read_text() == (starter / "model_card.md").read_text()
    assert "docs/model_card.md" in json.loads((root / "manifest.json").read_text())["files"]
    metadata, plain = (json.loads((folder / "configs" / "metadata.json").read_text()) for folder in (root, source))
    assert metadata["data_source"] == "Synthetic CT alone, rendered from one: docs/model_card.md"
    assert metadata["description"] == plain["description"] + " These weights have learned from synthetic CT alone."
    assert "FLARE23" in plain["data_source"]
    license_text = (root / "docs" / "data_license.txt").read_text()
    for words in ("s0327", "s0328", "TotalSegmentator", "CC BY 4.0", "model_card.md"):
        assert words in license_text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["teacher_nnunet", "fine_seg"])
def test_it_labels_elsewhere_as_here(name, house, installed, datalist, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    shutil.copy(datalist.with_name("0004_0000.nii.gz"), scans)
    source = installed / "bundles" / name
    root = unpacked(Path(pack(str(source), output=str(tmp_path))["archive"]), house.bundles / "starter")
    options = ("--dataset_dir", scans, "--output_dir", tmp_path / "there", "--engine", "torch")
    house.bundle("evaluating", root, ("inference",), *options)
    predict(str(source), str(scans), str(tmp_path / "here"), trust=True, engine="torch")
    there, here = (nib.load(tmp_path / place / "0004.nii.gz") for place in ("there", "here"))
    np.testing.assert_array_equal(there.dataobj, here.dataobj)
    np.testing.assert_array_equal(there.affine, here.affine)
    assert len(np.unique(here.dataobj)) > 1
    if name == "teacher_nnunet":  # mirrored passes would tell: the zip brings along that there are none
        architecture = read_architecture(root / "models" / "architecture.json", {})
        assert architecture["plan"]["mirror_axes"] == []
        other = {key: value for key, value in architecture["plan"].items() if key != "mirror_axes"}
        write_architecture(root / "models" / "architecture.json", {**architecture, "plan": other})
        predict(str(root), str(scans), str(tmp_path / "mirrored"), trust=True)
        mirrored = nib.load(tmp_path / "mirrored" / "0004.nii.gz")
        assert not np.array_equal(mirrored.dataobj, here.dataobj)
