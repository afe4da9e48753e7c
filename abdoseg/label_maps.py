"""Label maps: values checked, files opened with one sentence for every fault, grids compared, voxels counted."""

import os

import nibabel as nib
import numpy as np

from abdoseg.files import CaseError, is_file, is_of_the_disk
from abdoseg.labels import CLASS_IDS, NAMES
from abdoseg.nifti import stored_voxels

HIGHEST_ID = max(CLASS_IDS)
# A corner of one volume may lie this many voxels (of the smallest spacing) from the other's: header rounding, no more.
GRID_TOLERANCE_VOXELS = 0.1
# Deflate packs at best this many bytes into one (zlib.net/zlib_tech.html).
MOST_PACKED = 1032
LEAST_VOLUME = 1e-6  # of a voxel, in that of a box with the same sides
# Far beyond any scanner's table: what is longer has a broken header, and its windows at a fixed spacing never end.
LONGEST_M = 10.0


def as_label_map(values: np.ndarray, name: str | os.PathLike = "label map") -> np.ndarray:
    """Give ``values`` as uint8 (uint8 itself, not a copy) after checking that every one is a known class.

    Parameters
    ----------
    values : numbers of any real type; floating-point whole numbers are taken as they are.
    name : what an error names, the file as a rule.

    Raises
    ------
    CaseError
        If a value is not a whole number from 0 (background) to 14 (tumor).
    """
    values = np.asarray(values)
    if values.dtype.kind not in "biuf":
        raise CaseError(f"{name}: a label map holds whole numbers, not values of type {values.dtype}.")
    if values.dtype == np.uint8:
        labels, wrong = values, values > HIGHEST_ID
    else:
        with np.errstate(invalid="ignore"):
            labels = values.astype(np.uint8)
        wrong = (labels > HIGHEST_ID) | (labels != values)
    if wrong.any():
        raise CaseError(
            f"{name}: unknown label value {values[wrong].flat[0]!s}; "
            f"label values are whole numbers from 0 (background) to {HIGHEST_ID} ({NAMES[HIGHEST_ID]})."
        )
    return labels


def open_image(path: str | os.PathLike) -> nib.Nifti1Image:
    """Open a NIfTI file of any shape without reading its voxels, and without mapping it into memory.

    A mapped file that is cut short while it is read would kill the process.

    Raises
    ------
    CaseError
        If the file is missing or no plain file, is no NIfTI file, or is too small for what its header declares.
    """
    if not is_file(path):
        what = "is no plain file" if os.path.exists(path) else "there is no such file"  # a pipe would never end
        raise CaseError(f"{path}: {what}.")
    try:
        size = os.path.getsize(path)
        image = nib.load(path, mmap=False)
    except Exception as error:  # nibabel has many words for a broken header
        if is_of_the_disk(error):
            raise
        raise CaseError(f"{path}: cannot be read ({_words(error)}); it must be an intact NIfTI file.") from error
    if not isinstance(image, nib.Nifti1Image):
        raise CaseError(f"{path}: a {type(image).__name__} file; use NIfTI (.nii or .nii.gz).")
    declared = int(np.prod(image.shape, dtype=object)) * image.get_data_dtype().itemsize
    packed = not str(path).lower().endswith(".nii")
    if min(image.shape, default=0) < 0 or declared > size * (MOST_PACKED if packed else 1):
        raise CaseError(
            f"{path}: its header declares the shape {image.shape}, more than a file of {size} bytes can hold; "
            "the header is broken, or the file is cut short."
        )
    return image


def _words(error: Exception) -> str:
    """What an error says, on one line; its kind where it says nothing."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def open_volume(path: str | os.PathLike) -> nib.Nifti1Image:
    """Open a three-dimensional NIfTI file without reading its voxels.

    Raises
    ------
    CaseError
        See `open_image`; or if the file does not hold one volume (x, y, z).
    """
    image = open_image(path)
    if len(image.shape) != 3 or 0 in image.shape:
        raise CaseError(f"{path}: has shape {image.shape}; one volume with three dimensions (x, y, z) is needed.")
    return image


def read_voxels(image: nib.Nifti1Image, path: str | os.PathLike) -> np.ndarray:
    """Read the voxels of an opened volume, (x, y, z) in the type they are stored in.

    Raises
    ------
    CaseError
        If the file ends too early, its compression is broken, or it holds more than there is memory for; the sentence
        names ``path``.
    """
    try:
        return stored_voxels(image, path)
    except MemoryError as error:
        raise CaseError(f"{path}: a volume of shape {image.shape} needs more memory than there is.") from error
    except Exception as error:  # a header that could be opened may still say what no voxels can be
        if is_of_the_disk(error):
            raise
        raise CaseError(
            f"{path}: the voxels cannot be read, the file is broken or cut short ({_words(error)})."
        ) from error


def read_label_map(path: str | os.PathLike) -> tuple[np.ndarray, nib.Nifti1Image]:
    """Read a label map as uint8 (x, y, z) in its stored orientation, together with its image (grid and header).

    Raises
    ------
    CaseError
        If the file is missing, broken or cut short, not three-dimensional, or holds an unknown label value.
    """
    image = open_volume(path)
    return as_label_map(read_voxels(image, path), path), image


def has_meaning(affine: np.ndarray) -> bool:
    """Whether an affine (4, 4) is one of a volume: finite, its three axes of some length and not in one plane."""
    if not np.isfinite(affine).all():
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        sides = np.linalg.norm(affine[:3, :3], axis=0)
        return bool(abs(np.linalg.det(affine[:3, :3])) > LEAST_VOLUME * sides.prod())


def grid_difference(volume: nib.Nifti1Image, reference: nib.Nifti1Image) -> str | None:
    """Say in a few words how the grid of a volume differs from that of a reference; None when they agree.

    Grids agree when the shapes are equal and every corner lies within a tenth of the smallest voxel side.
    """
    if volume.shape[:3] != reference.shape[:3]:
        return f"shape {volume.shape[:3]} instead of {reference.shape[:3]}"
    steps = np.array(reference.shape[:3]) - 1
    corners = np.array([[*(steps * corner), 1] for corner in np.ndindex(2, 2, 2)], dtype=float)
    shifts = np.linalg.norm(((volume.affine - reference.affine) @ corners.T)[:3], axis=0)
    spacing = np.linalg.norm(reference.affine[:3, :3], axis=0)
    if not shifts.max() <= GRID_TOLERANCE_VOXELS * spacing.min():
        return f"another affine (a corner lies {shifts.max():.3g} mm away)"
    return None


def turned_to(volume: nib.Nifti1Image, reference: nib.Nifti1Image) -> nib.Nifti1Image:
    """Give a volume with its axes in the order and direction of a reference's; nothing is resampled.

    Whether the grids then agree, `grid_difference` tells.
    """
    to_reference = np.linalg.inv(reference.affine) @ volume.affine
    return volume.as_reoriented(nib.orientations.io_orientation(to_reference))


def count_voxels(labels: np.ndarray) -> np.ndarray:
    """Count the voxels of each class: int64 array of length 15, index = class id, 0 = background.

    Parameters
    ----------
    labels : (x, y, z) uint8 label map, every value in 0..14.
    """
    counts = np.zeros(HIGHEST_ID + 1, dtype=np.int64)
    flat = labels.ravel(order="K")
    # Piece by piece, because bincount makes an eight times larger copy of what it is given.
    for start in range(0, flat.size, 1 << 20):
        counts += np.bincount(flat[start : start + (1 << 20)], minlength=HIGHEST_ID + 1)
    return counts
