"""A volume's voxels, slab by slab, from one pass through its file: memory stays flat however long the scan is."""

import gzip
import os
from collections.abc import Iterator

import nibabel as nib
import numpy as np

from abdoseg.files import CaseError, is_of_the_disk

SLAB_VOXELS = 1 << 22
PIECE_BYTES = 1 << 20


def read_slabs(
    path: str | os.PathLike, image: nib.Nifti1Image, slab_voxels: int = SLAB_VOXELS
) -> Iterator[tuple[int, np.ndarray]]:
    """Give ``(start, slab)`` along the last of three stored axes; the file is read to its end, checksum and all.

    Parameters
    ----------
    path : ``.nii`` or ``.nii.gz``.
    image : the opened file, of shape (x, y, z), or more axes of length 1.
    slab_voxels : most voxels of a slab (at least one slice).

    Yields
    ------
    start : index of the slab's first slice.
    slab : (x, y, n) in stored orientation, integers as they are stored, floating-point numbers where the header scales
        them.

    Raises
    ------
    CaseError
        If the file is broken or cut short.
    """
    x, y, z = image.shape[:3]
    dtype = image.header.get_data_dtype()
    slope, inter = image.dataobj.slope, image.dataobj.inter
    slices = max(1, slab_voxels // (x * y))
    needed = image.dataobj.offset + x * y * z * dtype.itemsize
    size = 0
    try:
        with (gzip.open if str(path).endswith(".gz") else open)(path, "rb") as file:
            size = len(file.read(image.dataobj.offset))
            for start in range(0, z, slices):
                count = min(slices, z - start)
                raw = file.read(x * y * count * dtype.itemsize)
                size += len(raw)
                if size < needed and len(raw) < x * y * count * dtype.itemsize:
                    raise CaseError(f"{path}: the file is cut short, it holds {size} of {needed} bytes.")
                slab = np.frombuffer(raw, dtype).reshape((x, y, count), order="F")
                if dtype.byteorder == ">":
                    slab = slab.astype(dtype.newbyteorder("="))
                yield start, slab if (slope, inter) == (1, 0) else slab * slope + inter
            while file.read(PIECE_BYTES):
                pass
    except CaseError:
        raise
    except MemoryError as error:
        raise CaseError(f"{path}: {x} x {y} voxels a slice need more memory than there is.") from error
    except Exception as error:  # a header that could be opened may still say what no voxels can be
        if is_of_the_disk(error):
            raise
        raise CaseError(f"{path}: the voxels cannot be read, the file is broken or cut short ({error}).") from error
