"""NIfTI files read and written fast and with no second copy of the volume; values as nibabel gives them."""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.volumeutils import apply_read_scaling

try:
    from isal.igzip import IGzipFile as GzipFile
    from isal.isal_zlib import IsalError
except ImportError:  # a packed bundle where nobody has installed it: the same files, in three times the time
    from gzip import GzipFile

    IsalError = zlib.error

# What a broken file may raise while its voxels are read.
READ_ERRORS = (OSError, EOFError, zlib.error, IsalError)
# Voxels are turned into the order of an array this many slices at a time: planes of so few stay in the cache.
SLICES = 16
# Types that PyTorch has all operations for; others become float32.
KEPT_TYPES = ("u1", "i1", "i2", "i4", "f4")


@contextmanager
def open_stream(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a NIfTI file, compressed or not, as the stream of bytes that its header counts."""
    with GzipFile(path, "rb") if _is_compressed(path) else open(path, "rb") as stream:
        yield stream


def _is_compressed(path: str | os.PathLike) -> bool:
    return str(path).lower().endswith(".gz")


def stored_voxels(image: nib.Nifti1Image, path: str | os.PathLike) -> np.ndarray:
    """Read all voxels of an opened image: what ``np.asanyarray(image.dataobj)`` gives, in less time.

    Raises
    ------
    READ_ERRORS
        If the file is broken or cut short.
    """
    proxy = image.dataobj
    if not _is_compressed(path):
        return np.asanyarray(proxy)
    with open_stream(path) as stream:
        spec = (proxy.shape, proxy.dtype, proxy.offset, proxy.slope, proxy.inter)
        return np.asanyarray(ArrayProxy(stream, spec))


def scan_voxels(image: nib.Nifti1Image, path: str | os.PathLike) -> np.ndarray:
    """Read one volume for computing: in C order and in native bytes, integers as integers where that loses nothing.

    Equal to ``np.asanyarray(image.dataobj).astype(np.float32)`` value by value. The only full-size array is the result,
    2 bytes a voxel for a CT that is stored so, with or without an intercept in whole HU.

    Parameters
    ----------
    image : opened file of shape (x, y, z), further axes of length 1 allowed.
    path : the file.

    Returns
    -------
    Array of the image's shape, in one of `KEPT_TYPES`.

    Raises
    ------
    READ_ERRORS
        If the file is broken or cut short.
    """
    proxy = image.dataobj
    shape, stored = proxy.shape[:3], proxy.dtype
    slope, inter = np.asanyarray(proxy.slope), np.asanyarray(proxy.inter)
    whole = stored.kind in "iu" and slope == 1 and inter == np.round(inter)
    volume = np.empty(shape, _result_type(stored, whole, inter))
    with open_stream(path) as stream:
        stream.seek(proxy.offset)
        for start in range(0, shape[2], SLICES):
            slab = np.empty((min(SLICES, shape[2] - start), shape[1], shape[0]), stored)
            read = stream.readinto(memoryview(slab).cast("B"))
            if read != slab.nbytes:
                raise EOFError(f"the voxels end in slice {start + read // slab[0].nbytes} of {shape[2]}")
            values = apply_read_scaling(slab, slope, inter).transpose(2, 1, 0)
            if whole and not _fits(values, volume.dtype):
                whole, volume = False, volume.astype(np.float32)
            copy_planes(volume[:, :, start : start + SLICES], values)
    return volume.reshape(proxy.shape)


def _result_type(stored: np.dtype, whole: bool, inter: np.ndarray) -> np.dtype:
    """Give the stored type where it may stay, else int16 for whole numbers (most fit), else float32."""
    if whole and inter == 0 and stored.str[1:] in KEPT_TYPES:
        return stored.newbyteorder("=")
    return np.dtype(np.int16 if whole else np.float32)


def _fits(values: np.ndarray, kind: np.dtype) -> bool:
    if np.can_cast(values.dtype, kind):
        return True
    limits = np.iinfo(kind)
    return limits.min <= values.min() and values.max() <= limits.max


def write_nifti(path: str | os.PathLike, image: nib.Nifti1Image) -> None:
    """Write an image to a .nii or .nii.gz file; the same image gives the same bytes, whatever the file is called."""
    with open(path, "wb") as raw:
        if _is_compressed(path):
            with GzipFile(filename="", mode="wb", compresslevel=1, fileobj=raw, mtime=0) as stream:
                image.to_stream(stream)
        else:
            image.to_stream(raw)


def in_file_order(array: np.ndarray) -> np.ndarray:
    """Give an (x, y, z) array in the order of NIfTI files, x fastest; a copy unless it lies so already."""
    if array.flags.f_contiguous:
        return array
    ordered = np.empty(array.shape, array.dtype, order="F")
    copy_planes(ordered, array)
    return ordered


def copy_planes(target: np.ndarray, source: np.ndarray) -> None:
    """Copy (x, y, z) to another order of memory, plane by plane: these stay in the cache, which whole arrays do not."""
    for row in range(target.shape[1]):
        target[:, row] = source[:, row]
