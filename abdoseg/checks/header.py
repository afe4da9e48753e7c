"""Faults that a NIfTI header shows: dimensions, affine, its two forms, voxel size."""

import os

import nibabel as nib
import numpy as np

from abdoseg.checks.faults import Fault, fault
from abdoseg.files import CaseError
from abdoseg.label_maps import LONGEST_M, has_meaning, open_image

SMALLEST_SIDE_MM, LARGEST_SIDE_MM = 0.1, 20.0
# Between two voxel axes, 0.6 degrees: header rounding stays below, the least gantry tilt is above.
LARGEST_COSINE = 0.01
FORM_TOLERANCE_VOXELS = 0.5


def open_checked(path: str | os.PathLike) -> tuple[nib.Nifti1Image | None, list[Fault]]:
    """Open a NIfTI file without reading its voxels; give it as one volume (x, y, z), or None, and its faults."""
    try:
        image = open_image(path)
    except CaseError as error:
        return None, [Fault("unreadable", str(path), str(error))]
    found = dimension_fault(path, image.shape)
    if found and found.kind != "trailing_axis":
        return None, [found]
    if (dtype := image.get_data_dtype()).kind not in "iuf":
        return None, [fault("unreadable", path, f"holds values of type {dtype}", "give one number a voxel")]
    if not found:
        return image, []
    if not has_meaning(image.affine):
        return None, [found, *affine_faults(path, image)]
    volume = image.dataobj.reshape(image.shape[:3])
    return type(image)(volume, image.affine, image.header), [found]


def dimension_fault(path: str | os.PathLike, shape: tuple[int, ...]) -> Fault | None:
    """Give the fault of a file that does not hold one volume (x, y, z) of more than one slice."""
    if len(shape) > 3 and set(shape[3:]) == {1} and min(shape[:3]) > 1:
        return fault("trailing_axis", path, f"has shape {shape}", f"a copy of shape {shape[:3]} takes its place")
    if len(shape) != 3 or 0 in shape:
        remedy = "give one volume with three dimensions (x, y, z); a series in time is split into its volumes"
        return fault("dimensions", path, f"has shape {shape}", remedy)
    if 1 in shape:
        return fault("one_slice", path, f"has shape {shape}, one slice", "give the whole volume")
    return None


def affine_faults(path: str | os.PathLike, image: nib.Nifti1Image) -> list[Fault]:
    """Give the faults of an image's affine.

    A left-handed affine (stored as LAS, say) is no fault: NIfTI allows it, and every reader of this project turns scans
    by their affine. One that is wrong shows by the organs' sides, or by a qform that says otherwise.
    """
    affine = image.affine
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if not has_meaning(affine):
        remedy = "write a header with the scan's voxel size and orientation"
        return [fault("affine", path, f"its affine has no meaning (voxel sides {_mm(sides)})", remedy)]
    faults = []
    axes = affine[:3, :3] / sides
    cosine = max(abs(axes[:, a] @ axes[:, b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    if cosine > LARGEST_COSINE:
        tilt = np.degrees(np.arcsin(min(cosine, 1)))
        what = f"its voxel axes are {tilt:.1f} degrees off right angles"
        faults.append(fault("sheared", path, what, "resample the scan to a grid with right angles, gantry tilt undone"))
    longest = (sides * image.shape[:3]).max() / 1000
    remedy = f"check the header's units; {SMALLEST_SIDE_MM:g} to {LARGEST_SIDE_MM:g} mm are usual"
    if longest > LONGEST_M:
        what = f"by its header it is {longest:.3g} m long, its voxel sides {_mm(sides)}"
        faults.append(fault("too_long", path, what, remedy))
    elif not SMALLEST_SIDE_MM <= sides.min() <= sides.max() <= LARGEST_SIDE_MM:
        faults.append(fault("spacing", path, f"its voxel sides are {_mm(sides)}", remedy))
    return faults + _form_faults(path, image)


def _form_faults(path: str | os.PathLike, image: nib.Nifti1Image) -> list[Fault]:
    codes = int(image.header["sform_code"]), int(image.header["qform_code"])
    if not any(codes):
        remedy = "write one; without it nobody can tell left from right"
        return [fault("no_orientation", path, "its header has neither sform nor qform", remedy)]
    return (_disagreement(path, image) if all(codes) else []) or _pixdim_faults(path, image)


def _pixdim_faults(path: str | os.PathLike, image: nib.Nifti1Image) -> list[Fault]:
    """Find a header that MONAI's reader changes: then it takes the qform, even one that is declared unknown."""
    written, sides = np.array(image.header.get_zooms()[:3]), np.linalg.norm(image.affine[:3, :3], axis=0)
    if np.allclose(written, sides):
        return []
    what = f"its header says voxels of {_mm(written)}, its affine {_mm(sides)}, and MONAI would not take the affine"
    return [fault("pixdim", path, what, "a copy whose header agrees with its affine takes its place")]


def _disagreement(path: str | os.PathLike, image: nib.Nifti1Image) -> list[Fault]:
    try:
        sform, qform = image.get_sform(), image.get_qform()
        if not np.isfinite(qform).all():
            raise ValueError("it is not finite")
    except (ValueError, np.linalg.LinAlgError, nib.spatialimages.HeaderDataError) as error:
        return [fault("sform_qform", path, f"its qform cannot be read ({error})", "write the qform anew")]
    moved = qform.copy()
    moved[:3, 3] = sform[:3, 3]
    shift = corner_shifts(moved, sform, image.shape[:3]).max()
    if not shift <= FORM_TOLERANCE_VOXELS:
        seen = " and ".join("".join(map(str, nib.aff2axcodes(form))) for form in (sform, qform))
        what = f"its sform and qform disagree by up to {shift:.3g} voxels (they say {seen})"
        return [fault("sform_qform", path, what, "find out which is right and write it as both")]
    distance = np.linalg.norm(sform[:3, 3] - qform[:3, 3])
    if distance > FORM_TOLERANCE_VOXELS * np.linalg.norm(sform[:3, :3], axis=0).min():
        remedy = "write one origin; here the sform counts"
        return [fault("origin", path, f"its sform and qform have origins {distance:.3g} mm apart", remedy)]
    return []


def with_one_affine(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """Give an image whose sform, qform and voxel size all say what its affine says; the voxels are not read."""
    mended = type(image)(image.dataobj, image.affine, image.header)
    sform_code, qform_code = int(image.header["sform_code"]), int(image.header["qform_code"])
    mended.set_qform(image.affine, code=qform_code)
    mended.set_sform(image.affine, code=sform_code or 1)
    return mended


def corner_shifts(affine: np.ndarray, reference: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Distances of a volume's corners under two affines, along each axis, in voxels of the reference: (8, 3)."""
    corners = np.array([[*((np.array(shape) - 1) * corner), 1] for corner in np.ndindex(2, 2, 2)], dtype=float).T
    return np.abs((np.linalg.inv(reference) @ affine @ corners - corners)[:3].T)


def _mm(sides: np.ndarray) -> str:
    return " x ".join(f"{side:.4g}" for side in sides) + " mm"
