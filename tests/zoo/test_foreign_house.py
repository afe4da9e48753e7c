"""Packed bundles work in an environment of their own, without this repository, from any folder."""

import json
import shutil
import tomllib
from itertools import chain
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from abdoseg.datalist import load_cases
from tests.bundles.tiny import NETWORK_BUNDLES, REPOSITORY, TINY_SETTINGS, raw, workflow
from tests.bundles.tiny import run as run_here
from tests.zoo.house import House
from tests.zoo.packing import renew_manifest, unpacked
from tools.contract import SCHEMA

pytestmark = pytest.mark.slow
NAMES = [bundle.name for bundle in NETWORK_BUNDLES]
# As the zoo's CI calls them, in one process; the folder of the bundle goes onto Python's path only by its config.
ZOO = """
import sys
from pathlib import Path
from monai.bundle import ckpt_export, verify_metadata, verify_net_in_out
root, schema, target = sys.argv[1:]
metadata, config = f"{root}/configs/metadata.json", f"{root}/configs/inference.yaml"
verify_metadata(meta_file=metadata, filepath=schema)
verify_net_in_out(net_id="network_def", meta_file=metadata, config_file=config, bundle_root=root)
ckpt_export(
    net_id="network_def", filepath=target, ckpt_file=f"{root}/models/model.pt", meta_file=metadata,
    config_file=config, bundle_root=root,
)
import abdoseg
print(Path(abdoseg.__file__).parent)
"""
TWO = """
import sys
from pathlib import Path
from monai.bundle import ConfigWorkflow
scans, *roots = sys.argv[1:]
for root in roots:
    flow = ConfigWorkflow(
        f"{root}/configs/inference.yaml", workflow_type="infer", bundle_root=root, dataset_dir=scans,
        output_dir=f"{root}/eval/two",
    )
    flow.initialize()
    flow.run()
    flow.finalize()
import abdoseg
print(Path(abdoseg.__file__).parent)
"""
MERGE = """
import sys
from monai.bundle import ConfigWorkflow
merge, other, datalist, pseudo, output = sys.argv[1:]
other_flow = ConfigWorkflow(
    f"{other}/configs/inference.yaml", workflow_type="infer", bundle_root=other, dataset_dir="."
)
other_flow.initialize()
flow = ConfigWorkflow(
    f"{merge}/configs/merge.yaml", workflow_type="train", run_id="merging", bundle_root=merge, datalist=datalist,
    pseudo_dir=pseudo, output_dir=output,
)
flow.initialize()
flow.run()
"""
# Trains a step, labels and scores.
STEP = """
import sys
from monai.bundle import ConfigWorkflow
root, datalist, *configs = sys.argv[1:]
for names in configs:
    files = [f"{root}/configs/{name}.yaml" for name in names.split("+")]
    kind = "infer" if "inference" in names else "train"
    settings = {"iterations_per_epoch": 1, "num_workers": 0, "max_epochs": 1, "pseudo_dir": f"{root}/pseudo"}
    flow = ConfigWorkflow(files, workflow_type=kind, bundle_root=root, datalist=datalist)
    flow.parser.update({key: value for key, value in settings.items() if key in flow.parser})
    flow.initialize()
    flow.run()
    flow.finalize()
"""


