"""The contract of a bundle that leaves the house: the model zoo's checks, MONAI Label's and ours; one line a fault."""

import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jsonschema
import torch
import yaml
from monai.bundle import ConfigParser, verify_net_in_out

from abdoseg.networks import load_checkpoint
from tools.faults import fault_of, innermost

SCHEMA = Path(__file__).with_name("metadata_schema.json")
FILES = ("LICENSE", "configs/metadata.json", "configs/logging.conf", "docs/README.md", "docs/data_license.txt")
NETWORK_FILES = ("configs/train.yaml", "configs/inference.yaml", "models/model.pt", "models/architecture.json")
TRAIN_IDS = (
    *("bundle_root", "device", "dataset_dir", "output_dir", "ckpt_dir", "network_def", "network", "loss", "optimizer"),
    *("val_interval", "initialize", "run", "training", "train#trainer#max_epochs", "train#trainer"),
    *(f"train#{name}" for name in ("preprocessing", "dataset", "dataset#data", "dataloader", "inferer")),
    *(f"train#{name}" for name in ("postprocessing", "handlers", "key_metric")),
    *(f"validate#{name}" for name in ("preprocessing", "dataset", "dataset#data", "dataloader", "inferer")),
    *(f"validate#{name}" for name in ("postprocessing", "handlers", "key_metric", "evaluator")),
)
INFERENCE_IDS = (
    *("bundle_root", "device", "dataset_dir", "output_dir", "network_def", "network", "preprocessing", "dataset"),
    *("dataset#data", "dataloader", "inferer", "postprocessing", "handlers", "evaluator", "checkpointloader"),
    *("initialize", "run", "evaluating"),
)
# The zoo's names of versions, and the packages that they are about.
VERSIONS = {"monai_version": "monai", "pytorch_version": "torch", "numpy_version": "numpy"}
LARGE_BYTES = 25 * 1024 * 1024
LARGE_FILES = "large_files.yml"


def contract_faults(root: Path) -> list[str]:
    """Say where a bundle breaks the contract; empty if it keeps it.

    Networks are built and run only where files, metadata and configs are in order.

    Parameters
    ----------
    root : folder of the bundle as it is to leave the house, weights included.
    """
    root = root.resolve()
    faults = [*file_faults(root)]
    if (root / "configs" / "metadata.json").is_file():
        faults += metadata_faults(root / "configs" / "metadata.json", is_network(root))
    faults += config_faults(root)
    if not faults and is_network(root):
        faults += [fault.replace(f"{root}{os.sep}", "") for fault in network_faults(root)]
    return faults


def is_network(root: Path) -> bool:
    """Whether a bundle has a network: one that labels, trains or has weights."""
    return any((root / name).exists() for name in NETWORK_FILES)


def file_faults(root: Path) -> Iterator[str]:
    """Files that are missing, empty, too large without being listed, or that MONAI Label would take amiss."""
    for name in (*FILES, *NETWORK_FILES) if is_network(root) else FILES:
        if not (root / name).is_file():
            yield f"{name} is missing."
        elif not (root / name).stat().st_size:
            yield f"{name} is empty."
    for path in sorted((root / "models").glob("*.pt")):
        if path.name != "model.pt":
            yield f"models/{path.name} must go: MONAI Label would offer it as a network; only model.pt stays."
    for path in sorted((root / "configs").glob("*.yml")):
        yield f"configs/{path.name} must end in .yaml: MONAI Label overlooks .yml."
    listed = set()
    if (root / LARGE_FILES).is_file():
        content = yaml.safe_load((root / LARGE_FILES).read_text())
        listed = {entry["path"] for entry in content["large_files"]}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = path.relative_to(root).as_posix()
        if path.stat().st_size > LARGE_BYTES and name not in listed:
            yield f"{name} has more than 25 MB and {LARGE_FILES} does not list it."


