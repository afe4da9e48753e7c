"""Write label maps as DICOM segmentations of the series that they were made of, and read such segmentations back."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from abdoseg.dicom import SEGMENTATION, Series, find_series, grid_of, read_segmentation
from abdoseg.files import CaseError, write_label_map
from tools.dicom_scans import SERIES, by_folder, name_of, named_series, write_beside
from tools.faults import reason_of
from tools.scans import is_scan


def dicom(labels: str, studies: str, output: str, model: str = "MONAI Label") -> dict:
    """Write label maps as DICOM SEG, or DICOM SEG as label maps.

    `python -m tools dicom runs/label/studies/labels/final EXPORT SEGMENTATIONS` makes of what was corrected in MONAI
    Label one DICOM SEG a scan, of the patient and study of its series. `python -m tools dicom SEGMENTATIONS EXPORT
    LABELS` reads them, or those of other programs, as label maps. Nothing is resampled: every voxel stays in its place.

    A file that does not fit is set aside by name with its reason, the rest goes on (exit code 1).

    Args:
        labels: A label map (.nii.gz, .nii), a DICOM SEG, or a folder. A folder without NIfTI files is searched for
            DICOM SEG at any depth.
        studies: Folder with the DICOM series, the one that `predict --input` or `serve --studies` was given: a label
            map has the name that its series has there.
        output: Folder for ID.dcm, or for ID.nii.gz; what is there by these names is replaced.
        model: What the label maps were made with, for the DICOM SEG, which calls them semiautomatic.
    """
    root = Path(studies)
    if not root.is_dir():
        raise CaseError(f"{studies} is no folder; --studies takes the folder with the DICOM series.")
    found = find_series(root)
    neighbors = by_folder(found)
    named = named_series(root, neighbors)
    files, written, failed = label_files(Path(labels)), [], {}
    for path in files:
        try:
            if is_scan(path):
                name = path.name.removesuffix(".gz").removesuffix(".nii")
                series = _series_of(name, path, root, named)
                write_beside(Path(output) / f"{name}.dcm", path, series, model, corrected=True)
            else:
                values, series = read_segmentation(path, found)
                name = name_of(root, series, neighbors)
                if name in written:
                    raise CaseError(f"{path}: another file tells of {series} too; name the one to read by --labels.")
                write_label_map(Path(output) / f"{name}.nii.gz", values, grid_of(series))
        except Exception as error:  # any fault of one file must not cost the others theirs
            failed[path.name] = reason_of(error, path)
            print(f"set aside: {failed[path.name]}")
        else:
            written.append(name)
    print(f"{len(written)} of {len(files)} files written: {output}")
    return {"written": written, "failed": failed}


def label_files(source: Path) -> list[Path]:
    """Label maps of a folder or, where it holds none, the DICOM SEG in it; or the file itself."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise CaseError(f"{source} does not exist; --labels takes label maps (.nii.gz) or DICOM SEG.")
    if maps := sorted(path for path in source.iterdir() if is_scan(path)):
        return maps
    parts = [part for series in find_series(source) for part in series.slices]
    if segmentations := [part.path for part in parts if part.sop_class == SEGMENTATION]:
        return segmentations
    raise CaseError(f"{source} holds neither label maps (.nii.gz) nor DICOM SEG.")


def _series_of(name: str, path: Path, root: Path, named: Mapping[str, Sequence[Series]]) -> Series:
    """Axial CT series that ``predict`` and ``serve`` call by a name."""
    fit = named.get(name, ())
    if len(fit) == 1:
        # Labels that MONAI Label keeps lie two folders below the record of what it was given.
        record = path.parent / ".." / ".." / SERIES
        if record.exists() and json.loads(record.read_text()).get(name) != fit[0].uid:
            raise CaseError(f"{path}: was drawn on another series than lies in {fit[0].folder} now; bring that back.")
        return fit[0]
    if fit:
        raise CaseError(f"{path}: {root} holds several series of this name; rename one of their folders.")
    known = ", ".join(sorted(named)[:5]) or "no axial CT series"
    raise CaseError(f"{path}: {root} holds no series {name}, but {known}; name the label map as its series.")
