"""Anatomies: tissue maps made isotropic, with the depth of each voxel under its tissue's surface."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from scipy.ndimage import distance_transform_edt, find_objects

from abdoseg.files import CaseError
from abdoseg.labels import ORGAN_IDS
from abdoseg.synthesis.tissues import COUNT, FAT, OUTSIDE
from abdoseg.transforms.geometry import file_name_of, require_ras, spacing_of
from abdoseg.transforms.resample import resize_labels

DEPTH_STEP_MM = 0.25


@dataclass(frozen=True)
class Anatomy:
    """What CT scans are rendered from; positions in mm count from the center of the first voxel.

    Parameters
    ----------
    tissues : (x, y, z) uint8, RAS, ids of `abdoseg.synthesis.tissues`; without any organ, scans of it have no labels.
    depth : (x, y, z) uint8 in steps of ``DEPTH_STEP_MM``: of fat, how deep under the skin; outside the body, how far
        from it; of all else, how deep under the surface of its tissue.
    spacing : mm, the same along all axes.
    """

    tissues: np.ndarray
    depth: np.ndarray
    spacing: float

    @cached_property
    def boxes(self) -> dict[int, np.ndarray]:
        """Tissue id -> (2, 3) lowest and highest position in mm, of the tissues that are there."""
        slices = find_objects(self.tissues, COUNT)
        found = {number + 1: box for number, box in enumerate(slices) if box is not None}
        return {
            number: np.array([[side.start for side in box], [side.stop - 1 for side in box]]) * self.spacing
            for number, box in found.items()
        }

    @cached_property
    def centers(self) -> dict[int, np.ndarray]:
        """Organ id -> (3,) middle of its box in mm, of the organs that are there."""
        return {organ: box.mean(0) for organ, box in self.boxes.items() if organ in ORGAN_IDS}

    @cached_property
    def organs_box(self) -> np.ndarray:
        """(2, 3) lowest and highest position of any organ in mm; of the body, where there is no organ."""
        return _union([self.boxes[organ] for organ in self.centers]) if self.centers else self.body_box

    @cached_property
    def body_box(self) -> np.ndarray:
        """(2, 3) lowest and highest position of the body in mm."""
        return _union(list(self.boxes.values()))


def _union(boxes: list[np.ndarray]) -> np.ndarray:
    return np.stack([np.min([box[0] for box in boxes], 0), np.max([box[1] for box in boxes], 0)])


def make_anatomy(tissues: np.ndarray, spacing: float) -> Anatomy:
    """Make an anatomy of an isotropic tissue map.

    Parameters
    ----------
    tissues : (x, y, z) uint8, RAS.
    spacing : mm.
    """
    body = tissues != OUTSIDE
    depth = np.where(body, 0, _distance(~body, spacing))
    fat = tissues == FAT
    depth[fat] = _distance(body, spacing)[fat]
    other = body & ~fat
    depth[other] = _distance(_interior(tissues), spacing)[other] + np.float32(spacing)
    depth = np.clip(np.rint((depth - spacing / 2) / DEPTH_STEP_MM), 0, 255).astype(np.uint8)
    return Anatomy(tissues, depth, float(spacing))


def _distance(mask: np.ndarray, spacing: float) -> np.ndarray:
    """Distance in mm of the voxels of a mask to the nearest one outside; far where there is none."""
    if mask.all():
        return np.full(mask.shape, 1e3, np.float32)
    return distance_transform_edt(mask).astype(np.float32) * np.float32(spacing)


def _interior(tissues: np.ndarray) -> np.ndarray:
    """Voxels whose six neighbors are of the same tissue; beyond the map everything goes on."""
    interior = np.ones(tissues.shape, bool)
    for axis in range(3):
        here = [slice(None)] * 3
        there = [slice(None)] * 3
        here[axis], there[axis] = slice(None, -1), slice(1, None)
        same = tissues[tuple(here)] == tissues[tuple(there)]
        interior[tuple(here)] &= same
        interior[tuple(there)] &= same
    return interior


class PrepareAnatomyd(Transform):
    """Make an `Anatomy` of a loaded tissue map; nothing is random, so it can be cached.

    Parameters
    ----------
    key : key of a (1, x, y, z) MetaTensor in RAS with ids of `abdoseg.synthesis.tissues`.
    spacing : mm; the map is resampled to it class by class.
    anatomy_key : where the anatomy is written.

    Returns
    -------
    A dictionary with the anatomy alone.

    Raises
    ------
    CaseError
        If a value is no tissue, or nothing is there.
    """

    def __init__(self, key: str = "label", spacing: float = 2.0, anatomy_key: str = "anatomy") -> None:
        self.key = key
        self.spacing = float(spacing)
        self.anatomy_key = anatomy_key

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, Anatomy]:
        """Prepare one tissue map."""
        image = data[self.key]
        require_ras(image)
        values = torch.as_tensor(image).as_subclass(torch.Tensor)
        check_tissues(values.numpy(), file_name_of(image))
        size = [max(1, round(n * s / self.spacing)) for n, s in zip(values.shape[1:], spacing_of(image), strict=True)]
        tissues = resize_labels(values.to(torch.uint8), size, align_corners=False)[0].numpy()
        return {self.anatomy_key: make_anatomy(tissues, self.spacing)}


def check_tissues(values: np.ndarray, name: str) -> None:
    """Raise a CaseError unless all values are ids of tissues, and not all are 0."""
    found = np.unique(values)
    strange = [value for value in found.tolist() if value not in range(COUNT)]
    if strange:
        raise CaseError(f"{name}: has the value {strange[0]:g}; a tissue map holds ids from 0 to {COUNT - 1}.")
    if found.tolist() == [OUTSIDE]:
        raise CaseError(f"{name}: is empty; a tissue map has a body, ids from 1 to {COUNT - 1}.")
