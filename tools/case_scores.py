"""All scores of one case, from the files of its prediction and its reference."""

import os
from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np

from abdoseg.files import CaseError
from abdoseg.label_maps import grid_difference, read_label_map
from abdoseg.labels import CLASS_IDS, NAMES, TUBULAR_IDS, TUMOR_ID
from abdoseg.metrics import case_presence, flare_scores, strict_scores, to_ras
from abdoseg.metrics.flare import Box, single_slice_tubes
from abdoseg.metrics.strict import MM3_PER_ML

# What `score_case` imports beside this module's own imports.
HEAVY = ("abdoseg.metrics.hosts", "abdoseg.metrics.lesions")


def score_case(
    prediction: str | os.PathLike,
    reference: str | os.PathLike,
    class_ids: Iterable[int] = CLASS_IDS,
    annotated: Iterable[int] | None = None,
) -> dict:
    """Score one prediction file against its reference file.

    Both are turned to RAS first, so that tubular organs are cut along the body however a scan is stored. The official
    script, which takes the third axis as it is stored, does the same where that goes up (RAS, LPS, LAS, ...); a note
    names the other scans. Voxel sizes are those of the reference's header for the official scores, as in the script.

    Parameters
    ----------
    prediction, reference : label maps on one grid.
    class_ids : classes to score.
    annotated : classes that somebody looked for, for the strict scores; without them there are none.

    Returns
    -------
    dict
        ``"scores"``: ``{class name: {"dsc", "nsd", "present"}}``, official; ``"tumor_by_host"``: see
        `score_tumors_by_host`, None where the tumor is not scored; ``"notes"``: sentences on what the official script
        would not have scored, or otherwise than meant; ``"strict"``: ``{class name: see strict_scores}`` or None;
        ``"lesions"``: see `match_lesions`, None without strict scores or where nobody looked for tumors.

    Raises
    ------
    CaseError
        If a file is missing or broken, holds an unknown label value, or the two grids differ.
    """
    predicted_labels, true_labels, image = _read_pair(prediction, reference)
    predicted_labels, _ = to_ras(predicted_labels, image.affine)
    true_labels, spacing = to_ras(true_labels, image.affine)
    # Nothing depends on the background around, which is most of a scan.
    box = _foreground(predicted_labels, true_labels)
    predicted_labels, true_labels = predicted_labels[box], true_labels[box]
    present = case_presence(true_labels)
    class_ids = tuple(class_ids)
    official = flare_scores(predicted_labels, true_labels, _header_spacing(image, reference), class_ids)
    result = {
        "scores": {NAMES[class_id]: {**score, "present": class_id in present} for class_id, score in official.items()},
        "tumor_by_host": None,
        "notes": _notes(predicted_labels, true_labels, image, class_ids),
        "strict": None,
        "lesions": None,
    }
    if TUMOR_ID in class_ids:
        from abdoseg.metrics.hosts import score_tumors_by_host  # imports torch and MONAI, which takes seconds

        result["tumor_by_host"] = score_tumors_by_host(predicted_labels, true_labels)
    if annotated is not None:
        known = [class_id for class_id in class_ids if class_id in annotated]
        scores = strict_scores(predicted_labels, true_labels, spacing, known)
        result["strict"] = {NAMES[class_id]: score for class_id, score in scores.items()}
        if TUMOR_ID in known:
            from abdoseg.metrics.lesions import match_lesions  # imports torch and MONAI, by way of abdoseg.tumors

            voxel_ml = float(np.prod(spacing)) / MM3_PER_ML
            result["lesions"] = match_lesions(predicted_labels, true_labels, voxel_ml)
    return result


def _foreground(prediction: np.ndarray, reference: np.ndarray) -> Box:
    """Smallest box around all that is labeled in either map; one voxel if that is nothing."""
    labeled = np.logical_or(prediction, reference)
    sides = (np.flatnonzero(labeled.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    return tuple(slice(side[0], side[-1] + 1) if len(side) else slice(0, 1) for side in sides)


def _header_spacing(image: nib.Nifti1Image, path: str | os.PathLike) -> tuple[float, ...]:
    """Voxel size in mm along (x, y, z) by the header, whatever the affine says, as the official script takes it.

    Raises
    ------
    CaseError
        If it is none; the sentence names ``path``.
    """
    if not np.isfinite(image.header.get_zooms()).all():  # nibabel mends 0 and less
        told = ", ".join(f"{size:g}" for size in image.header.get_zooms())
        raise CaseError(f"{path}: its header (pixdim) gives voxels of {told} mm; write it anew with its true spacing.")
    sizes = {}
    for (axis, _), size in zip(nib.io_orientation(image.affine), image.header.get_zooms(), strict=True):
        sizes[int(axis)] = float(size)
    return sizes[0], sizes[1], sizes[2]


def _read_pair(
    prediction: str | os.PathLike, reference: str | os.PathLike
) -> tuple[np.ndarray, np.ndarray, nib.Nifti1Image]:
    """Predicted labels, true labels and the image of the reference; CaseError as `score_case` tells."""
    if not Path(prediction).is_file():
        raise CaseError(f"{prediction}: there is no such prediction; write it with `python -m tools predict`.")
    true_labels, true_image = read_label_map(reference)
    predicted_labels, predicted_image = read_label_map(prediction)
    difference = grid_difference(predicted_image, true_image)
    if difference:
        raise CaseError(f"{prediction}: has {difference}; it must lie on the grid of its reference {reference}.")
    return predicted_labels, true_labels, true_image


def _notes(
    prediction: np.ndarray, reference: np.ndarray, image: nib.Nifti1Image, class_ids: Iterable[int]
) -> list[str]:
    notes = [
        f"The reference's {NAMES[class_id]} lies in one slice, where the official script stops; that slice is scored."
        for class_id in single_slice_tubes(prediction, reference)
        if class_id in class_ids
    ]
    axes = "".join(map(str, nib.aff2axcodes(image.affine)))
    if not axes.endswith("S") and not set(TUBULAR_IDS).isdisjoint(class_ids):
        notes.append(
            f"Stored as {axes}: the official script cuts tubular organs along the third axis, which does not go up the "
            "body here, so that its scores of them differ from these, cut along the body."
        )
    return notes
