"""The model zoo's own checks (ci/verify_bundle.py in full mode), restated for every packed bundle."""

import configparser
import json
import re
import shutil
import tomllib
from pathlib import Path

import jsonschema
import pytest
import torch
import yaml
from monai.bundle import ConfigParser, verify_net_in_out

from tests.bundles.tiny import BUNDLES, NETWORK_BUNDLES, REPOSITORY, workflow
from tests.zoo.packing import unpacked
from tools.contract import LARGE_BYTES, SCHEMA, contract_faults

NAMES = [bundle.name for bundle in BUNDLES]
NETWORKS = [bundle.name for bundle in NETWORK_BUNDLES]
EVERY, NETWORK = pytest.mark.parametrize("name", NAMES), pytest.mark.parametrize("name", NETWORKS)


@pytest.fixture(scope="session")
def packed(archives, tmp_path_factory) -> dict[str, Path]:
    """Every bundle, packed and unpacked, by name."""
    folder = tmp_path_factory.mktemp("packed")
    return {name: unpacked(archive, folder) for name, archive in archives.items()}


def metadata(root: Path) -> dict:
    return json.loads((root / "configs" / "metadata.json").read_text())


@EVERY
def test_our_own_check_agrees(name, packed):
    assert contract_faults(packed[name]) == []


@EVERY
def test_requirements_are_pip_names_with_exact_versions(name, packed):
    """get_bundle_requirements.py writes NAME==VERSION for each and pip-installs them."""
    content = metadata(packed[name])
    assert "optional_packages_version" not in content
    required = content["required_packages_version"]
    for package, number in required.items():
        assert re.fullmatch(r"[A-Za-z][\w.-]*", package)
        assert re.fullmatch(r"\d[\w.]*", number)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert {f"{package}=={number}" for package, number in required.items()} <= set(project["dependencies"])


@EVERY
def test_directory(name, packed):
    """verify_bundle_directory: the needed files, and what is large is listed with its hash."""
    root = packed[name]
    assert (root / "configs" / "metadata.json").is_file()
    assert (root / "LICENSE").is_file()
    if name in NETWORKS:
        assert (root / "models" / "model.pt").is_file()
        assert (root / "configs" / "inference.yaml").is_file()
    large = [path for path in root.rglob("*") if path.is_file() and path.stat().st_size > LARGE_BYTES]
    assert bool(large) == (root / "large_files.yml").exists()


@EVERY
def test_version_is_told_by_the_changelog(name, packed):
    """verify_version_changes."""
    content = metadata(packed[name])
    assert content["version"] in content["changelog"]


@EVERY
def test_metadata_format(name, packed):
    """verify_metadata_format; jsonschema alone, as the address of the schema needs the network."""
    content = metadata(packed[name])
    jsonschema.validate(content, json.loads(SCHEMA.read_text()))
    assert content["schema"] == "https://project-monai.github.io/schema/meta_schema_20240725.json"


@EVERY
def test_no_app_is_promised(name, packed):
    """verify_bundle_properties asks for nothing where supported_apps is empty."""
    assert metadata(packed[name]).get("supported_apps", {}) == {}


@NETWORK
def test_data_shape(name, packed):
    """verify_data_shape: channels and type of what the network gives."""
    root = packed[name]
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(root / "configs" / "metadata.json"),
        config_file=str(root / "configs" / "inference.yaml"),
        bundle_root=str(root),
        device="cpu",
    )


@NETWORK
def test_torchscript(name, packed, tmp_path):
    """verify_torchscript, and what is exported loads again."""
    parser = ConfigParser()
    parser.read_config(str(packed[name] / "configs" / "inference.yaml"))
    parser.update({"bundle_root": str(packed[name])})
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(packed[name] / "models" / "model.pt"))
    torch.jit.save(torch.jit.script(network), tmp_path / "model.ts")
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(torch.jit.load(tmp_path / "model.ts")(image), network(image))


@NETWORK
@pytest.mark.parametrize("configs", [("train",), ("inference",)], ids="+".join)
def test_properties(name, configs, packed, datalist, tmp_path):
    """The unit test of a zoo bundle: nothing that MONAI's workflows ask for is missing."""
    copy = shutil.copytree(packed[name], tmp_path / name)
    settings = {"datalist": str(datalist)} if configs == ("train",) else {"dataset_dir": str(datalist.parent)}
    flow = workflow(copy, *configs, **settings)
    flow.initialize()
    assert flow.check_properties() == []


@EVERY
def test_logging_is_what_monai_still_reads(name, packed):
    """Since 1.6.1: classes of the logging library and literal arguments only."""
    content = configparser.RawConfigParser()
    content.read(packed[name] / "configs" / "logging.conf")
    for section in content.sections():
        if section.startswith("handler_"):
            assert content[section]["class"] in ("StreamHandler", "FileHandler")
            assert content[section]["args"] in ("(sys.stderr,)", "(sys.stdout,)")


@EVERY
def test_no_personal_path_and_no_other_file_in_a_config(name, packed):
    for path in sorted((packed[name] / "configs").glob("*.yaml")):
        text = path.read_text()
        assert not re.search(r"/(home|root|Users|mnt|work)/|[A-Z]:\\\\", text)
        assert not re.search(r"%[\w./]+\.(json|ya?ml)", text)
        assert isinstance(yaml.safe_load(text), dict)


@EVERY
def test_python_keeps_to_the_zoos_line_length(name, packed):
    for path in sorted(packed[name].rglob("*.py")):
        assert all(len(line) <= 120 for line in path.read_text().splitlines()), path
