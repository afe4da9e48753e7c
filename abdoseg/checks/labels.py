"""Faults that a label map shows: values, classes, sides of the body, volumes of organs."""

import os
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from abdoseg.checks.faults import Fault, fault
from abdoseg.checks.limits import VOLUME_LIMITS_CM3
from abdoseg.files import CaseError
from abdoseg.label_maps import HIGHEST_ID, as_label_map, has_meaning
from abdoseg.labels import CLASS_IDS, MIRROR_PAIRS, NAMES

LIVER, SPLEEN = 1, 3
# Pairs of organs of which the first lies before, or above, the second: by 40 mm and more, or 18 mm and more, in nine
# anatomies that were measured. One pair alone may be a person's own build (a pelvic kidney, a huge spleen).
BEFORE = tuple((front, kidney) for front in (1, 4, 9, 11, 12) for kidney in (2, 13))
ABOVE = ((1, 2), (3, 13), (7, 2), (8, 13), (10, 2), (10, 13), (10, 4), (10, 12))
LEAST_PAIRS = 2
WHOLE_TOLERANCE = 1e-3  # scaled whole numbers miss their value by rounding
LEAST_SIDE_MM = 5.0  # by which organs must lie the wrong way round


class LabelTally:
    """What the checks need of a label map, added up slab by slab.

    Parameters
    ----------
    path : what errors name.
    shape : (x, y, z) of the whole volume.

    Attributes
    ----------
    counts : (15,) voxels of each class.
    at_edge : classes that touch one of the volume's six faces.
    value_fault : the first fault of a value, or None; the slabs that have one are not counted.
    """

    def __init__(self, path: str | os.PathLike, shape: tuple[int, int, int]) -> None:
        self.path, self.shape = path, shape
        self.counts = np.zeros(HIGHEST_ID + 1, np.int64)
        self.at_edge: set[int] = set()
        self.value_fault: Fault | None = None
        self._index_sums = np.zeros((3, HIGHEST_ID + 1))

    def add(self, start: int, slab: np.ndarray) -> None:
        """Add the slices from ``start`` on: (x, y, n) label values of any real type."""
        try:
            labels = as_label_map(whole_values(slab, self.path), self.path)
        except FractionError as error:
            self.value_fault = self.value_fault or Fault("label_fraction", str(self.path), str(error))
            return
        except CaseError as error:
            self.value_fault = self.value_fault or Fault("label_value", str(self.path), str(error))
            return
        flat = labels.ravel(order="F")
        places = np.flatnonzero(flat)
        values = flat[places]
        x, y, z = np.unravel_index(places, labels.shape, order="F")
        z = z + start
        drawn = np.bincount(values, minlength=HIGHEST_ID + 1)
        self.counts += drawn
        self.counts[0] += flat.size - places.size
        edge = np.zeros(places.size, bool)
        for axis, (indices, size) in enumerate(zip((x, y, z), self.shape, strict=True)):
            self._index_sums[axis] += np.bincount(values, indices, HIGHEST_ID + 1)
            edge |= (indices == 0) | (indices == size - 1)
        self.at_edge |= set(np.unique(values[edge]).tolist())

    @property
    def present(self) -> list[int]:
        """Ids of the classes that are drawn."""
        return [class_id for class_id in CLASS_IDS if self.counts[class_id]]

    def middles_mm(self, affine: np.ndarray) -> dict[int, np.ndarray]:
        """Give the middle of each class, (3,) mm, larger to the patient's right, front and head by the affine."""
        return {
            class_id: affine[:3, :3] @ (self._index_sums[:, class_id] / self.counts[class_id]) + affine[:3, 3]
            for class_id in self.present
        }

    def volumes_cm3(self, affine: np.ndarray) -> dict[int, float]:
        """Give the volume of each class that is drawn."""
        voxel_cm3 = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
        return {class_id: round(float(self.counts[class_id]) * voxel_cm3, 9) for class_id in self.present}


class FractionError(CaseError):
    """A label map with values between two classes."""