@pytest.fixture
def scans(datalist, tmp_path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    shutil.copy(datalist.with_name("0004_0000.nii.gz"), folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_metadata_network_and_torchscript_by_the_zoos_commands(name, house, roots, tmp_path):
    root = roots[name]
    out = house.run("-c", ZOO, root, SCHEMA, tmp_path / "model.ts").splitlines()
    assert out[-1] == str(root / "abdoseg")
    module = torch.jit.load(tmp_path / "model.ts")
    with torch.inference_mode():
        assert module(torch.zeros(1, 1, 32, 32, 32)).shape[2:] == (32, 32, 32)


@pytest.mark.parametrize("name", NAMES)
def test_a_packed_bundle_labels_trains_a_step_and_labels_again(name, house, archives, datalist, scans, tmp_path):
    root = unpacked(archives[name], tmp_path / "bundles")
    house.bundle("evaluating", root, ("inference",), "--dataset_dir", scans, "--output_dir", tmp_path / "first")
    first = nib.load(tmp_path / "first" / "0004.nii.gz")
    scan = nib.load(scans / "0004_0000.nii.gz")
    assert (first.shape, first.get_data_dtype()) == (scan.shape, np.uint8)
    np.testing.assert_array_equal(first.affine, scan.affine)

    # The same labels as here, where the repository is.
    run_here(workflow(root, "inference", dataset_dir=str(scans), output_dir=str(tmp_path / "here")))
    np.testing.assert_array_equal(nib.load(tmp_path / "here" / "0004.nii.gz").dataobj, first.dataobj)

    before = (root / "models" / "model.pt").read_bytes()
    tiny = {key: value for key, value in TINY_SETTINGS.items() if key in raw(root, "train")}
    options = [text for key, value in tiny.items() for text in (f"--{key}", value)]
    house.bundle("training", root, ("train",), "--datalist", datalist, *options)
    assert (root / "models" / "model.pt").read_bytes() != before
    assert (root / "eval" / "learning_curve.jsonl").read_text().count("\n") == 1
    house.bundle("evaluating", root, ("inference",), "--dataset_dir", scans, "--output_dir", tmp_path / "second")
    assert nib.load(tmp_path / "second" / "0004.nii.gz").shape == scan.shape
    assert not list(house.here.iterdir())


def test_the_merge_bundle_merges_alone_and_beside_another(house, roots, datalist, tmp_path):
    merge = roots["pseudo_label_merge"]
    pseudo = tmp_path / "pseudo"
    pseudo.mkdir()
    for case in load_cases(datalist, kind="weak"):
        shutil.copy(case["label"], pseudo)
    paths = ("--datalist", datalist, "--pseudo_dir", pseudo)
    house.bundle("merging", merge, ("merge",), *paths, "--output_dir", tmp_path / "merged")
    assert json.loads((tmp_path / "merged" / "summary.json").read_text())["cases"] == 4
    house.run("-c", MERGE, merge, roots["coarse_seg"], datalist, pseudo, tmp_path / "beside")
    for folder in ("labels", "provenance"):
        for path in (tmp_path / "merged" / folder).iterdir():
            np.testing.assert_array_equal(
                nib.load(path).dataobj, nib.load(tmp_path / "beside" / folder / path.name).dataobj
            )


def test_two_bundles_in_one_process_if_they_bring_one_abdoseg(house, archives, roots, scans, tmp_path):
    coarse, fine = roots["coarse_seg"], roots["fine_seg"]
    out = house.run("-c", TWO, scans, coarse, fine).splitlines()
    assert out[-1] == str(coarse / "abdoseg")
    for root in (coarse, fine):
        alone = root / "eval" / "alone"
        house.bundle("evaluating", root, ("inference",), "--dataset_dir", scans, "--output_dir", alone)
        both = nib.load(root / "eval" / "two" / "0004.nii.gz")
        np.testing.assert_array_equal(both.dataobj, nib.load(alone / "0004.nii.gz").dataobj)

    other = unpacked(archives["fine_seg"], tmp_path / "other")
    source = other / "abdoseg" / "__init__.py"
    source.write_text(source.read_text().replace('__version__ = "', '__version__ = "99.'))
    renew_manifest(other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["abdoseg"]["version"] = "99.0.1.0"
    (other / "manifest.json").write_text(json.dumps(manifest))
    house.run("-c", TWO, scans, other)  # alone it works
    told = house.run("-c", TWO, scans, coarse, other, check=False)
    (line,) = {line for line in told.splitlines() if line.startswith("abdoseg.files.CaseError: ")}
    assert f"{other} was packed with abdoseg 99." in line
    assert f"from {coarse / 'abdoseg'}; run it in a process of its own" in line


@pytest.mark.parametrize("name", [*NAMES, "pseudo_label_merge"])
def test_the_packages_that_metadata_require_are_enough(name, archives, datalist, tmp_path):
    root = unpacked(archives[name], tmp_path)
    required = json.loads((root / "configs" / "metadata.json").read_text())["required_packages_version"]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    pins = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    absent = {pin.split("==")[0] for pin in pins} - {*required, "monai", "torch", "numpy"}
    assert {"mlflow", "matplotlib", "pytest"} <= absent
    if name == "pseudo_label_merge":
        configs = ["merge"]
        (root / "pseudo").mkdir()
        for case in load_cases(datalist, kind="weak"):
            shutil.copy(case["label"], root / "pseudo")
    else:
        configs = ["train", "inference+evaluate"]
    house = House(tmp_path, absent)
    assert "No module named 'mlflow'" in house.run("-c", "import mlflow", check=False)
    house.run("-c", STEP, root, datalist, *configs)
