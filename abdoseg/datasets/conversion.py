"""Label maps of other data sets as ours: values or mask files mapped, sides told apart, unknown values refused."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from abdoseg.checks import whole_values
from abdoseg.datalist import case_id
from abdoseg.datasets.convention import LabelConvention
from abdoseg.datasets.sides import right_side
from abdoseg.files import CaseError
from abdoseg.label_maps import grid_difference, open_volume, read_label_map, read_voxels
from abdoseg.labels import BACKGROUND_ID, TUMOR_ID

UNKNOWN = 255
FIRST_PAIR = 200  # while a map is made, pairs not yet told apart have the values 200, 201, ...
SLAB = 16  # slices that are looked up at once


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
        one mask a structure, which may be read one by one. Where masks overlap the tumor stays, then a pair's, then the
        higher id; masks whose stem the convention does not name are left out.
    affine : (4, 4) voxel to world, RAS mm: the person's right has the greater x.
    convention : of the data set.
    name : what an error names, the file as a rule.

    Returns
    -------
    (x, y, z) uint8, ids 0 to 14.

    Raises
    ------
    CaseError
        If a value is not a whole number or one that the convention does not name, or there is no mask.
    """
    pairs = sorted({target for target in convention.mapping.values() if isinstance(target, tuple)})
    codes = {
        source: FIRST_PAIR + pairs.index(target) if isinstance(target, tuple) else target
        for source, target in convention.mapping.items()
    }
    if isinstance(volumes, np.ndarray):
        labels = _from_values(volumes, codes, name)
    else:
        labels = _from_masks(volumes, codes, name)
    for index, (right, left) in enumerate(pairs):
        both = labels == FIRST_PAIR + index
        labels[both] = left
        labels[right_side(both, affine, bridge=labels == TUMOR_ID)] = right
    return labels


def _from_values(values: np.ndarray, codes: dict, name: str | os.PathLike) -> np.ndarray:
    """Look every value up, slab by slab, so that the memory stays that of the label map."""
    if values.dtype.kind not in "biuf":
        raise CaseError(f"{name}: a label map holds whole numbers, not values of type {values.dtype}.")
    beyond = max(codes) + 1
    table = np.full(beyond + 1, UNKNOWN, dtype=np.uint8)
    table[BACKGROUND_ID] = BACKGROUND_ID
    for source, code in codes.items():
        table[source] = code
    labels = np.empty(values.shape, dtype=np.uint8, order="F")
    for start in range(0, values.shape[-1], SLAB):
        slab = values[..., start : start + SLAB]
        with np.errstate(invalid="ignore"):
            whole = slab.astype(np.int64)
        if (wrong := whole != slab).any():
            raise CaseError(f"{name}: label values are whole numbers, not {slab[wrong].flat[0]!s}.")
        found = table[np.where((whole < 0) | (whole > beyond), beyond, whole)]
        if (wrong := found == UNKNOWN).any():
            value = whole[wrong].flat[0]
            raise CaseError(f"{name}: unknown label value {value}; this data set has {_listed(codes)}.")
        labels[..., start : start + SLAB] = found
    return labels


def _from_masks(volumes: Iterable[tuple[str, np.ndarray]], codes: dict, name: str | os.PathLike) -> np.ndarray:
    """Lay the masks over each other: the tumor on top, then pairs that are not told apart yet, then by id."""
    labels = None
    for stem, mask in volumes:
        if stem not in codes:
            continue
        labels = np.zeros(mask.shape, dtype=np.uint8) if labels is None else labels
        drawn = mask != 0
        if codes[stem] != TUMOR_ID:
            drawn &= (labels < codes[stem]) & (labels != TUMOR_ID)
        labels[drawn] = codes[stem]
    if labels is None:
        raise CaseError(f"{name}: no mask of {_listed(codes)} among its files.")
    return labels


def _listed(codes: dict) -> str:
    return ", ".join(map(str, sorted(codes)))


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
        If a file is missing or broken, the masks differ in their grids, or a value is unknown or of a soft mask.
    """
    if isinstance(label, str | os.PathLike):
        if convention.is_identity:
            return read_label_map(label)
        image = open_volume(label)
        return convert_labels(read_voxels(image, label), image.affine, convention, label), image
    first = open_volume(label[0])
    return convert_labels(_masks(label, first), first.affine, convention, Path(label[0]).parent), first


def _masks(paths: Sequence[str | os.PathLike], first: nib.Nifti1Image) -> Iterator[tuple[str, np.ndarray]]:
    for path in paths:
        image = open_volume(path)
        if difference := grid_difference(image, first):
            raise CaseError(f"{path}: has {difference}; all masks of a case lie on one grid.")
        yield case_id(path), whole_values(read_voxels(image, path), path)
