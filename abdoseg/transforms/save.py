"""Writing of a predicted label map on the grid of its scan: same shape, affine and orientation."""

import logging
import os
from collections.abc import Hashable, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import SaveImaged

from abdoseg.datalist import case_id
from abdoseg.files import CaseError, write_label_map
from abdoseg.transforms.geometry import empty_image

logger = logging.getLogger(__name__)

# What a NIfTI header says of its grid beside the affine; MONAI's reader keeps it.
QFORM = ("pixdim", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
HEADER = ("sform_code", "qform_code", *QFORM)


class SaveLabeld(SaveImaged):
    """Write label maps as uint8 NIfTI beside each other: ``output_dir/ID.nii.gz``, whole or not at all.

    The ID is the dictionary's ``"id"``, as in a data list, or else that of the scan's file name.

    Comes after ``Invertd(keys="pred", transform="@preprocessing", orig_keys="image")``, which undoes the orientation.
    A subclass of ``SaveImaged``, because MONAI Label drops those. The stock one writes in place, rounds the affine
    through its own inverse and names files after the image (``ID_0000_trans.nii.gz``).

    Parameters
    ----------
    keys : (1, x, y, z) MetaTensors of class ids.
    output_dir : folder, made where missing.
    allow_missing_keys : pass over keys that are not there.

    Raises
    ------
    ValueError, CaseError
        When called, for a label map that is not (1, x, y, z), or whose shape is not that of the scan's file.
    """

    def __init__(
        self, keys: KeysCollection = "pred", output_dir: str | os.PathLike = "./", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(
            keys,
            output_dir=Path(output_dir),
            output_postfix="",
            output_dtype=np.uint8,
            separate_folder=False,
            print_log=False,
            allow_missing_keys=allow_missing_keys,
        )
        self.output_dir = Path(output_dir)

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        """Write each key and hand the dictionary on unchanged."""
        result = dict(data)
        for key in self.key_iterator(result):
            label = result[key]
            name = result.get("id") or case_id(label.meta["filename_or_obj"])
            target = self.output_dir / f"{name}.nii.gz"
            write_label_map(target, label_array(label), like=grid_of(label))
            logger.info("%s written.", target)
        return result


def label_array(label: torch.Tensor) -> np.ndarray:
    """Give the (x, y, z) uint8 array of a (1, x, y, z) label map; other shapes are a ValueError."""
    if label.ndim != 4 or label.shape[0] != 1:
        raise ValueError(f"The label map has the shape {tuple(label.shape)}; it must be (1, x, y, z).")
    return torch.as_tensor(label)[0].to(torch.uint8).cpu().numpy()


def grid_of(label: MetaTensor) -> nib.Nifti1Image:
    """Give an image with the grid of the scan that ``label`` was made from.

    The scan's own file, for its header's codes; where that is gone, an empty image with the original affine and what
    was loaded of the header; where that is no NIfTI file, or its affine is not the one that was loaded, without.
    """
    source = label.meta["filename_or_obj"]
    affine = torch.as_tensor(label.meta["original_affine"]).double().numpy()
    image = empty_image(label, affine)
    if not str(source).endswith((".nii", ".nii.gz")):
        return image
    if not Path(source).is_file():
        for field in HEADER:
            if field in label.meta:
                image.header[field] = np.asarray(label.meta[field])
        return image
    scan = nib.load(source)
    if scan.shape[:3] != image.shape:
        raise CaseError(
            f"{source}: has the shape {scan.shape[:3]}, its label map {image.shape}; "
            "undo the orientation with Invertd before saving."
        )
    return scan if np.allclose(scan.affine, affine, atol=1e-5) else image
