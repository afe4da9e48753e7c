"""What a packed bundle promises of itself, checked when it is loaded: its Python, its weights, its channels."""

import json
import os
from pathlib import Path

import abdoseg
from abdoseg.files import CaseError
from abdoseg.manifest import WEIGHTS_FOLDER, file_hash, imported_hash, read_manifest


def check_packed(root: str | os.PathLike) -> bool:
    """Refuse a packed bundle that is not as it was packed, or that another abdoseg than its own would run.

    Every config calls it before anything of the bundle is made. A person may change configs and documents; what is
    trained into the bundle takes the place of the weights that were packed.

    Parameters
    ----------
    root : folder of the bundle. Without a manifest.json it was not packed, and nothing is checked.

    Returns
    -------
    bool : whether the bundle is a packed one.

    Raises
    ------
    CaseError
        If the abdoseg that this process has imported is another one, the bundle holds a link that leads out of it,
        weights are missing or altered, or the metadata tell other channels than the network has.
    """
    root = Path(root).resolve()
    manifest = read_manifest(root)
    if manifest is None:
        return False
    if fault := code_fault(manifest):
        raise CaseError(f"{root} {fault}")
    for part in sorted({name.split("/")[0] for name in manifest["files"]} | {WEIGHTS_FOLDER}):
        for path in (root / part, *sorted((root / part).rglob("*"))):
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise CaseError(f"{path} is a link that leads out of the bundle; do not use it, or put the file there.")
    for name, expected in manifest["files"].items():
        if not name.startswith(f"{WEIGHTS_FOLDER}/"):
            continue
        path = root / name
        if not path.is_file():
            raise CaseError(f"{path} was packed and is missing; unpack the zip again.")
        if file_hash(path) != expected:
            raise CaseError(f"{path} is not the file that was packed: its sha256 differs; unpack the zip again.")
    _check_channels(root)
    return True


def _check_channels(root: Path) -> None:
    # Not every bundle has a network, and with it needs the libraries that networks and their inferers need.
    architecture, metadata = root / WEIGHTS_FOLDER / "architecture.json", root / "configs" / "metadata.json"
    if not architecture.exists() or not metadata.exists():
        return
    from abdoseg.networks import read_architecture
    from abdoseg.networks.channels import channel_faults

    faults = channel_faults(json.loads(metadata.read_text()), read_architecture(architecture, {}))
    if faults:
        raise CaseError(f"{metadata} does not fit the network: {'; '.join(faults)}.")


def code_fault(manifest: dict) -> str | None:
    """Say that the abdoseg of this process is not the one that a bundle was packed with; None if it is."""
    packed, here = manifest["abdoseg"], imported_hash()
    if packed["sha256"] == here:
        return None
    return (
        f"was packed with abdoseg {packed['version']} ({packed['sha256'][:12]}), but this process has imported abdoseg "
        f"{abdoseg.__version__} ({here[:12]}) from {Path(abdoseg.__file__).parent}; "
        "run it in a process of its own, or pack both anew with one abdoseg."
    )
