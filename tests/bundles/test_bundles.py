"""Every bundle keeps MONAI's contract: files, metadata, run ids, networks, and each component of each config."""

import re
import socket
import tomllib
from pathlib import Path

import ignite.distributed as idist
import pytest
import torch
from monai.bundle import ConfigParser, verify_metadata, verify_net_in_out

from abdoseg.labels import NAMES
from abdoseg.networks import build_network, read_architecture
from tests.bundles.tiny import (
    BASES,
    BUNDLES,
    NETWORK_BUNDLES,
    REPOSITORY,
    copy_tiny,
    fallback_architecture,
    metadata_of,
    name_of,
    overlays,
    raw,
    workflow,
)

EVERY = pytest.mark.parametrize("bundle", BUNDLES, ids=name_of)
NETWORKS = pytest.mark.parametrize("bundle", NETWORK_BUNDLES, ids=name_of)
CONFIGS = [(bundle, names) for bundle in NETWORK_BUNDLES for names in overlays(bundle)]
SCHEMA = REPOSITORY.parent / "shared" / "data" / "meta_schema_20240725_equivalent.json"


@EVERY
def test_the_files_of_a_bundle_are_there(bundle):
    assert (bundle / "LICENSE").read_text() == (REPOSITORY / "LICENSE").read_text()
    for name in ("configs/metadata.json", "configs/logging.conf", "docs/README.md", "docs/data_license.txt"):
        assert (bundle / name).stat().st_size > 0, name
    assert not list(bundle.rglob("*.yml")), "MONAI Label overlooks .yml"
    names = {path.stem for path in (bundle / "configs").glob("*.yaml")}
    if bundle in NETWORK_BUNDLES:
        assert names >= {"train", "inference", "evaluate", "multi_gpu_train", "demo"}
        assert {path.name for path in (bundle / "models").glob("*.pt")} <= {"model.pt"}, "MONAI Label offers each .pt"


@EVERY
def test_the_commands_of_the_readme_name_configs_and_run_ids_that_exist(bundle):
    readme = (bundle / "docs" / "README.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"monai\.bundle run (\w+) +--config_file +(\"\[[^]]*]\"|\S+)([^\n]*)", readme)
    assert commands
    for run_id, files, options in commands:
        config = ConfigParser.load_config_files(
            [str(bundle / name) for name in re.findall(r"configs/\w+\.yaml", files)]
        )
        assert run_id in config
        for option in re.findall(r"--(\w+)", options):
            assert option in config, f"{option} is no id of {files}"


@EVERY
def test_metadata_tell_the_versions_that_the_project_pins(bundle):
    metadata = metadata_of(bundle)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    pins = dict(requirement.split("==") for requirement in project["dependencies"])
    assert metadata["version"] in metadata["changelog"]
    assert metadata["monai_version"] == pins["monai"]
    assert metadata["pytorch_version"] == pins["torch"]
    assert metadata["numpy_version"] == pins["numpy"]
    assert {name: pins.get(name) for name in metadata["required_packages_version"]} == metadata[
        "required_packages_version"
    ]


@EVERY
def test_metadata_obey_monais_schema(bundle):
    if not SCHEMA.is_file():
        pytest.skip(f"{SCHEMA} is not here")
    verify_metadata(meta_file=str(bundle / "configs" / "metadata.json"), filepath=str(SCHEMA))


@NETWORKS
def test_channels_are_the_labels(bundle):
    formats = metadata_of(bundle)["network_data_format"]
    (image,), (pred,) = formats["inputs"].items(), formats["outputs"].items()
    assert (image[0], pred[0]) == ("image", "pred")
    channels = {int(index): name for index, name in pred[1]["channel_def"].items()}
    # A cascade's tumors, 14, come from other networks than the channels.
    count = 15 if bundle.name == "tumor_cascade" else pred[1]["num_channels"]
    assert channels == {index: NAMES[index] for index in range(count)}
    assert len({name.lower() for name in channels.values()}) == len(channels)


@NETWORKS
def test_both_spellings_of_the_run_id(bundle):
    train, inference = raw(bundle, "train"), raw(bundle, "inference")
    assert train["training"] == inference["evaluating"] == "%run"
    assert train["run"] == ["$@train#trainer.run()"]
    assert inference["run"] == ["$@evaluator.run()"]


@NETWORKS
def test_the_device_may_be_a_word_as_in_monai_label(bundle):
    parser = ConfigParser({**raw(bundle, "train"), "device": "cpu"})
    assert parser.get_parsed_content("amp") is False


@NETWORKS
@pytest.mark.parametrize("amp", [True, "auto"])
def test_half_precision_on_a_processor_is_the_inferers_and_not_that_of_cuda(amp, bundle):
    parser = ConfigParser({**raw(bundle, "train"), "device": "cpu", "amp": amp})
    assert parser.get_parsed_content("train#inferer").amp == amp
    settings = {"train#trainer": False, "validate#evaluator": False}
    assert {name: parser.get_parsed_content(f"{name}#amp") for name in settings} == settings


@NETWORKS
def test_training_and_inference_prepare_scans_alike(bundle):
    train, inference = raw(bundle, "train"), raw(bundle, "inference")
    shared = {
        "coarse_seg": (),
        "fine_seg": ("margin_mm",),
        "teacher_nnunet": ("default_plan",),
        "tumor_cascade": ("crop_rule", "image_mode", "tumor_plan", "rest_plan"),
    }[bundle.name]
    assert {name: train[name] for name in shared} == {name: inference[name] for name in shared}
    if bundle.name in ("coarse_seg", "fine_seg"):  # grid and window are the network's, beside its weights
        steps = train["train"]["deterministic_transforms"]
        (prepare,) = (step for step in steps if step["_target_"].endswith("PrepareStudentd"))
        assert prepare["hu_window"] == inference["inferer"]["hu_window"]
        assert "network_def.architecture" in prepare["hu_window"]


@NETWORKS
def test_the_fallback_network_fits_the_metadata(bundle, tmp_path):
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.yaml"),
        bundle_root=str(bundle),
        ckpt_dir=str(tmp_path),
        device="cpu",
    )