def metadata_faults(path: Path, with_network: bool) -> Iterator[str]:
    """Where metadata.json breaks the schema, or tells untrue versions or unusable channels."""
    name = "configs/metadata.json"
    try:
        metadata = json.loads(path.read_text())
    except ValueError as error:
        yield f"{name} is not JSON: {error}."
        return
    schema = jsonschema.Draft201909Validator(json.loads(SCHEMA.read_text()))
    for error in sorted(schema.iter_errors(metadata), key=lambda error: error.json_path):
        yield f"{name}: {error.json_path.removeprefix('$').lstrip('.') or 'the file'}: {error.message}."
    if not isinstance(metadata, dict):
        return
    if not re.fullmatch(r"\d+\.\d+\.\d+\w*", str(metadata.get("version"))):
        yield f"{name}: version {metadata.get('version')!r} is none; give three numbers, as in 0.2.0."
    if metadata.get("version") not in metadata.get("changelog", {}):
        yield f"{name}: the changelog does not tell what version {metadata.get('version')} is."
    required = metadata.get("required_packages_version", {})
    told = {package: metadata.get(key) for key, package in VERSIONS.items()}
    for package, number in {**told, **(required if isinstance(required, dict) else {})}.items():
        try:
            found = version(package).split("+")[0]
        except PackageNotFoundError:
            yield f"{name} requires {package} {number}, which is not installed here: it cannot have been tried."
            continue
        if number is not None and number != found:
            yield f"{name} tells {package} {number}, but {found} is what runs here."
    if with_network:
        yield from _format_faults(name, metadata.get("network_data_format"))


def _format_faults(name: str, formats) -> Iterator[str]:
    """What MONAI Label and the zoo need of the description of the network."""
    sides = formats if isinstance(formats, dict) else {}
    for side, tensor in (("inputs", "image"), ("outputs", "pred")):
        content = sides.get(side)
        if not isinstance(content, dict) or next(iter(content), None) != tensor:
            yield f"{name}: the first of network_data_format's {side} must be called {tensor!r}."
            continue
        names = content[tensor].get("channel_def") if isinstance(content[tensor], dict) else None
        if not isinstance(names, dict):
            yield f"{name}: {tensor} has no channel_def; MONAI Label would have no labels."
        elif len({str(value).lower() for value in names.values()}) < len(names):
            yield f"{name}: two channels of {tensor} have one name in small letters, as MONAI Label reads them."


def config_faults(root: Path) -> Iterator[str]:
    """Ids that MONAI's tools ask for, and what would not work on another machine."""
    for path in sorted((root / "configs").glob("*.yaml")):
        name = f"configs/{path.name}"
        try:
            parser = ConfigParser(ConfigParser.load_config_file(path))
        except (yaml.YAMLError, ValueError) as error:
            yield f"{name} is not YAML: {' '.join(str(error).split())}."
            continue
        for identifier in {"train": TRAIN_IDS, "inference": INFERENCE_IDS}.get(path.stem, ()):
            if identifier not in parser:
                yield f"{name} lacks {identifier!r}."
        for value in _texts(parser.config):
            if re.match(r"/[\w.]+/|~|[A-Za-z]:\\", value):
                yield f"{name} holds a path of one machine: {value!r}."
            if re.match(r"%.*\.(json|ya?ml)", value):
                yield f"{name} needs another file, {value!r}; MONAI Label reads one config alone."


def _texts(content) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        for value in content.values() if isinstance(content, dict) else content:
            yield from _texts(value)


def network_faults(root: Path) -> list[str]:
    """Build the network with the bundle's own configs and Python; load, run and script it."""
    configs = root / "configs"
    parser = ConfigParser()
    parser.read_config(str(configs / "inference.yaml"))
    parser.update({"bundle_root": str(root), "device": torch.device("cpu")})
    try:
        network = parser.get_parsed_content("network_def")
    except Exception as error:  # whatever a bundle from elsewhere raises is its fault
        return [fault_of(error) or f"configs/inference.yaml: network_def cannot be made: {_told(error)}."]
    if not isinstance(network, torch.nn.Module):
        return [f"configs/inference.yaml: network_def is a {type(network).__name__}, not a torch.nn.Module."]
    try:
        load_checkpoint(root / "models" / "model.pt", network)
    except Exception as error:
        return [fault_of(error) or f"models/model.pt cannot be loaded: {_told(error)}."]
    bad = [name for name, value in network.state_dict().items() if not torch.isfinite(value).all()]
    faults = [f"models/model.pt: {len(bad)} parameters are not finite (first {bad[0]})."] if bad else []
    logging.getLogger("monai.bundle.scripts").setLevel(logging.WARNING)  # it tells all that it was given
    try:
        verify_net_in_out(
            net_id="network_def",
            meta_file=str(configs / "metadata.json"),
            config_file=str(configs / "inference.yaml"),
            bundle_root=str(root),
            device="cpu",
        )
    except Exception as error:
        faults.append(f"configs/metadata.json does not fit the network: {_told(error)}.")
    try:
        torch.jit.script(network.eval())
    except Exception as error:
        faults.append(f"the network has no TorchScript: {_told(error)}.")
    return faults


def _told(error: Exception) -> str:
    return innermost(error).rstrip(".")


if __name__ == "__main__":  # in a process of its own, where a bundle's Python is another than ours
    print(json.dumps(contract_faults(Path(sys.argv[1]))))
