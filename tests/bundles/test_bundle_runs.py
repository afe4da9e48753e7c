"""Every network bundle trains, resumes, labels, scores, exports and serves: tiny, but whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser, ckpt_export
from monai.transforms import Compose, LoadImaged, SaveImaged

from abdoseg.networks import build_network, read_architecture
from tests.bundles.tiny import NETWORK_BUNDLES, REPOSITORY, copy_tiny, metadata_of, name_of, raw, run, workflow
from tools.case_scores import score_case


def weights_of(bundle):
    return torch.load(bundle / "models" / "model.pt")


@pytest.fixture(scope="module", params=NETWORK_BUNDLES, ids=name_of)
def trained(request, datalist, tmp_path_factory):
    """A tiny copy of a bundle after one epoch of one step, with its weights in models/."""
    copy = copy_tiny(request.param, tmp_path_factory.mktemp("trained"))
    run(workflow(copy, "train", datalist=datalist))
    return copy


def test_training_leaves_weights_that_load_plainly(trained):
    state = weights_of(trained)
    network = build_network(read_architecture(trained / "models" / "architecture.json", {}))
    assert list(state) == list(network.state_dict())
    network.load_state_dict(state)
    assert sorted(path.name for path in (trained / "models").iterdir()) == ["architecture.json", "model.pt"]
    assert not (trained / "eval" / "resume.pt").exists()
    rows = [json.loads(row) for row in (trained / "eval" / "learning_curve.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1]
    assert np.isfinite(rows[0]["loss"])
    assert 0 <= rows[0]["validation_dsc"] <= 1


def test_an_interrupted_training_goes_on(trained, datalist, tmp_path):
    copy = copy_tiny(trained, tmp_path)
    flow = workflow(copy, "train", datalist=datalist, **{"train#trainer#max_epochs": 2})
    flow.initialize()
    trainer = flow.trainer

    @trainer.on(Events.EPOCH_STARTED(once=2))
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flow.run()
    curve = copy / "eval" / "learning_curve.jsonl"
    first = curve.read_text()
    assert (copy / "eval" / "resume.pt").exists()

    flow = run(workflow(copy, "train", datalist=datalist, **{"train#trainer#max_epochs": 2}))
    assert flow.trainer.state.iteration == 2 * flow.trainer.state.epoch_length
    assert curve.read_text().startswith(first)
    assert [json.loads(row)["epoch"] for row in curve.read_text().splitlines()] == [1, 2]
    assert not (copy / "eval" / "resume.pt").exists()


def test_trained_weights_label_scans_and_evaluate_scores_the_same_labels(trained, datalist, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    source = Path(datalist).parent
    (scans / "0004_0000.nii.gz").symlink_to(source / "0004_0000.nii.gz")
    run(workflow(trained, "inference", dataset_dir=str(scans), output_dir=str(tmp_path)))
    run(workflow(trained, "inference", "evaluate", datalist=datalist, output_dir=str(tmp_path)))

    scan, label = nib.load(source / "0004_0000.nii.gz"), nib.load(tmp_path / "0004.nii.gz")
    assert (label.shape, label.get_data_dtype()) == (scan.shape, np.uint8)
    np.testing.assert_array_equal(label.affine, scan.affine)
    assert len(np.unique(label.dataobj)) > 1
    highest = metadata_of(trained)["network_data_format"]["outputs"]["pred"]["value_range"][1]
    expected = score_case(tmp_path / "0004.nii.gz", source / "0004.nii.gz", range(1, highest + 1))["scores"]
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["cases"] == {"0004": expected}
    assert scores["summary"]["classes"]["liver"] == {
        "dsc": expected["liver"]["dsc"],
        "nsd": expected["liver"]["nsd"],
        "n": 1,
    }


def test_weights_export_as_torchscript(trained, tmp_path):
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(trained / "models" / "model.pt"),
        meta_file=str(trained / "configs" / "metadata.json"),
        config_file=str(trained / "configs" / "inference.yaml"),
        bundle_root=str(trained),
    )
    network = build_network(read_architecture(trained / "models" / "architecture.json", {})).eval()
    network.load_state_dict(weights_of(trained))
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(torch.jit.load(tmp_path / "model.ts")(image), network(image))


def test_weights_of_another_network_are_refused_in_one_sentence(trained, tmp_path):
    copy = copy_tiny(trained, tmp_path)
    state = weights_of(trained)
    first = next(iter(state))
    state["stranger"] = state.pop(first)
    torch.save(state, copy / "models" / "model.pt")
    with pytest.raises(RuntimeError) as error:
        workflow(copy, "inference", dataset_dir=str(tmp_path)).initialize()
    cause = error.value.__cause__ or error.value
    assert f"1 parameters are missing (first {first}), 1 are unexpected (first stranger)" in str(cause)
    parser = ConfigParser()
    parser.read_config(str(copy / "configs" / "inference.yaml"))
    parser["bundle_root"] = str(copy)
    with pytest.raises(RuntimeError) as error:
        parser.get_parsed_content("network_def").load_state_dict(state, strict=False)
    assert "does not fit the network" in str(error.value)
    assert "\n" not in str(error.value)


def test_monai_label_finds_what_it_asks_inference_for(trained, datalist):
    """As its BundleInferTask does: one config, bundle_root set, pre-processing, inferer and post-processing apart."""
    parser = ConfigParser()
    parser.read_config(str(trained / "configs" / "inference.yaml"))
    parser.config.update({"bundle_root": str(trained)})
    network = parser.get_parsed_content("network_def", instantiate=True)
    assert isinstance(network, torch.nn.Module)
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}
    checkpoint = weights_of(trained)
    network.load_state_dict(checkpoint.get("model", checkpoint), strict=False)
    before, after = parser.get_parsed_content("preprocessing"), parser.get_parsed_content("postprocessing")
    assert isinstance(before, Compose)
    assert [type(step) for step in before.transforms if isinstance(step, LoadImaged)] == [type(before.transforms[0])]
    assert isinstance(after.transforms[-1], SaveImaged)

    scan = Path(datalist).with_name("0003_0000.nii.gz")
    item = before({"image": str(scan), "image_path": str(scan)})
    batch = item["image"][None]
    batch.is_batch = False
    assert batch.affine.shape == (4, 4)
    with torch.inference_mode():
        item["pred"] = parser.get_parsed_content("inferer")(batch, network.eval())[0]
    for step in after.transforms[:-1]:
        item = step(item)
    assert item["pred"].shape[1:] == nib.load(scan).shape
    assert item["pred"].dtype == torch.uint8


def test_monai_label_trains_further_on_plain_lists(trained, datalist, tmp_path):
    """As its BundleTrainTask does: data lists, epochs, device and handlers replaced, the old weights loaded first."""
    copy = copy_tiny(trained, tmp_path)
    weights = {name: 1.5 * value for name, value in weights_of(trained).items()}
    torch.save(weights, copy / "models" / "model.pt")
    before = (copy / "models" / "model.pt").stat().st_mtime_ns
    folder = Path(datalist).parent
    data = [
        {"image": str(folder / f"{case}_0000.nii.gz"), "label": str(folder / f"{case}.nii.gz")}
        for case in ("0001", "0002")
    ]
    handlers = raw(copy, "train")["train"]["handlers"]
    assert all(handler.get("_target_") != "CheckpointLoader" for handler in handlers)
    loader = {
        "_target_": "CheckpointLoader",
        "load_path": str(copy / "models" / "model.pt"),
        "load_dict": {"model": "$@network"},
        "strict": False,
    }
    overrides = {
        "train#trainer#max_epochs": 1,
        "train#dataset#data": data,
        "validate#dataset#data": data[:1],
        "device": torch.device("cpu"),
        "train#handlers": [loader, *handlers],
        "learning_rate": 0.0,
        "weight_decay": 0.0,
    }
    run(workflow(copy, "train", **overrides))
    assert (copy / "models" / "model.pt").stat().st_mtime_ns != before
    assert all(torch.equal(value, weights[name]) for name, value in weights_of(copy).items())


@pytest.mark.parametrize("bundle", NETWORK_BUNDLES, ids=name_of)
def test_weights_that_a_gpu_has_trained_load_anywhere(bundle, tmp_path, monkeypatch):
    copy = copy_tiny(bundle, tmp_path)
    network = build_network(read_architecture(copy / "models" / "architecture.json", {}))
    monkeypatch.setattr(torch.serialization, "location_tag", lambda _storage: "cuda:0")  # what such a file says
    torch.save(network.state_dict(), copy / "models" / "model.pt")
    flow = workflow(copy, "inference", dataset_dir=str(tmp_path))
    flow.initialize()
    loaded = flow.parser.get_parsed_content("network_def").state_dict()
    assert all(torch.equal(value.cpu(), network.state_dict()[name]) for name, value in loaded.items())


def test_the_command_runs_from_another_directory(datalist, tmp_path):
    copy = copy_tiny(NETWORK_BUNDLES[0], tmp_path)
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--bundle_root", copy, "--datalist", datalist]
    command += ["--config_file", copy / "configs" / "train.yaml", "--max_epochs", 1, "--num_workers", 0]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        list(map(str, command)), cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert (copy / "models" / "model.pt").exists()
    assert (copy / "eval" / "learning_curve.jsonl").exists()
    assert not list(elsewhere.iterdir())


def test_the_fine_stage_takes_over_the_coarse_stage(datalist, tmp_path):
    coarse, fine = (copy_tiny(REPOSITORY / "bundles" / name, tmp_path) for name in ("coarse_seg", "fine_seg"))
    (fine / "models" / "architecture.json").unlink()
    run(workflow(coarse, "train", datalist=datalist))
    small = {"kind": "efficient_segnet", "channels": [2, 3, 4], "image_size": [16, 16, 16]}
    flow = workflow(fine, "train", datalist=datalist, coarse_dir=str(coarse / "models"), **{"architecture#fine": small})
    run(flow)
    written = read_architecture(fine / "models" / "architecture.json", {})
    assert written["coarse"] == read_architecture(coarse / "models" / "architecture.json", {})
    state = weights_of(fine)
    assert all(torch.equal(state[f"coarse.{name}"], value) for name, value in weights_of(coarse).items())
