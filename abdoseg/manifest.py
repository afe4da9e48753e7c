"""The manifest of a packed bundle: every file with its hash, and the version and the hash of its Python."""

import hashlib
import json
import os
from functools import cache
from pathlib import Path

import abdoseg
from abdoseg.files import CaseError, write_json

MANIFEST_FILE = "manifest.json"
WEIGHTS_FOLDER = "models"


def file_hash(path: str | os.PathLike) -> str:
    """sha256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_files(package: str | os.PathLike) -> dict[str, Path]:
    """Python files of a package, by their paths below it (with slashes), sorted by them."""
    package = Path(package)
    return dict(sorted((path.relative_to(package).as_posix(), path) for path in package.rglob("*.py")))


@cache
def imported_hash() -> str:
    """Hash of the abdoseg of this process, as it was when first asked for: what changes later is not imported anew."""
    return source_hash(Path(abdoseg.__file__).parent)


def source_hash(package: str | os.PathLike) -> str:
    """sha256 over names and bytes of a package's Python files."""
    digest = hashlib.sha256()
    for name, path in source_files(package).items():
        digest.update(f"{file_hash(path)}  {name}\n".encode())
    return digest.hexdigest()


def read_manifest(root: str | os.PathLike) -> dict | None:
    """Content of a bundle's manifest, None where there is none: the bundle was not packed.

    Returns
    -------
    dict : ``{"bundle": name, "version", "abdoseg": {"version", "sha256"}, "files": {path below the bundle: sha256}}``.

    Raises
    ------
    CaseError
        If the file is something else, or names a path outside the bundle.
    """
    path = Path(root) / MANIFEST_FILE
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text())
        code, files = manifest["abdoseg"], manifest["files"]
        texts = (manifest["bundle"], manifest["version"], code["version"], code["sha256"], *files, *files.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CaseError(f"{path} is no manifest of a packed bundle; unpack the zip again.") from error
    if not all(isinstance(text, str) for text in texts):
        raise CaseError(f"{path} is no manifest of a packed bundle; unpack the zip again.")
    for name in files:
        if fault := path_fault(name):
            raise CaseError(f"{path} names the file {name!r}, which {fault}; do not use this bundle.")
    return manifest


def path_fault(name: str) -> str | None:
    """Say why a path below a bundle is none; None if it is one."""
    if not name or "\\" in name or ":" in name or "\0" in name:
        return "is no plain path"
    if name.startswith("/") or ".." in name.split("/"):
        return "lies outside the bundle"
    return None


def forget_weights(folder: str | os.PathLike) -> None:
    """Take the weights in ``folder`` off its bundle's manifest, if there is one: others are about to be made there."""
    folder = Path(folder).resolve()
    root = folder.parent
    if folder.name != WEIGHTS_FOLDER or not (root / MANIFEST_FILE).exists():
        return
    manifest = read_manifest(root)
    files = {name: value for name, value in manifest["files"].items() if not name.startswith(f"{WEIGHTS_FOLDER}/")}
    if files != manifest["files"]:
        write_json(root / MANIFEST_FILE, {**manifest, "files": files})
