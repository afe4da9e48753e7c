"""Tumor foci and their host organs: which organ a tumor belongs to, and which family's network looks for it."""

from dataclasses import dataclass

import cc3d
import numpy as np

from abdoseg.files import CaseError
from abdoseg.label_maps import count_voxels
from abdoseg.labels import BACKGROUND_ID, ORGAN_IDS, TUMOR_ID
from abdoseg.transforms.roi import Box, foreground_box
from abdoseg.tumors.components import connected_foci

# The hosts that have a tumor network of their own in paper B's inference script (papers-spec.md 3.1 and 3.3).
FAMILIES: dict[str, tuple[int, ...]] = {"liver": (1,), "pancreas": (4,), "kidneys": (2, 13)}
REST = "rest"
EVERY_FAMILY = (*FAMILIES, REST)
NO_HOST = 0


class TooManyFoci(CaseError):  # noqa: N818 (named by its rule)
    """A case with more tumor foci than the rule allows; paper B leaves such a case out of tumor training."""


@dataclass(frozen=True)
class TumorFocus:
    """One 26-connected component of the tumor class.

    Parameters
    ----------
    index : its value in the component map.
    voxels : its size.
    box : three slices (x, y, z), the smallest box that holds it.
    host : id of the organ that it belongs to, 1..13, or 0 for none.
    """

    index: int
    voxels: int
    box: Box
    host: int


def family_of(organ: int) -> str:
    """Give the family of a host organ: a key of `FAMILIES`, or `REST` for any other organ and for 0 (no host)."""
    return next((family for family, organs in FAMILIES.items() if organ in organs), REST)


def family_organs(family: str) -> tuple[int, ...]:
    """Give the organ ids around which a family's tumors are looked for; for `REST` all thirteen.

    Raises
    ------
    ValueError
        If the family is unknown.
    """
    if family == REST:
        return ORGAN_IDS
    if family not in FAMILIES:
        raise ValueError(f"Unknown family '{family}'. Use one of {', '.join(map(repr, EVERY_FAMILY))}.")
    return FAMILIES[family]


def most_frequent_organ(labels: np.ndarray) -> int:
    """Give the organ id, 1..13, with most voxels in a label map; the lowest of equals; 0 where there is no organ."""
    counts = count_voxels(labels)
    counts[[BACKGROUND_ID, TUMOR_ID]] = 0
    return int(counts.argmax()) if counts.any() else NO_HOST


def host_in_box(labels: np.ndarray, box: Box, faithful_box: bool = False) -> int:
    """Give the organ with most voxels in a tumor's bounding box, or 0; tumor and background are left aside.

    A small tumor may fill its box to the last voxel, above all a tumor of one voxel. Then, and only then, the voxels
    next to the box count.

    Parameters
    ----------
    labels : (x, y, z) uint8, 0..14.
    box : three slices (x, y, z), the smallest box that holds the tumor.
    faithful_box : count as paper B's notebook does, which takes the inclusive maximum for the exclusive end: without
        the last row, column and slice, and without a second look. A tumor of one slice then has no host.
    """
    if faithful_box:
        return most_frequent_organ(labels[tuple(slice(side.start, side.stop - 1) for side in box)])
    host = most_frequent_organ(labels[box])
    if host == NO_HOST:
        host = most_frequent_organ(labels[tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)])
    return host


def tumor_foci(
    labels: np.ndarray, max_foci: int | None = 6, faithful_box: bool = False
) -> tuple[np.ndarray, list[TumorFocus]]:
    """Find the tumor foci of a case and the host organ of each, as paper B's notebook does (papers-spec.md 3.3).

    The host is the organ with most voxels in the focus's bounding box, see `host_in_box`.

    Parameters
    ----------
    labels : (x, y, z) uint8, 0..14.
    max_foci : more 26-connected foci than this are an error: paper B, with 6, takes such a case for an invalid one
        (such as lung metastases); None: any number.
    faithful_box : see `host_in_box`.

    Returns
    -------
    components : (x, y, z) unsigned integers: the ``index`` of the focus that a voxel belongs to, 0 elsewhere.
    foci : one entry a focus, index 1, 2, ...

    Raises
    ------
    TooManyFoci
        If there are more than ``max_foci``.
    """
    tumor = labels == TUMOR_ID
    box = foreground_box(tumor)
    if box is None:
        return np.zeros(labels.shape, dtype=np.uint16), []
    inside, count = connected_foci(tumor[box])
    if max_foci is not None and count > max_foci:
        raise TooManyFoci(f"The label map has {count} tumor foci; at most {max_foci} are taken for host assignment.")
    found, foci = cc3d.statistics(inside), []
    for index in range(1, count + 1):
        # NumPy integers in a slice are a trap for whoever writes them to JSON.
        own = tuple(
            slice(int(part.start) + whole.start, int(part.stop) + whole.start)
            for part, whole in zip(found["bounding_boxes"][index], box, strict=True)
        )
        host = host_in_box(labels, own, faithful_box)
        foci.append(TumorFocus(index, int(found["voxel_counts"][index]), own, host))
    components = np.zeros_like(labels, dtype=inside.dtype)
    components[box] = inside
    return components, foci


def host_map(labels: np.ndarray) -> np.ndarray:
    """Give each tumor voxel the id of its focus's host organ, however many foci there are.

    Parameters
    ----------
    labels : (x, y, z) uint8, 0..14.

    Returns
    -------
    (x, y, z) uint8: 0 outside tumors, the host organ's id (1..13) in a tumor, 14 in a tumor without host.
    """
    components, foci = tumor_foci(labels, max_foci=None)
    hosts = np.zeros_like(labels, dtype=np.uint8)
    for focus in foci:
        own = components[focus.box] == focus.index
        hosts[focus.box][own] = TUMOR_ID if focus.host == NO_HOST else focus.host
    return hosts
