"""Pack a bundle into a zip that works without this repository: configs, weights, documents and the Python it needs."""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import yaml

import abdoseg
from abdoseg.files import CaseError, glob, write_json
from abdoseg.labels import NAMES
from abdoseg.manifest import MANIFEST_FILE, file_hash, source_files, source_hash
from tools.archive import write_archive
from tools.chain import BUNDLES
from tools.starter_weights import read_starter
from tools.verify import refuse

WEIGHTS = ("model.pt", "architecture.json")
MODEL_CARD = "model_card.md"  # beside starter weights
METRICS = ("organ_mean_dsc", "organ_mean_nsd", "tumor_dsc", "tumor_nsd")


def pack(
    bundle: str,
    output: str = "dist",
    weights: str | None = None,
    scores: str | None = None,
    version: str | None = None,
    changes: str | None = None,
    exports: str | None = None,
    url: str | None = None,
) -> dict:
    """Pack a bundle into OUTPUT/BUNDLE_vVERSION.zip, which stands alone.

    The zip holds configs, documents and license, the weights with their architecture, the whole abdoseg package, and
    manifest.json with the sha256 of every file. Packed twice, it is the same byte for byte (but for TorchScript, which
    PyTorch writes in another way each time). A bundle that breaks the model zoo's contract is refused, with a line for
    each fault. `python -m tools verify ZIP` checks it elsewhere.

    Args:
        bundle: Folder of the bundle, or its name in bundles/, for example fine_seg.
        output: Folder for the zip.
        weights: Folder with model.pt and architecture.json, of all networks where the bundle is a cascade; without it
            the bundle's own models/ is taken, or, where nothing was trained into it, the starter weights in
            models/starter.
        scores: Scores of these weights, a JSON file of `evaluate`; they become the metadata's eval_metrics.
        version: Version to pack as, for example 0.2.0; without it that of metadata.json.
        changes: What is new in this version, for the metadata's changelog.
        exports: "torchscript", "onnx" or both with a comma: each network of the weights in these formats too.
        url: Address of a folder on the web, where files above 25 MB will lie, for the zoo's large_files.yml. The zip
            holds them in any case.
    """
    source = _bundle_folder(bundle)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / source.name
        from abdoseg.networks import weights_folder  # imports torch and MONAI, which takes seconds
        from tools.contract import contract_faults, is_network

        given = Path(weights or weights_folder(source / "models"))
        collect(source, root, given)
        metadata = complete_metadata(root, _metrics(scores), version, changes, _starter(given / "model.pt"))
        if exports and is_network(root):
            add_exports(root, [name.strip() for name in exports.split(",")])
        list_large_files(root, url)
        write_manifest(root, str(metadata.get("version")))
        refuse(f"{source} is not packed", contract_faults(root))
        target = Path(output) / f"{source.name}_v{metadata['version']}.zip"
        write_archive(root, target)
        files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    sha256 = file_hash(target)
    print(f"{target}: {len(files)} files, {target.stat().st_size / 1e6:.1f} MB, sha256 {sha256}")
    return {"archive": str(target), "version": metadata["version"], "files": files, "sha256": sha256}


def _bundle_folder(bundle: str) -> Path:
    for folder in (Path(bundle), BUNDLES / bundle):
        if (folder / "configs").is_dir():
            return folder.resolve()
    names = ", ".join(sorted(path.name for path in BUNDLES.iterdir() if path.is_dir()))
    raise CaseError(f"{bundle} is no folder of a bundle, which holds configs/. In bundles/ are {names}.")


def collect(source: Path, root: Path, weights: Path) -> None:
    """Copy what belongs to a packed bundle, and nothing else, into a new folder.

    Raises
    ------
    CaseError
        If a file is a link that leads out of the bundle, or the bundle has no network and weights are given.
    """
    names = ["LICENSE", *(f"configs/{ending}" for ending in ("*.yaml", "*.yml", "*.json", "*.conf")), "docs/**/*"]
    for path in sorted(path for name in names for path in glob(source, name) if path.is_file()):
        if not path.resolve().is_relative_to(source):
            raise CaseError(f"{path} is a link that leads out of the bundle; put the file there.")
        _copy(path, root / path.relative_to(source))
    if (source / "configs" / "inference.yaml").exists():
        for path in (weights / name for name in WEIGHTS):
            if not path.is_file():
                raise CaseError(f"{path} does not exist; --weights takes the folder that the bundle was trained into.")
            _copy(path, root / "models" / path.name)
        if (weights / MODEL_CARD).is_file():
            _copy(weights / MODEL_CARD, root / "docs" / MODEL_CARD)
    elif weights != source / "models":
        raise CaseError(f"{source} has no network; leave --weights out.")
    package = Path(abdoseg.__file__).parent
    for name, path in source_files(package).items():
        _copy(path, root / "abdoseg" / name)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _metrics(scores: str | None) -> dict:
    """Means of a scores file that are numbers, and of how many scans."""
    if scores is None:
        return {}
    try:
        content = json.loads(Path(scores).read_text())
        means = {name: content["summary"][name] for name in METRICS if content["summary"].get(name) is not None}
        return {**means, "scans": len(content["cases"])}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CaseError(f"{scores} is no file of scores; write it with `evaluate --output`.") from error


def _starter(checkpoint: Path) -> dict | None:
    return read_starter(checkpoint, file_hash(checkpoint)) if checkpoint.is_file() else None


