"""A DICOM series as one volume in Hounsfield units."""

from pathlib import Path

import nibabel as nib
import numpy as np

from abdoseg.dicom.series import Series, require_pydicom
from abdoseg.dicom.stack import stack_slices
from abdoseg.files import CaseError, first_line


def read_volume(series: Series) -> nib.Nifti1Image:
    """Read the voxels of an axial CT series.

    Every slice has its own rescale slope and intercept. Nothing is resampled.

    Returns
    -------
    (columns, rows, slices) in HU, int16 where that holds them, else int32, or float32 where a slope or intercept is no
    whole number; the affine is that of `stack_slices`, to RAS world in mm.

    Raises
    ------
    CaseError
        If the slices make no regular grid, or a file cannot be decoded, is broken or does not say what HU it holds.
    """
    slices, affine = stack_slices(series)
    planes = [read_plane(part.path, part.shape) for part in slices]
    kinds = {plane.dtype for plane in planes}
    kind = np.float32 if np.dtype(np.float32) in kinds else max(kinds, key=lambda dtype: dtype.itemsize)
    volume = np.empty((*planes[0].shape, len(planes)), dtype=kind, order="F")
    for index, plane in enumerate(planes):
        volume[..., index] = plane
    return as_image(volume, affine)


def grid_of(series: Series) -> nib.Nifti1Image:
    """Give the grid of `read_volume` without reading a voxel: zeros (columns, rows, slices), uint8, read-only."""
    slices, affine = stack_slices(series)
    return as_image(np.broadcast_to(np.uint8(0), (*slices[0].shape[::-1], len(slices))), affine)


def as_image(volume: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """An image in mm whose orientation stands in both forms of the header."""
    image = nib.Nifti1Image(volume, affine)
    # Readers that know right angles alone, such as 3D Slicer's, take this form where rounding has bent the affine.
    image.set_qform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    return image


def read_plane(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """One slice in HU, (columns, rows); CaseError if it cannot be read."""
    pydicom = require_pydicom()
    try:
        dataset = pydicom.dcmread(path)
    except Exception as error:
        raise CaseError(f"{path}: the DICOM file is broken or cut short ({first_line(error)}).") from error
    _check_syntax(path, dataset)
    try:
        slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
    except (AttributeError, TypeError, ValueError) as error:
        raise CaseError(f"{path}: RescaleSlope or RescaleIntercept is missing, so that its HU are unknown.") from error
    try:
        stored = dataset.pixel_array
    except Exception as error:
        raise CaseError(f"{path}: the voxels cannot be read ({first_line(error)}); send the file anew.") from error
    if stored.shape != shape:
        raise CaseError(
            f"{path}: holds an array of {stored.shape}; one gray slice of {shape} (rows, columns) is needed."
        )
    if not (slope.is_integer() and intercept.is_integer()):
        return (stored.T * slope + intercept).astype(np.float32)
    units = stored.T.astype(np.int64) * int(slope) + int(intercept)
    kind = np.int16 if np.iinfo(np.int16).min <= units.min() and units.max() <= np.iinfo(np.int16).max else np.int32
    return units.astype(kind)


def _check_syntax(path: Path, dataset) -> None:
    """Refuse a compression that no installed library can undo, and name what to install."""
    from pydicom.pixels import get_decoder

    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise CaseError(
            f"{path}: does not say how its voxels are encoded (TransferSyntaxUID is missing); send it anew."
        )
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise CaseError(
            f"{path}: is encoded as {syntax.name}; send it uncompressed (Explicit VR Little Endian)."
        ) from error
    if not decoder.is_available:
        needs = [need.split(" - requires ")[-1] for need in decoder.missing_dependencies]
        choices = " or ".join(need.replace("gdcm", "python-gdcm") for need in needs)
        raise CaseError(
            f"{path}: is compressed as {syntax.name}, which pydicom reads with {choices}; "
            "install that, or send it uncompressed."
        )
