"""Connected components of a label map: keep the largest of each organ and every tumor, fill the holes in one class."""

from dataclasses import dataclass

import cc3d
import numpy as np
from scipy.ndimage import binary_dilation

from abdoseg.labels import TUMOR_ID
from abdoseg.transforms.roi import foreground_box


@dataclass(frozen=True)
class ComponentRules:
    """Which 26-connected components of a label map survive.

    An organ keeps its largest component, the tumor class keeps all. Components under the minimum are deleted, also
    when they are the only one. Defaults differ from paper A on purpose (papers-spec.md 7.2, items 1 and 2): its 2000
    mm^3 (1000 mm^3 on the coarse grid) delete normal adrenal glands and small gallbladders, and its largest-only rule
    deletes every further tumor.

    Parameters
    ----------
    organ_min_mm3 : smallest volume of an organ, mm^3.
    tumor_min_mm3 : smallest volume of a tumor focus, mm^3; 65 mm^3 is a sphere of 5 mm.
    tumor_largest_only : keep one tumor focus only, as the paper does.
    fill_holes : afterwards, background that one class encloses becomes that class, see `fill_holes`; no paper does.
    """

    organ_min_mm3: float = 0.0
    tumor_min_mm3: float = 65.0
    tumor_largest_only: bool = False
    fill_holes: bool = False


def keep_components(labels: np.ndarray, spacing, rules: ComponentRules) -> np.ndarray:
    """Delete the components that ``rules`` do not keep; they become background.

    One multi-label pass of cc3d and a look-up table; MONAI's ``KeepLargestConnectedComponent`` labels class by class
    and took 10 times as long on 129x512x512, and it knows no volumes.

    Parameters
    ----------
    labels : (x, y, z) uint8.
    spacing : (3,) mm of the grid that ``labels`` lies on, so that volumes are true.
    rules : what to keep. Of equally large components the first in memory order stays.

    Returns
    -------
    New (x, y, z) uint8 array.
    """
    kept = np.zeros_like(labels)
    box = foreground_box(labels)
    if box is None:
        return kept
    inside = np.ascontiguousarray(labels[box])
    components, count = cc3d.connected_components(inside, connectivity=26, return_N=True)
    flat = components.ravel()
    voxels = np.bincount(flat, minlength=count + 1)
    class_of = np.zeros(count + 1, dtype=labels.dtype)
    class_of[flat] = inside.ravel()
    volumes = voxels * float(np.prod(spacing))
    minimum = np.where(class_of == TUMOR_ID, rules.tumor_min_mm3, rules.organ_min_mm3)
    survives = volumes >= minimum
    for value in np.unique(class_of):
        if value == TUMOR_ID and not rules.tumor_largest_only:
            continue
        members = np.flatnonzero(class_of == value)
        survives[np.delete(members, voxels[members].argmax())] = False
    kept[box] = np.where(survives, class_of, 0).astype(labels.dtype)[components]
    return fill_holes(kept) if rules.fill_holes else kept


def fill_holes(labels: np.ndarray) -> np.ndarray:
    """Give the background that one class encloses to that class: an organ has no fat, air or bone within.

    A hole is a 6-connected component of the background that does not reach the edge of the volume. One with two classes
    around it is a gap between organs and stays. One pass of cc3d finds the holes of all classes; MONAI's ``FillHoles``
    goes class by class.

    Parameters
    ----------
    labels : (x, y, z) uint8.

    Returns
    -------
    New (x, y, z) uint8 array.
    """
    filled = labels.copy()
    box = foreground_box(labels)
    if box is None:
        return filled
    inside = np.pad(labels[box], 1)  # the outside is one component
    components, count = cc3d.connected_components(inside == 0, connectivity=6, return_N=True, binary_image=True)
    outside = components[0, 0, 0]
    boxes = cc3d.statistics(components)["bounding_boxes"]
    for number in range(1, count + 1):
        if number == outside:
            continue
        around = tuple(slice(side.start - 1, side.stop + 1) for side in boxes[number])
        hole = components[around] == number
        classes = np.unique(inside[around][binary_dilation(hole) & ~hole])
        if len(classes) == 1:
            inside[around][hole] = classes[0]
    filled[box] = inside[1:-1, 1:-1, 1:-1]
    return filled
