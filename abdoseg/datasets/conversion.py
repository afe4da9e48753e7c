"""Label maps of other data sets as ours: values or mask files mapped, sides told apart, unknown values refused."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from abdoseg.datasets.convention import LabelConvention


def convert_labels(
    volumes: np.ndarray | Iterable[tuple[str, np.ndarray]],
    affine: np.ndarray,
    convention: LabelConvention,
    name: str | os.PathLike = "label map",
) -> np.ndarray:
    """Give a data set's labels as a label map of ours.

    Parameters
    ----------
    volumes : one (x, y, z) label map of whole numbers of any real type, in any orientation; or pairs (stem, mask) of
        one mask a structure, which may be read one by one. Of overlapping masks the higher id stays, so that a tumor
        lies over its organ; masks whose stem the convention does not name are left out.
    affine : (4, 4) voxel to world, RAS mm: the person's right has the greater x.
    convention : of the data set.
    name : what an error names, the file as a rule.

    Returns
    -------
    (x, y, z) uint8, ids 0 to 14.

    Raises
    ------
    CaseError
        If a value is not a whole number or one that the convention does not name.
    """
    raise NotImplementedError


def read_labels(
    label: str | os.PathLike | Sequence[str | os.PathLike], convention: LabelConvention
) -> tuple[np.ndarray, nib.Nifti1Image]:
    """Read a case's labels, from one label map or from one mask file a structure, as a label map of ours.

    Parameters
    ----------
    label : a NIfTI file, or a list of mask files on one grid, named as the convention's stems.
    convention : of the data set.

    Returns
    -------
    labels : (x, y, z) uint8 in the stored orientation.
    image : the (first) file's image, for its grid and header.

    Raises
    ------
    CaseError
        If a file is missing or broken, the masks differ in their grids, or a value is unknown.
    """
    raise NotImplementedError(Path)
