"""The checks of case after case: each file is read once, in threads; what has not changed is not read again."""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import nibabel as nib
import numpy as np
from tqdm import tqdm

from abdoseg.case_stage import fingerprints, read_summary
from abdoseg.checks import (
    REPAIRED,
    Fault,
    FractionError,
    ImageTally,
    LabelTally,
    affine_faults,
    fault,
    grid_fault,
    image_faults,
    is_set_aside,
    label_faults,
    on_grid,
    open_checked,
    read_slabs,
    whole_values,
    with_one_affine,
)
from abdoseg.datasets import LabelConvention, convert_labels, read_labels
from abdoseg.files import CaseError, atomic_path, write_json, write_label_map
from abdoseg.label_maps import as_label_map, has_meaning, read_voxels
from abdoseg.threads import in_threads
from tools.faults import reason_of

logger = logging.getLogger(__name__)
VERSION = 3  # of the checks; a finding of another version is made anew


def examine_all(candidates: list[dict], output: Path, num_threads: int) -> Iterator[tuple[dict, dict]]:
    """Give each candidate with its finding, in order; ``output``/findings/ID.json keeps it for the next time."""
    found = in_threads(lambda case: (case, _finding(case, output)), candidates, num_threads)
    yield from tqdm(found, "audit", len(candidates), unit="case")


def _finding(case: dict, output: Path) -> dict:
    path = output / "findings" / f"{case['id']}.json"
    try:
        inputs = fingerprints({"image": case["image"], **{str(n): file for n, file in enumerate(label_files(case))}})
    except CaseError as error:
        return {"faults": [asdict(Fault("unreadable", case["image"], str(error)))], "copies": {}}
    state = {"version": VERSION, "section": case["section"], **convention_of(case).as_dict(), "inputs": inputs}
    state = json.loads(json.dumps(state))
    kept = read_summary(path)
    if kept.get("state") == state and all((output / copy).is_file() for copy in kept["copies"].values()):
        return kept
    path.unlink(missing_ok=True)  # killed from here on, the copies may no longer be those that it tells of
    try:
        finding = {"state": state, **examine(case, output)}
    except OSError:  # of writing: no fault of this case
        raise
    except Exception as error:  # any fault of one case must not cost the others theirs
        logger.debug("%s failed", case["image"], exc_info=True)
        return {"faults": [asdict(Fault("unreadable", case["image"], reason_of(error, case["image"])))], "copies": {}}
    if all(fault["kind"] != "unreadable" for fault in finding["faults"]):  # that may pass: rights, a disk, memory
        write_json(path, finding)
    return finding


def label_files(case: dict) -> list[str]:
    """Give the paths of a case's label files: none, one, or one a structure."""
    labels = case.get("label", [])
    return [labels] if isinstance(labels, str) else labels


def examine(case: dict, output: Path) -> dict:
    """Read the files of a case, each once, and check them; write the copies that take the place of mended files.

    Parameters
    ----------
    case : ``{"id", "section", "image", ["label"], ["source_labels"]}`` of `tools.layout.find_cases`.
    output : folder of the copies: labels/ID.nii.gz where another data set's labels are converted,
        repaired/images/ID_0000.nii.gz and repaired/labels/ID.nii.gz.

    Returns
    -------
    ``{"faults": [{"kind", "file", "message"}], "copies": {"image" or "label": path in output}}`` and, as far as the
    files can be read, spacing (mm), shape, orientation and fingerprint of the image, classes and voxels of the label.
    """
    image, faults = open_checked(case["image"])
    finding: dict = {}
    if image is not None:
        faults += affine_faults(case["image"], image)
        faults += _image_voxels(case["image"], image, finding)
    label, labels = None, None
    if "label" in case:
        usable = image if image is not None and has_meaning(image.affine) else None
        label, labels, found = _examine_label(case, usable, finding)
        faults += found
    copies = {} if is_set_aside(faults) else _copies(case, output, faults, image, label, labels)
    return {**finding, "faults": [asdict(found) for found in faults], "copies": copies}


def _image_voxels(path: str, image: nib.Nifti1Image, finding: dict) -> list[Fault]:
    finding["spacing"] = [round(float(value), 6) for value in np.linalg.norm(image.affine[:3, :3], axis=0)]
    finding["shape"] = list(image.shape)
    if has_meaning(image.affine):
        finding["orientation"] = "".join(nib.aff2axcodes(image.affine))
    tally = ImageTally(image.shape)
    try:
        for start, slab in read_slabs(path, image):
            tally.add(start, slab)
    except CaseError as error:
        return [Fault("unreadable", path, str(error))]
    finding["fingerprint"] = tally.fingerprint()
    return image_faults(path, tally)


