"""Zips of bundles: written the same byte for byte everywhere, read with suspicion."""

import shutil
import stat
import zipfile
import zlib
from pathlib import Path

from abdoseg.files import CaseError, atomic_path
from abdoseg.manifest import MANIFEST_FILE, file_hash, path_fault, read_manifest

# The first day that a zip can tell.
DATE = (1980, 1, 1, 0, 0, 0)
MODE = stat.S_IFREG | 0o644


def write_archive(root: Path, path: Path) -> None:
    """Zip the files below ``root``, in a folder of its name: in order, undated, uncompressed, all readable.

    Weights hardly shrink, and what compression makes of a file depends on the version of zlib.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        names = {file.relative_to(root).as_posix(): file for file in root.rglob("*") if file.is_file()}
        for name, file in sorted(names.items()):
            entry = zipfile.ZipInfo(f"{root.name}/{name}", DATE)
            entry.create_system, entry.external_attr, entry.file_size = 3, MODE << 16, file.stat().st_size
            with file.open("rb") as source, archive.open(entry, "w") as target:
                shutil.copyfileobj(source, target, 1 << 20)


def unpack(path: Path, folder: Path) -> tuple[Path | None, list[str]]:
    """Unpack a packed bundle whose paths stay inside it and whose files are those of its manifest.

    Parameters
    ----------
    path : the zip.
    folder : empty or new; gets the bundle's folder, if nothing is wrong with the zip.

    Returns
    -------
    The bundle's folder and no fault, or None and the faults, a line each.

    Raises
    ------
    CaseError
        If there is no such zip.
    """
    if path.is_dir():
        raise CaseError(f"{path} is a folder; name a zip that `python -m tools pack` wrote.")
    if not path.is_file():
        raise CaseError(f"{path} does not exist; write it with `python -m tools pack`.")
    try:
        with zipfile.ZipFile(path) as archive:
            if faults := entry_faults(archive):
                return None, faults
            folder.mkdir(parents=True, exist_ok=True)
            archive.extractall(folder)
            (name,) = {entry.filename.split("/")[0] for entry in archive.infolist()}
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        return None, [f"the zip is damaged: {error}."]
    faults = manifest_faults(folder / name)
    if faults:
        shutil.rmtree(folder / name)
        return None, faults
    return folder / name, []


def entry_faults(archive: zipfile.ZipFile) -> list[str]:
    """Entries that a zip of one bundle cannot have: outside its folder, links, twice, encrypted."""
    faults, seen = [], {}
    for entry in archive.infolist():
        name = entry.orig_filename
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if fault := path_fault(name):
            faults.append(f"{name!r} {fault}.")
        elif "/" not in name:
            faults.append(f"{name!r} lies beside the bundle's folder.")
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            faults.append(f"{name!r} is a link or a device, not a file.")
        elif entry.flag_bits & 1:
            faults.append(f"{name!r} is encrypted.")
        elif name.lower() in seen:
            faults.append(f"{name!r} is there twice, as {seen[name.lower()]!r}.")
        seen[name.lower()] = name
    tops = sorted({name.split("/")[0] for name in seen.values()})
    if len(tops) != 1:
        faults.append(f"it holds {len(tops)} folders {', '.join(tops[:5])}; a packed bundle is one.")
    return faults


def manifest_faults(root: Path) -> list[str]:
    """Files that the manifest of an unpacked bundle does not name, that lack, or that are others."""
    try:
        manifest = read_manifest(root)
    except CaseError as error:
        return [str(error)]
    if manifest is None:
        return [f"{MANIFEST_FILE} is missing; write the zip with `python -m tools pack`."]
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    found.pop(MANIFEST_FILE)
    named = manifest["files"]
    faults = [f"{name} is missing." for name in sorted(named.keys() - found.keys())]
    faults += [f"{name} is not named in {MANIFEST_FILE}." for name in sorted(found.keys() - named.keys())]
    for name in sorted(found.keys() & named.keys()):
        if file_hash(found[name]) != named[name]:
            faults.append(f"{name} is not the file that was packed: its sha256 differs.")
    if manifest["bundle"] != root.name:
        faults.append(f"{MANIFEST_FILE} is that of {manifest['bundle']}, the folder is called {root.name}.")
    return faults
