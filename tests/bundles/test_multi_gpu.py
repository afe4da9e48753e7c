"""Training with two processes (gloo, on the CPU): one epoch of each bundle, and the same step as with one process."""

import json
import os
import subprocess
import sys

import pytest
import torch

from abdoseg.networks import build_network, read_architecture
from tests.bundles.tiny import NETWORK_BUNDLES, REPOSITORY, copy_tiny, name_of, raw, run, workflow

pytestmark = pytest.mark.slow


def train_with_two_processes(bundle, datalist, **settings):
    """What the bundle's README says, on the CPU."""
    files = [str(bundle / "configs" / f"{name}.yaml") for name in ("train", "multi_gpu_train")]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "monai.bundle", "run", "training", "--config_file", str(files), "--bundle_root", str(bundle)]
    options = {"datalist": datalist, "num_workers": 0, "train#trainer#max_epochs": 1, **settings}
    command += [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, cwd=bundle.parent, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result


def weights_of(bundle):
    return torch.load(bundle / "models" / "model.pt")


def curve_of(bundle):
    return [json.loads(row) for row in (bundle / "eval" / "learning_curve.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("bundle", NETWORK_BUNDLES, ids=name_of)
def test_two_processes_train_every_bundle(bundle, datalist, tmp_path):
    copy = copy_tiny(bundle, tmp_path)
    iterations = {"iterations_per_epoch": 1} if "iterations_per_epoch" in raw(bundle, "train") else {}
    train_with_two_processes(copy, datalist, **iterations)
    network = build_network(read_architecture(copy / "models" / "architecture.json", {}))
    network.load_state_dict(weights_of(copy))
    (row,) = curve_of(copy)
    assert 0 <= row["validation_dsc"] <= 1
    assert not (copy / "eval" / "resume.pt").exists()


def test_two_processes_with_one_case_each_step_as_one_process_with_both(datalist, tmp_path):
    """Without random transforms and dropout, and with plain gradient descent, the averaged gradient is the batch's."""
    settings = {"optimizer#_target_": "torch.optim.SGD", "learning_rate": 10}
    bundle = REPOSITORY / "bundles" / "coarse_seg"
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
    one, two = (copy_tiny(bundle, tmp_path / str(number)) for number in (1, 2))
    start = workflow(one, "train", datalist=datalist, **settings)
    start.initialize()
    initial = {name: value.clone() for name, value in start.network_def.state_dict().items()}

    run(workflow(one, "train", datalist=datalist, **settings))
    train_with_two_processes(two, datalist, batch_size=1, **settings)

    moved = {name: value - initial[name] for name, value in weights_of(one).items()}
    assert max(change.abs().max() for change in moved.values()) > 1e-2
    for name, value in weights_of(two).items():
        torch.testing.assert_close(value - initial[name], moved[name], rtol=1e-3, atol=1e-5)
    assert curve_of(two)[0]["validation_dsc"] == pytest.approx(curve_of(one)[0]["validation_dsc"], abs=1e-4)
