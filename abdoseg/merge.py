"""The merge rule: a person's partial label and a teacher's pseudo label become one label map."""

from collections.abc import Collection

import numpy as np

from abdoseg.files import CaseError
from abdoseg.label_maps import as_label_map, count_voxels
from abdoseg.labels import BACKGROUND_ID, CLASS_IDS, NAMES, ORGAN_IDS, TUMOR_ID

PERSON, TEACHER = 1, 2


def merge_labels(
    weak: np.ndarray,
    pseudo: np.ndarray,
    policy: str = "fill_background",
    min_present_voxels: int = 1,
    annotated: Collection[int] = (),
) -> np.ndarray:
    """Merge the label that a person drew with the label that a teacher predicted.

    ``fill_background`` (paper A, section 2.2): of each organ that the person did not draw, the teacher's voxels fill
    the person's background. ``overwrite_pseudo`` (paper B's published notebook): starting from the teacher's label,
    each organ that the person drew is erased and replaced by the drawing; then the person's tumor is put on top.

    Under both policies a voxel that a person drew keeps its value, an organ that a person drew gets no voxel from the
    teacher, and a tumor is never taken from the teacher. So the merged labels agree; the policies part where the
    tumor is left out of paper B's organ target.

    Parameters
    ----------
    weak : (x, y, z) integers in 0..14; 0 is "absent" or "nobody drew it".
    pseudo : (x, y, z) integers in 0..14, same shape.
    policy : ``"fill_background"`` or ``"overwrite_pseudo"``.
    min_present_voxels : an organ counts as drawn from this many voxels in ``weak`` on; 1 is the papers' rule, more
        lets the teacher complete an organ of which only stray voxels are drawn.
    annotated : ids that the person looked for. Such an organ without any voxel in ``weak`` is absent, and the
        teacher's is not taken; the papers' rule, for which the label alone tells what was looked for, never meets one.

    Returns
    -------
    (x, y, z) uint8 array.

    Raises
    ------
    CaseError
        If the shapes differ, a value is not a whole number in 0..14, the policy is unknown or ``min_present_voxels``
        is below 1.
    """
    check_merge_settings(policy, min_present_voxels)
    weak, pseudo = _checked(weak, pseudo)
    counts = count_voxels(weak)
    kept_from_pseudo = np.zeros(TUMOR_ID + 1, dtype=np.uint8)
    for c in ORGAN_IDS:
        absent = c in annotated and counts[c] == 0
        kept_from_pseudo[c] = c if counts[c] < min_present_voxels and not absent else BACKGROUND_ID
    return POLICIES[policy](weak, kept_from_pseudo[pseudo])


def _fill_background(weak: np.ndarray, pseudo: np.ndarray) -> np.ndarray:
    return np.where(weak == BACKGROUND_ID, pseudo, weak)


def _overwrite_pseudo(weak: np.ndarray, pseudo: np.ndarray) -> np.ndarray:
    return np.where(weak == TUMOR_ID, weak, _organ_target(weak, pseudo))


def _organ_target(weak: np.ndarray, pseudo: np.ndarray) -> np.ndarray:
    """Paper B's label for its organ network, without tumor: a hole at the tumor only where the host organ is drawn."""
    return np.where((weak != BACKGROUND_ID) & (weak != TUMOR_ID), weak, pseudo)


POLICIES = {"fill_background": _fill_background, "overwrite_pseudo": _overwrite_pseudo}


def check_merge_settings(policy: str, min_present_voxels: int = 1) -> None:
    """Raise a CaseError that names the allowed values if a setting of :func:`merge_labels` is not one of them."""
    if policy not in POLICIES:
        raise CaseError(f"Unknown merge policy {policy!r}. Use {' or '.join(repr(name) for name in POLICIES)}.")
    if min_present_voxels < 1:
        raise CaseError(f"min_present_voxels is {min_present_voxels}; use 1 (the papers' rule) or more.")


def _checked(weak: np.ndarray, pseudo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    weak, pseudo = as_label_map(weak, "weak label"), as_label_map(pseudo, "pseudo label")
    if weak.shape != pseudo.shape:
        raise CaseError(f"The weak label has shape {weak.shape}, the pseudo label {pseudo.shape}; they must agree.")
    return weak, pseudo


def provenance(weak: np.ndarray, pseudo: np.ndarray, merged: np.ndarray) -> np.ndarray:
    """Say for each voxel of a merged label who drew it: 0 nobody, 1 a person, 2 the teacher.

    Parameters
    ----------
    weak, pseudo, merged : (x, y, z) label maps of one shape, the last from :func:`merge_labels`.

    Raises
    ------
    ValueError
        If a labelled voxel of ``merged`` is in neither source: then it was not merged from these two.
    """
    labelled = merged != BACKGROUND_ID
    person = labelled & (merged == weak)
    teacher = labelled & ~person
    if np.any(teacher & (merged != pseudo)):
        raise ValueError("The merged label holds a class where neither the weak nor the pseudo label has it.")
    return np.uint8(PERSON) * person + np.uint8(TEACHER) * teacher


def merge_summary(weak: np.ndarray, pseudo: np.ndarray, merged: np.ndarray) -> dict[str, dict]:
    """Count by class what the merge did.

    Parameters
    ----------
    weak, pseudo, merged : (x, y, z) uint8 label maps of one shape, the last from :func:`merge_labels`.

    Returns
    -------
    dict
        ``{class id as text: {"name", "kept", "filled", "discarded"}}`` for the classes 1..14, in voxels. Every voxel
        of a person is kept; every voxel of the teacher is either filled in or discarded (also where it says the same
        as the person).
    """
    kept, predicted = count_voxels(weak), count_voxels(pseudo)
    filled = count_voxels(merged) - kept
    return {
        str(c): {
            "name": NAMES[c],
            "kept": int(kept[c]),
            "filled": int(filled[c]),
            "discarded": int(predicted[c] - filled[c]),
        }
        for c in CLASS_IDS
    }
