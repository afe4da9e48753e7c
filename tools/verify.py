"""Say whether a packed bundle is sound: its paths, its files, its Python, its weights and what it tells of itself."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from abdoseg.files import CaseError
from abdoseg.manifest import file_hash, imported_hash, read_manifest, source_hash
from tools.archive import unpack

REPOSITORY = Path(__file__).parent.parent


def verify(archive: str, unpack_to: str | None = None) -> dict:
    """Say whether a zip that `pack` wrote is sound.

    Paths, links and hashes come first. Then the network is built, loaded, run and scripted with the bundle's own
    configs and Python: as with any bundle, use this on what you would run.

    A hash tells what was altered after packing. Who packed it is told by the sha256 of the zip alone: compare it with
    the one that its maker gives.

    Args:
        archive: The zip, for example dist/fine_seg_v0.1.0.zip.
        unpack_to: Folder for the bundle, if it is sound; the bundle's own folder must not be there yet.
    """
    path = Path(archive)
    with tempfile.TemporaryDirectory() as folder:
        root, faults = unpack(path, Path(folder))
        if root is not None:
            faults = bundle_faults(root)
        refuse(f"{path} is refused", faults)
        manifest = read_manifest(root)
        if unpack_to is not None:
            target = Path(unpack_to) / root.name
            if target.exists():
                raise CaseError(f"{target} is there already; remove it, or name another folder by --unpack_to.")
            shutil.copytree(root, target)
            print(f"unpacked: {target}")
    code = manifest["abdoseg"]
    result = {"bundle": manifest["bundle"], "version": manifest["version"], "abdoseg": code, "sha256": file_hash(path)}
    print(
        f"{path} is sound: {manifest['bundle']} {manifest['version']}, {len(manifest['files'])} files, abdoseg "
        f"{code['version']} ({code['sha256'][:12]}); sha256 {result['sha256']}"
    )
    return result


def bundle_faults(root: Path) -> list[str]:
    """Faults of an unpacked bundle, with its own Python: in this process where that is ours, else in another."""
    manifest = read_manifest(root)
    code = manifest["abdoseg"]
    if source_hash(root / "abdoseg") != code["sha256"]:
        return ["abdoseg/ is not the Python that manifest.json tells of: its sha256 differs."]
    if code["sha256"] == imported_hash():
        from tools.contract import contract_faults  # imports torch and MONAI, which takes seconds

        return contract_faults(root) or version_faults(root, manifest)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "tools.contract", str(root)]  # Python looks into the current folder first
    result = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        reason = result.stderr.strip().splitlines() or ["it ended without a word"]
        return [f"its own Python, abdoseg {code['version']}, does not run here: {reason[-1]}."]
    return json.loads(result.stdout.splitlines()[-1]) or version_faults(root, manifest)


def version_faults(root: Path, manifest: dict) -> list[str]:
    """Whether manifest and metadata, which is in order, tell different versions."""
    told = json.loads((root / "configs" / "metadata.json").read_text())["version"]
    if told == manifest["version"]:
        return []
    return [f"configs/metadata.json tells version {told}, manifest.json {manifest['version']}."]


def refuse(what: str, faults: list[str]) -> None:
    """Raise a CaseError that tells the fault, or, where there are several, print a line for each first."""
    if len(faults) == 1:
        raise CaseError(f"{what}: {faults[0]}")
    if faults:
        print(*(f"  {fault}" for fault in faults), sep="\n", file=sys.stderr)
        raise CaseError(f"{what}: {faults[0]} And {len(faults) - 1} more, listed above.")
