"""Files that are whole or absent: everything is written aside and renamed."""

import errno
import json
import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np

from abdoseg.nifti import in_file_order, write_nifti

logger = logging.getLogger(__name__)

DISK_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE, errno.ENOTCONN),
    *(errno.ETIMEDOUT, errno.ESHUTDOWN, errno.EREMOTEIO, errno.EHOSTDOWN),  # of network file systems
)
LONGEST_TAIL = 50  # characters, of at most four bytes each


class CaseError(ValueError):
    """A scan or label map that cannot be used; the message names the file, the fault and the remedy."""


def is_of_the_disk(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that a disk is full or a mount gone: no file is to blame for that."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            return True
        error = error.__cause__
    return False


def is_file(path: str | os.PathLike) -> bool:
    """Whether ``path`` is a plain file that is there; OSError where a mount is gone, which `os.path.isfile` hides."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError) as error:
        if is_of_the_disk(error):
            raise
        return False


def first_line(error: Exception) -> str:
    """First line of what an error says, without its full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def walk(root: str | os.PathLike) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Go through a folder and those below it as `os.walk` does, by name, also where they are links; each once.

    A folder that cannot be read, for want of permission as a rule, is passed over with a warning.
    """

    def pass_over(error: OSError) -> None:
        logger.warning("%s: passed over, this folder cannot be read (%s).", error.filename, error.strerror)

    seen = set()
    for folder, folders, files in os.walk(root, onerror=pass_over, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield Path(folder), folders, files


def glob(folder: str | os.PathLike, pattern: str) -> list[Path]:
    """Files by a pattern, by name, without hidden ones: those that a killed process was writing aside."""
    return sorted(path for path in Path(folder).glob(pattern) if not path.name.startswith("."))


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside ``path`` (same suffixes) that becomes ``path`` when the block ends without an error.

    Missing parent folders are made. When the block raises, the temporary file is deleted and ``path`` stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of a name that fills what a file system allows, the end is enough: it holds the suffixes.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-", suffix="-" + path.name[-LONGEST_TAIL:])
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, content) -> None:
    """Write ``content`` as indented JSON, atomically, piece by piece: its whole text is never in memory."""
    with atomic_path(path) as temporary, temporary.open("w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")


def write_label_map(path: str | os.PathLike, labels: np.ndarray, like: nib.Nifti1Image) -> None:
    """Write a uint8 label map on the grid of another image, atomically.

    Parameters
    ----------
    path : target, ``.nii`` or ``.nii.gz``.
    labels : (x, y, z) integers in 0..255, in the stored orientation of ``like``.
    like : image whose affine, sform, qform and units are kept.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if labels.shape != like.shape[:3]:
        raise ValueError(
            f"{path}: the label map has shape {labels.shape}, its image {like.shape[:3]}; make them agree."
        )
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_xyzt_units("mm")
    image = nib.Nifti1Image(in_file_order(labels.astype(np.uint8, copy=False)), like.affine, header)
    image.set_sform(like.affine, code=int(like.header["sform_code"]) or 1)
    if int(like.header["qform_code"]):
        try:
            image.set_qform(like.get_qform(), code=int(like.header["qform_code"]))
        except (ValueError, nib.spatialimages.HeaderDataError):  # a broken one is left out: the sform counts
            image.set_qform(None, code=0)
    with atomic_path(path) as temporary:
        write_nifti(temporary, image)