def complete_metadata(
    root: Path, metrics: dict, version: str | None, changes: str | None, starter: dict | None = None
) -> dict:
    """Put scores, version and what the weights decide into a bundle's metadata, and give it.

    Of starter weights (``starter``: what is known of them) it tells that they have learned from synthetic CT.
    What the plan of an nnU-Net network or the parts of a cascade decide is written as they are; all else that the
    metadata tell of the network stays, and is checked.
    """
    path = root / "configs" / "metadata.json"
    try:
        metadata = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError:
        return {}  # the contract's own check says so
    if version is not None:
        if not re.fullmatch(r"\d+\.\d+\.\d+\w*", version):
            raise CaseError(f"--version {version} is none; give three numbers, for example 0.2.0.")
        metadata["version"] = version
    if changes is not None:
        metadata["changelog"] = {metadata.get("version"): changes, **metadata.get("changelog", {})}
    if metrics:
        metadata["eval_metrics"] = metrics
    if starter and metadata:
        metadata["data_source"] = f"Synthetic CT alone, rendered from {starter['anatomies']}: docs/{MODEL_CARD}"
        metadata["description"] = f"{metadata.get('description')} These weights have learned from synthetic CT alone."
    if (root / "models" / "architecture.json").exists():
        # Of metadata that lack what is to be described, the contract's own check says so.
        with suppress(KeyError, TypeError, AttributeError):
            _describe_networks(metadata, root)
    if metadata:
        write_json(path, metadata)
    return metadata


def _describe_networks(metadata: dict, root: Path) -> None:
    from abdoseg.networks import read_architecture
    from abdoseg.networks.channels import channels_of, data_formats, ids_of

    architecture = read_architecture(root / "models" / "architecture.json", {})
    refuse(f"{root.name} is not packed", list(missing_parts(architecture)))
    formats = data_formats(architecture)
    if architecture["kind"] == "tumor_cascade":
        for name in [name for name in metadata if name.endswith("_data_format") and name not in formats]:
            print(f"left out of the metadata: {name}, for which the weights hold no network")
            del metadata[name]
        pred = metadata["network_data_format"]["outputs"]["pred"]
        pred["num_channels"] = channels_of(architecture)[1]  # the organs may be found by paper A's student
        pred["channel_def"] = {str(index): NAMES[index] for index in ids_of(architecture)}
    for name, part in formats.items():
        plan = (part["organs"] if part["kind"] == "tumor_cascade" else part).get("plan")
        if plan is None or name not in metadata:
            continue
        shape = [f"{multiple}*n" for multiple in plan_multiples(plan)]
        for tensors in (metadata[name]["inputs"], metadata[name]["outputs"]):
            for tensor in tensors.values():
                tensor["spatial_shape"] = shape


def missing_parts(architecture: dict) -> Iterator[str]:
    """Networks that a cascade cannot do without, and that its weights lack, a line each."""
    if architecture["kind"] == "coarse_to_fine" and architecture["coarse"] is None:
        yield "the weights have no coarse network, which finds the region of interest; train with --coarse_dir."
    if architecture["kind"] == "tumor_cascade":
        if architecture["organs"] is None:
            yield "the weights have no organ network; put the parts together with assemble.yaml."
        elif architecture["organs"]["kind"] == "coarse_to_fine":
            yield from missing_parts(architecture["organs"])
        if not architecture["tumors"]:
            yield "the weights have no tumor network; put the parts together with assemble.yaml."


def plan_multiples(plan: dict) -> list[int]:
    """Numbers that the voxels (x, y, z) of a plan's input are multiples of, with two voxels on the deepest map."""
    multiples = [2, 2, 2]
    for stride in plan["strides"]:
        multiples = [multiple * step for multiple, step in zip(multiples, stride, strict=True)]
    return multiples


def add_exports(root: Path, formats: list[str]) -> None:
    """Write the networks of a collected bundle in other formats into its models/."""
    from abdoseg.networks import build_network, load_checkpoint, read_architecture
    from tools.model_formats import export_networks

    models = root / "models"
    network = build_network(read_architecture(models / "architecture.json", {}))
    load_checkpoint(models / "model.pt", network)
    for name, difference in export_networks(network, models, formats).items():
        print(f"models/{name}: logits within {difference:.1e} of PyTorch's")


def list_large_files(root: Path, url: str | None) -> None:
    """Write large_files.yml, where files exceed what the zoo takes."""
    from tools.contract import LARGE_BYTES, LARGE_FILES

    files = sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size > LARGE_BYTES)
    if not files:
        return
    entries = []
    for path in files:
        name = path.relative_to(root).as_posix()
        address = f"{url.rstrip('/')}/{name}" if url else ""
        entries.append({"path": name, "url": address, "hash_val": file_hash(path), "hash_type": "sha256"})
    if not url:
        names = ", ".join(entry["path"] for entry in entries)
        print(f"{LARGE_FILES} has no address for {names}; give --url before the bundle goes to the model zoo.")
    (root / LARGE_FILES).write_text(yaml.safe_dump({"large_files": entries}, sort_keys=False))


def write_manifest(root: Path, version: str) -> None:
    """Write the manifest of a collected bundle: every file's hash, and the version and the hash of its abdoseg."""
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    content = {
        "bundle": root.name,
        "version": version,
        "abdoseg": {"version": abdoseg.__version__, "sha256": source_hash(root / "abdoseg")},
        "files": {name: file_hash(path) for name, path in sorted(files.items())},
    }
    write_json(root / MANIFEST_FILE, content)
