"""Bundles packed with tiny weights, and zips tampered with."""

import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

from abdoseg.manifest import MANIFEST_FILE, file_hash, source_hash
from abdoseg.networks import build_network, write_architecture
from tests.bundles.tiny import NETWORK_BUNDLES, fallback_architecture, shrink
from tools.pack import pack


def tiny_weights(bundle: Path, folder: Path, **changes) -> Path:
    """Write random weights of a tiny network of a bundle; ``changes`` replace parts of its architecture."""
    torch.manual_seed(0)
    network = build_network({**shrink(fallback_architecture(bundle)), **changes})
    write_architecture(folder / "architecture.json", network.architecture)
    torch.save(network.state_dict(), folder / "model.pt")
    return folder


def pack_tiny(bundle: Path, folder: Path, **options) -> Path:
    """Pack a bundle, with tiny weights where it has a network; give the zip."""
    if bundle in NETWORK_BUNDLES:
        options["weights"] = str(tiny_weights(bundle, folder / "weights" / bundle.name))
    return Path(pack(str(bundle), output=str(folder), **options)["archive"])


def unpacked(archive: Path, folder: Path) -> Path:
    """Unpack a zip as anybody would, without a check; give the bundle's folder."""
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(folder)
    return folder / archive.name.rsplit("_v", 1)[0]


def rewritten(archive: Path, folder: Path, change: Callable[[Path], None], manifest_too: bool = False) -> Path:
    """A zip whose unpacked files were changed, and, if ``manifest_too``, whose manifest was made to agree."""
    root = unpacked(archive, folder / "unpacked")
    change(root)
    if manifest_too:
        renew_manifest(root)
    target = folder / archive.name
    with zipfile.ZipFile(target, "w") as zipped:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            zipped.write(path, path.relative_to(root.parent))
    return target


def renew_manifest(root: Path) -> None:
    """Make the manifest of an unpacked bundle tell what is there, as a forger would."""
    path = root / MANIFEST_FILE
    manifest = json.loads(path.read_text())
    files = {file.relative_to(root).as_posix(): file_hash(file) for file in root.rglob("*") if file.is_file()}
    del files[MANIFEST_FILE]
    manifest["abdoseg"]["sha256"] = source_hash(root / "abdoseg")
    path.write_text(json.dumps({**manifest, "files": files}))


def with_entry(archive: Path, target: Path, name: str, content: str = "x", mode: int = stat.S_IFREG | 0o644) -> Path:
    """A zip with one more entry, whatever its name and kind."""
    target.write_bytes(archive.read_bytes())
    entry = zipfile.ZipInfo("placeholder")
    entry.filename, entry.external_attr, entry.create_system = name, mode << 16, 3
    with zipfile.ZipFile(target, "a") as zipped:
        zipped.writestr(entry, content)
    return target
