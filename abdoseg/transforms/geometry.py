"""What the affine of an image tells: spacing in mm, orientation, and the spacing after a resize."""

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor


def affine_of(image: MetaTensor, index: int = 0) -> np.ndarray:
    """Give the (4, 4) affine, voxel (x, y, z) to world (x, y, z) in mm, of an image or of one member of a batch.

    Parameters
    ----------
    image : MetaTensor whose affine is (4, 4), as under MONAI Label, or (B, 4, 4), as MONAI's collate makes it.
    index : which member of the batch; ignored for a (4, 4) affine.

    Raises
    ------
    TypeError
        If ``image`` is a plain tensor or array: its spacing is unknown.
    """
    if not isinstance(image, MetaTensor):
        raise TypeError(
            f"The spacing must come from a MetaTensor, whose affine tells it; got {type(image).__name__}. "
            "Load images with LoadImaged(image_only=True)."
        )
    affine = torch.as_tensor(image.affine).detach().cpu().double().numpy()
    return affine[index] if affine.ndim == 3 else affine


def spacing_of(image: MetaTensor, index: int = 0) -> np.ndarray:
    """Give the (3,) voxel spacing in mm along (x, y, z): the lengths of the affine's columns.

    Parameters
    ----------
    image, index : see `affine_of`.

    Raises
    ------
    TypeError
        If ``image`` is a plain tensor or array.
    ValueError
        If the affine gives a spacing that is not positive and finite.
    """
    spacing = np.linalg.norm(affine_of(image, index)[:3, :3], axis=0)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise ValueError(f"The affine gives the spacing {spacing.tolist()} mm; it must be positive along x, y and z.")
    return spacing


def require_ras(image: MetaTensor, index: int = 0) -> None:
    """Raise a ValueError unless the array axes of ``image`` run closest to right, anterior and superior."""
    axcodes = nib.aff2axcodes(affine_of(image, index))
    if axcodes != ("R", "A", "S"):
        found = "".join(code or "?" for code in axcodes)
        raise ValueError(f'The image is oriented {found}; it must be RAS: put Orientationd(axcodes="RAS") before.')


def file_name_of(image, index: int = 0) -> str:
    """Give the file that ``image`` was loaded from, for messages; ``"the image"`` where nothing is known."""
    meta = getattr(image, "meta", {})
    name = meta.get("filename_or_obj", "the image")
    return str(name if isinstance(name, str) else name[index])


def resized_spacing(spacing, shape, size) -> np.ndarray:
    """Give the (3,) spacing in mm of a grid made by resizing ``shape`` voxels to ``size`` voxels, all in (x, y, z).

    The outermost voxel centers coincide, so that n voxels resized to m lie (n - 1) / (m - 1) old voxels apart; where an
    axis has one voxel, the outer edges coincide: n / m.
    """
    spacing, shape, size = (np.asarray(values, dtype=float) for values in (spacing, shape, size))
    centers = (shape - 1) / np.maximum(size - 1, 1)
    return spacing * np.where((shape > 1) & (size > 1), centers, shape / size)


def with_affine(array: torch.Tensor, affine: np.ndarray, source: MetaTensor) -> MetaTensor:
    """Give what was made of ``source`` its affine; the metadata hold the file name alone beside it, so all collate."""
    return MetaTensor(array, affine=torch.as_tensor(affine), meta={"filename_or_obj": file_name_of(source)})


def empty_image(image: MetaTensor, affine: np.ndarray | None = None) -> nib.Nifti1Image:
    """Give a NIfTI image with the grid of a (1, x, y, z) MetaTensor and no memory of its own: a broadcast zero."""
    affine = affine_of(image) if affine is None else affine
    return nib.Nifti1Image(np.broadcast_to(np.uint8(0), image.shape[1:]), affine)