@pytest.fixture
def one_process(monkeypatch):
    """The environment of torchrun with a single process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name, value in {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_PORT", str(port))
    yield
    idist.finalize()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("bundle", "names"), CONFIGS, ids=lambda value: "+".join(value) if isinstance(value, tuple) else value.name
)
@pytest.mark.usefixtures("one_process")
def test_every_component_of_every_config_is_made(bundle, names, datalist, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = copy_tiny(bundle, tmp_path)
    if names[0] == "inference":
        network = build_network(read_architecture(copy / "models" / "architecture.json", {}))
        torch.save(network.state_dict(), copy / "models" / "model.pt")
    settings = {"datalist": datalist} if names != ("inference",) else {"dataset_dir": str(Path(datalist).parent)}
    flow = workflow(copy, *names, **settings)
    flow.initialize()
    actions = {"initialize", "run", "finalize", "training", "evaluating"}
    for name in set(flow.parser.config) - actions:
        flow.parser.get_parsed_content(name)
    if names in [(base,) for base in BASES]:
        assert flow.check_properties() == []
    if "evaluate" in names:
        assert [case["id"] for case in flow.dataset_data] == ["0004"]


@NETWORKS
def test_scans_are_found_whatever_their_folder_is_called(bundle, tmp_path):
    folder = tmp_path / "CT [Städtisches]*?"
    folder.mkdir()
    paths = [folder / name for name in ("a_0000.nii.gz", "b.nii")]
    for path in paths:
        path.touch()
    parser = ConfigParser(ConfigParser.load_config_file(bundle / "configs" / "inference.yaml"))
    parser["dataset_dir"] = str(folder)
    assert parser.get_parsed_content("dataset#data") == [{"image": str(path)} for path in paths]


def test_the_fallbacks_are_the_papers_networks():
    def size(architecture):
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in build_network(architecture).parameters())

    coarse, fine = (fallback_architecture(REPOSITORY / "bundles" / name) for name in ("coarse_seg", "fine_seg"))
    assert size(coarse) == 10_705_568
    assert fine["coarse"] == coarse
    assert size(fine["fine"]) == 9_366_176