def _examine_label(
    case: dict, image: nib.Nifti1Image | None, finding: dict
) -> tuple[nib.Nifti1Image | None, np.ndarray | None, list[Fault]]:
    """Give the opened label, its values where they had to be converted, and its faults."""
    path = label_files(case)[0]
    label, faults = open_checked(path)
    if label is None:
        return None, None, faults
    if image is not None and (found := grid_fault(path, label, case["image"], image)):
        faults.append(found)
    tally = LabelTally(path, label.shape)
    labels, found = _add_labels(case, label, tally)
    faults += found
    if is_set_aside(found):
        return label, None, faults
    annotated = convention_of(case).annotated
    faults += label_faults(path, tally, label.affine, annotated)
    finding.update(classes=tally.present, voxels={str(c): int(tally.counts[c]) for c in tally.present})
    if case["section"] == "training" and not tally.present and annotated is None and not tally.value_fault:
        remedy = "put the image among the unlabeled or label a class"
        faults.append(fault("label_empty", path, "the label is empty", remedy))
    return label, labels, faults


def _add_labels(case: dict, label: nib.Nifti1Image, tally: LabelTally) -> tuple[np.ndarray | None, list[Fault]]:
    """Add the voxels of a label to its tally; give them where they had to be converted, and the faults of reading."""
    path = label_files(case)[0]
    try:
        if is_converted(case):
            labels = _converted(case, label)
            tally.add(0, labels)
            return labels, []
        is_float = False
        for start, slab in read_slabs(path, label):
            tally.add(start, slab)
            is_float |= slab.dtype.kind == "f"
    except FractionError as error:
        return None, [Fault("label_fraction", path, str(error))]
    except UnknownValueError as error:
        return None, [Fault("label_value", path, str(error))]
    except CaseError as error:
        return None, [Fault("unreadable", path, str(error))]
    if not is_float or tally.value_fault:
        return None, []
    what = "its whole values are stored as floating-point numbers"
    return None, [fault("label_float", path, what, "a copy of whole numbers takes its place")]


class UnknownValueError(CaseError):
    """A label value that the convention of its data set does not name."""


def is_converted(case: dict) -> bool:
    """Whether a case's label is of another data set's convention, and a copy in ours must be written."""
    return isinstance(case.get("label"), list) or not convention_of(case).is_identity


def _converted(case: dict, label: nib.Nifti1Image) -> np.ndarray:
    if isinstance(case["label"], list):
        return read_labels(case["label"], convention_of(case))[0]
    values = whole_values(read_voxels(label, case["label"]), case["label"])
    try:
        return convert_labels(values, label.affine, convention_of(case), case["label"])
    except CaseError as error:
        raise UnknownValueError(str(error)) from error


def convention_of(case: dict) -> LabelConvention:
    """Give what the labels of a case mean; where nothing is told, what ours do."""
    return case.get("source_labels", LabelConvention())


def _copies(
    case: dict,
    output: Path,
    faults: list[Fault],
    image: nib.Nifti1Image,
    label: nib.Nifti1Image | None,
    labels: np.ndarray | None,
) -> dict[str, str]:
    """Write what takes the place of a case's files; give the paths, within ``output``, by the datalist's keys."""
    copies = {}
    mended = {found.file for found in faults if found.severity == REPAIRED}
    if case["image"] in mended:
        copies["image"] = f"repaired/images/{case['id']}_0000.nii.gz"
        image = with_one_affine(image)
        _save_stored(output / copies["image"], image)
    if label is not None and (labels is not None or label_files(case)[0] in mended):
        if labels is None:
            path = label_files(case)[0]
            labels = as_label_map(whole_values(read_voxels(label, path), path), path)
        copies["label"] = f"{'labels' if is_converted(case) else 'repaired/labels'}/{case['id']}.nii.gz"
        write_label_map(output / copies["label"], on_grid(labels, label, image), image)
    return copies


def _save_stored(path: Path, image: nib.Nifti1Image) -> None:
    """Write an image with the numbers and the scaling of its file: read, scaled and scaled back, they would change."""
    stored = type(image)(image.dataobj.get_unscaled(), image.affine, image.header)
    stored.header.set_slope_inter(image.dataobj.slope, image.dataobj.inter)
    with atomic_path(path) as temporary:
        nib.save(stored, temporary)
