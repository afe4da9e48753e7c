"""Real scans that the starter is tried on: those with labels to score, and those in which there is nothing to find."""

import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np

from abdoseg.datalist import case_id, load_cases, write_datalist
from abdoseg.files import CaseError, atomic_path, write_label_map
from abdoseg.label_maps import grid_difference, open_volume, read_label_map, turned_to
from abdoseg.labels import CLASS_IDS


def scan_list(root: Path, source: Path) -> Path:
    """Give the data list of the scans to score: ``source`` itself, or one that is written of a folder.

    In a folder, scans are ID/ct.nii.gz, or ID/dicom.zip with one CT series; what is drawn is ID/label_flare*.nii.gz.
    """
    if source.suffix == ".json":
        load_cases(source, section="testing", required=True)
        return source.absolute()
    if not source.is_dir():
        raise CaseError(f"{source} does not exist; --scans takes a data list (.json), or a folder of folders of scans.")
    entries = []
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        labels = sorted(folder.glob("label_flare*.nii.gz"))[:1]
        if (folder / "ct.nii.gz").is_file():
            image = folder / "ct.nii.gz"
        elif (folder / "dicom.zip").is_file():
            image = root / "scans" / f"{folder.name}_0000.nii.gz"
            _write_series(folder / "dicom.zip", image, even=False)
            labels = [_write_turned(label, image, root / "scans" / f"{folder.name}.nii.gz") for label in labels]
        else:
            continue
        entry = {"id": folder.name, "image": str(image.absolute()), "kind": "test"}
        if labels:
            entry |= {"label": str(labels[0].absolute()), "annotated_classes": _drawn(labels[0])}
        entries.append(entry)
    if not any("label" in entry for entry in entries):
        raise CaseError(f"{source} holds no ID/ct.nii.gz with ID/label_flare*.nii.gz to score with.")
    path = root / "scans.json"
    write_datalist(path, {"name": "real scans to score", "testing": entries})
    return path


def outside_list(root: Path, source: Path) -> Path:
    """Write the data list of scans outside the abdomen: NIfTI files or zips of one CT series each; give its path.

    Series whose slices are uneven or askew are resampled to an even stack.
    """
    if not source.exists():
        raise CaseError(f"{source} does not exist; --outside takes a scan (.nii, .nii.gz, .zip), or a folder of them.")
    paths = sorted(path for path in source.iterdir() if path.is_file()) if source.is_dir() else [source]
    entries = []
    for path in paths:
        if path.name.endswith((".nii", ".nii.gz")):
            image = path
        elif path.suffix == ".zip":
            image = root / "outside" / f"{path.stem}_0000.nii.gz"
            _write_series(path, image, even=True)
        else:
            continue
        entries.append({"id": case_id(image), "image": str(image.absolute()), "kind": "test"})
    if not entries:
        raise CaseError(f"{source} holds no scan (.nii, .nii.gz, or .zip of a DICOM series) for --outside.")
    path = root / "outside.json"
    write_datalist(path, {"name": "scans outside the abdomen", "testing": entries})
    return path


def _write_series(archive: Path, target: Path, even: bool) -> None:
    """Write the one CT series of a zip as NIfTI, where that is missing; ``even``: on an even stack of slices."""
    if target.exists():
        return
    from abdoseg.dicom import find_series, read_volume, resample_volume  # needs the extra "dicom"

    folder = target.with_name(f"{target.name}.dicom")
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(folder)
    found = [series for series in find_series(folder) if series.modality == "CT"]
    if len(found) != 1:
        raise CaseError(f"{archive} holds {len(found)} CT series; give a zip of one.")
    image = resample_volume(found[0]) if even else read_volume(found[0])
    with atomic_path(target) as temporary:
        nib.save(image, temporary)


def _write_turned(label: Path, image: Path, target: Path) -> Path:
    """Write a label map with its axes as the image's; CaseError where its grid is another one."""
    volume, reference = open_volume(label), open_volume(image)
    turned = turned_to(volume, reference)
    if difference := grid_difference(turned, reference):
        raise CaseError(f"{label} does not fit {image}: {difference}.")
    write_label_map(target, np.asarray(turned.dataobj).astype(np.uint8), reference)
    return target


def _drawn(path: Path) -> list[int]:
    found = set(np.unique(read_label_map(path)[0]).tolist())
    return [class_id for class_id in CLASS_IDS if class_id in found]
