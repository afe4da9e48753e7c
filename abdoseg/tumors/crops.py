"""Boxes around host organs, the same in training and in inference: where a tumor network looks."""

import math
from dataclasses import dataclass

import cc3d
import numpy as np

from abdoseg.labels import BACKGROUND_ID
from abdoseg.transforms.roi import Box
from abdoseg.tumors.hosts import REST, family_of, family_organs

UNITS = ("mm", "voxel")


@dataclass(frozen=True)
class CropRule:
    """How far a crop reaches beyond its organ.

    Paper B cuts one box in training and another in inference, both in voxels (papers-spec.md 3.3, and the bundle's
    ``faithful_train.yaml`` and ``faithful.yaml``). The default is one box for both: about its inference margins at the
    tumor networks' spacing of 0.8 x 0.8 x 2.5 mm, 20 x 20 x 5 voxels, but in mm, so that a crop means the same in every
    scan.

    Parameters
    ----------
    margin : (x, y, z) on either side of the organ; millimeters are rounded up to whole voxels.
    unit : of ``margin``: "mm" or "voxel".
    multiple : each side is lengthened to a multiple of this many voxels where the volume has room.

    Raises
    ------
    ValueError
        For a negative margin, an unknown unit or a multiple below 1.
    """

    margin: tuple[float, float, float] = (16.0, 16.0, 12.5)
    unit: str = "mm"
    multiple: int = 1

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"Unknown unit of a crop margin '{self.unit}'. Use one of {', '.join(map(repr, UNITS))}.")
        if len(self.margin) != 3 or min(self.margin) < 0:
            raise ValueError(f"The crop margin is {self.margin}; use three numbers (x, y, z), none below 0.")
        if self.multiple < 1:
            raise ValueError(f"The sides of a crop cannot be multiples of {self.multiple}; use 1 or more.")

    def margin_voxels(self, spacing) -> tuple[int, int, int]:
        """Give the margin in whole voxels (x, y, z) on a grid of ``spacing`` (3,) mm."""
        steps = spacing if self.unit == "mm" else (1, 1, 1)
        # An affine in float32 turns 16 mm / 0.8 mm into 20.000001 voxels; the small term keeps it at 20.
        return tuple(math.ceil(side / float(step) - 1e-3) for side, step in zip(self.margin, steps, strict=True))


def widen_box(box: Box, shape, spacing, rule: CropRule) -> Box:
    """Widen a box by a rule, within the volume.

    The margin is cut off at the volume's faces. Then each side grows to the next multiple of ``rule.multiple``, the
    smaller half of what is missing on the low side, and is shifted inside; a side never exceeds the volume's, multiple
    or not (paper B's code can start below 0 there).

    Parameters
    ----------
    box : three slices (x, y, z) of voxel indices within the volume.
    shape : (x, y, z) of the volume.
    spacing : (3,) mm.
    rule : the margin.
    """
    widened = []
    for side, margin, n in zip(box, rule.margin_voxels(spacing), shape, strict=True):
        start, stop = max(side.start - margin, 0), min(side.stop + margin, int(n))
        length = min(math.ceil((stop - start) / rule.multiple) * rule.multiple, int(n))
        start -= (length - (stop - start)) // 2
        start = min(max(start, 0), int(n) - length)
        widened.append(slice(start, start + length))
    return tuple(widened)


def host_boxes(
    labels: np.ndarray,
    family: str,
    spacing,
    rule: CropRule = CropRule(),
    foci_mask: np.ndarray | None = None,
) -> list[tuple[int, Box]]:
    """Give the boxes in which a family's tumors are looked for: one for each of its organs that the case has.

    Two kidneys have two boxes. `REST` has one box around all organs.

    Parameters
    ----------
    labels : (x, y, z) uint8, 0..14; tumor voxels count for no organ.
    family : a key of `FAMILIES`, or `REST`.
    spacing : (3,) mm.
    rule : the margin.
    foci_mask : (x, y, z) uint8 from `host_map`, or None. Paper B's training boxes hold, besides the organ, the tumors
        that belong to it: voxels of this mask join the box of the organ whose id they carry; in `REST`, tumors of all
        other hosts and of none (14) join.

    Returns
    -------
    ``(organ id, box)`` in the order of the family's ids; the id is 0 for `REST`. Empty without any such organ.

    Raises
    ------
    ValueError
        If the family is unknown or ``foci_mask`` is a plain 0/1 mask, which does not say whose tumor it is.
    """
    organs = family_organs(family)
    if foci_mask is not None and foci_mask.dtype == bool:
        raise ValueError("The foci mask is a 0/1 mask; use the map of host ids that host_map gives.")
    boxes = _boxes_by_value(labels)
    foci = {} if foci_mask is None else _boxes_by_value(foci_mask)
    if family == REST:
        around = [boxes[organ] for organ in organs if organ in boxes]
        around += [box for host, box in foci.items() if family_of(host) == REST]
        groups = [(BACKGROUND_ID, around)]
    else:
        groups = [(organ, [found[organ] for found in (boxes, foci) if organ in found]) for organ in organs]
    return [(organ, widen_box(_union(around), labels.shape, spacing, rule)) for organ, around in groups if around]


def _boxes_by_value(labels: np.ndarray) -> dict[int, Box]:
    """Give the box of each value but 0 in one pass over a uint8 volume."""
    found = cc3d.statistics(labels.astype(np.uint8, copy=False))
    return {
        value: tuple(slice(int(side.start), int(side.stop)) for side in box)
        for value, (count, box) in enumerate(zip(found["voxel_counts"], found["bounding_boxes"], strict=True))
        if value != BACKGROUND_ID and count
    }


def _union(boxes: list[Box]) -> Box:
    return tuple(
        slice(min(side.start for side in sides), max(side.stop for side in sides)) for sides in zip(*boxes, strict=True)
    )