def whole_values(values: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    """Give label values of any real type as whole numbers; FractionError where one is not, but for rounding."""
    if values.dtype.kind != "f":
        return values
    whole = np.rint(values)
    wrong = ~(np.abs(values - whole) <= WHOLE_TOLERANCE)
    if wrong.any():
        raise FractionError(
            f"{path}: label values such as {values[wrong].flat[0]:g} are not whole numbers (voxels: {wrong.sum()}); "
            "label maps are resampled by nearest neighbor, never by interpolation."
        )
    return whole


def label_faults(
    path: str | os.PathLike, tally: LabelTally, affine: np.ndarray, annotated: Collection[int] | None = None
) -> list[Fault]:
    """Give the faults of a label map whose voxels have been added up.

    Parameters
    ----------
    path : what the sentences name.
    tally : of the whole label map.
    affine : (4, 4) stored voxel indices -> mm, RAS+.
    annotated : ids that somebody looked for, where that was declared.
    """
    if tally.value_fault:
        return [tally.value_fault]
    faults = []
    undeclared = [] if annotated is None else [class_id for class_id in tally.present if class_id not in annotated]
    if undeclared:
        what = f"holds {_named(undeclared)}, declared not annotated"
        remedy = "add it to the annotated classes, or leave it out of the data set's label map"
        faults.append(fault("unannotated_class", path, what, remedy))
    if not has_meaning(affine):
        return faults
    # A stray voxel says nothing of places.
    too_small = {class_id for class_id, volume in tally.volumes_cm3(affine).items() if _is_too_small(class_id, volume)}
    middles = {class_id: middle for class_id, middle in tally.middles_mm(affine).items() if class_id not in too_small}
    return faults + place_faults(path, middles, tally.at_edge) + volume_faults(path, tally, affine)


def place_faults(
    path: str | os.PathLike, middles_mm: Mapping[int, Sequence[float]], at_edge: Collection[int] = ()
) -> list[Fault]:
    """Tell by where organs lie whether the scan is mirrored, turned or upside down, or two sides are swapped.

    Liver and spleen tell which side is which, the kidneys where the back is, and again they, the adrenal glands and the
    esophagus where the head is. If those have changed places, the affine is wrong (or the patient has situs inversus);
    else a pair that has changed sides has swapped ids.

    Parameters
    ----------
    path : what the sentences name.
    middles_mm : middle of each class, (3,) mm, larger to the patient's right, front and head.
    at_edge : classes that the scan's edge cuts; where their middles are along the body says nothing.
    """

    def turned(right: int, left: int, axis: int = 0) -> bool:
        both = right in middles_mm and left in middles_mm
        return both and middles_mm[right][axis] < middles_mm[left][axis] - LEAST_SIDE_MM

    def all_turned(pairs: Sequence[tuple[int, int]], axis: int, without: Collection[int] = ()) -> list[tuple[int, int]]:
        there = [pair for pair in pairs if all(one in middles_mm and one not in without for one in pair)]
        return there if len(there) >= LEAST_PAIRS and all(turned(*pair, axis) for pair in there) else []

    told = ["the liver lies on the left of the spleen"] if turned(LIVER, SPLEEN) else []
    told += [f"the {NAMES[front]} lies behind the {NAMES[back]}" for front, back in all_turned(BEFORE, 1)[:1]]
    told += [f"the {NAMES[upper]} lies below the {NAMES[lower]}" for upper, lower in all_turned(ABOVE, 2, at_edge)[:1]]
    if told:
        remedy = "correct the affine (or the stored voxels), unless the patient has situs inversus"
        return [fault("mirrored", path, " and ".join(told), remedy)]
    swapped = [pair for pair in MIRROR_PAIRS if turned(*pair)]
    if not swapped:
        return []
    what = " and ".join(f"{NAMES[right]} lies on the left of the {NAMES[left]}" for right, left in swapped)
    if LIVER in middles_mm and SPLEEN in middles_mm:
        remedy = "liver and spleen are on their sides, so swap the two ids in the label"
    else:
        remedy = "swap the two ids in the label, or correct the scan's affine if it is mirrored"
    return [fault("sides_swapped", path, f"the {what}", remedy)]


def volume_faults(path: str | os.PathLike, tally: LabelTally, affine: np.ndarray) -> list[Fault]:
    """Give a fault for the organs whose volume cannot be believed (`VOLUME_LIMITS_CM3`)."""
    absurd = []
    for class_id, volume in tally.volumes_cm3(affine).items():
        limits = VOLUME_LIMITS_CM3[class_id]
        if volume > limits.highest or (_is_too_small(class_id, volume) and class_id not in tally.at_edge):
            absurd.append(
                f"{NAMES[class_id]} of {volume:.3g} cm3 ({limits.lowest:g} to {limits.highest:g} are believed)"
            )
    if not absurd:
        return []
    return [
        fault("organ_volume", path, " and ".join(absurd), "look for stray strokes, wrong ids or a wrong voxel size")
    ]


def _is_too_small(class_id: int, volume_cm3: float) -> bool:
    return volume_cm3 < VOLUME_LIMITS_CM3[class_id].lowest


def _named(class_ids: Collection[int]) -> str:
    return ", ".join(f"{NAMES[class_id]} ({class_id})" for class_id in class_ids)
