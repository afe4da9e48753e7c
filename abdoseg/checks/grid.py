"""Whether a label lies on the grid of its image, and what can be mended where it does not."""

import os

import nibabel as nib
import numpy as np
from nibabel import orientations

from abdoseg.checks.faults import Fault, fault
from abdoseg.checks.header import affine_faults, corner_shifts
from abdoseg.label_maps import grid_difference, has_meaning, turned_to

SAME_VOXELS = 0.01
# Under half a voxel, resampling by nearest neighbor would give every voxel of the image the label voxel of its index.
SAFE_VOXELS = 0.5
ROUNDED_DECIMALS = (2, 3)


def grid_fault(
    label_path: str | os.PathLike, label: nib.Nifti1Image, image_path: str | os.PathLike, image: nib.Nifti1Image
) -> Fault | None:
    """Give the fault of a label whose grid is not exactly that of its image; None where it is.

    Mended is what needs no resampling: an affine that differs by less than half a voxel or is the image's, rounded to
    two or three decimals; a label whose axes are in another order or direction; a qform that its own sform belies.
    """
    other_grid = f"a label lies on the grid of its image {image_path}"
    if not has_meaning(label.affine):
        return fault("label_grid", label_path, "has an affine without meaning", other_grid)
    place = "a copy on the image's grid takes its place"
    if label.shape == image.shape:
        shift = corner_shifts(label.affine, image.affine, image.shape).max()
        if shift <= SAME_VOXELS:
            odd, image_odd = _odd_kinds(label_path, label), _odd_kinds(image_path, image)
            if "pixdim" in odd or odd - image_odd:
                what = "its sform is its image's, but its qform or voxel size is not"
                return fault("label_header", label_path, what, place)
            return None
        if shift < SAFE_VOXELS or _is_rounded(label.affine, image.affine):
            what = f"its affine differs from its image's by rounding (up to {shift:.2g} voxels)"
            return fault("label_header", label_path, what, place)
    turn = orientations.io_orientation(np.linalg.inv(image.affine) @ label.affine)
    shape = tuple(label.shape[int(axis)] for axis in np.argsort(turn[:, 0]))
    affine = label.affine @ orientations.inv_ornt_aff(turn, label.shape)
    if shape == image.shape and corner_shifts(affine, image.affine, shape).max() < SAFE_VOXELS:
        what = f"is stored as {_axes(label)}, its image as {_axes(image)}"
        return fault("label_turned", label_path, what, place)
    return fault("label_grid", label_path, f"has {grid_difference(label, image)}", other_grid)


def on_grid(labels: np.ndarray, label: nib.Nifti1Image, image: nib.Nifti1Image) -> np.ndarray:
    """Give label values (x, y, z) with their axes in the order and direction of the image's; nothing is resampled."""
    return np.asanyarray(turned_to(nib.Nifti1Image(labels, label.affine), image).dataobj)


def _is_rounded(affine: np.ndarray, exact: np.ndarray) -> bool:
    return any(np.allclose(affine, np.round(exact, decimals), rtol=0, atol=1e-4) for decimals in ROUNDED_DECIMALS)


def _odd_kinds(path: str | os.PathLike, image: nib.Nifti1Image) -> set[str]:
    """Give the kinds of faults that a header has because what it says about its grid does not go together."""
    return {found.kind for found in affine_faults(path, image)} & {"sform_qform", "origin", "pixdim"}


def _axes(image: nib.Nifti1Image) -> str:
    return "".join(nib.aff2axcodes(image.affine))
