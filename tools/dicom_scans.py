"""DICOM series as scans to label: one series a study, its label map as NIfTI and, beside it, as a DICOM SEG."""

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from abdoseg.dicom import (
    Series,
    choose_series,
    fault_of,
    find_series,
    read_volume,
    stack_slices,
    studies_of,
    write_segmentation,
)
from abdoseg.files import CaseError
from abdoseg.label_maps import grid_difference, read_label_map


@dataclass(frozen=True)
class DicomScan:
    """A series to label, or the reason why its study has none.

    Parameters
    ----------
    name : id of the case, which names its label maps.
    folder : where its files lie; stands for it in messages.
    series : what is labeled; None where ``fault`` says why nothing is.
    fault : sentence.
    """

    name: str
    folder: Path
    series: Series | None
    fault: str = ""

    def __fspath__(self) -> str:
        return str(self.folder)

    def __str__(self) -> str:
        return str(self.folder)

    def segmentation(self, target: Path) -> Path:
        """Path of the DICOM SEG beside the label map ``target``."""
        return target.with_name(f"{self.name}.dcm")

    def is_done(self, target: Path) -> bool:
        return target.exists() and self.segmentation(target).exists()

    def label(self, predictor: Callable[[str], None], target: Path, model: str, weights: str) -> None:
        """Write the label map ``target`` where it is missing, and the segmentation beside it.

        The series goes through the bundle as a NIfTI file of its own grid, so that both kinds of input get the same
        labels; that file is gone when this returns.

        Raises
        ------
        CaseError
            If the series cannot be read, or ``target`` is the label map of another scan.
        """
        if self.series is None:
            raise CaseError(self.fault)
        if not target.exists():
            with tempfile.TemporaryDirectory(prefix=".dicom-", dir=target.parent) as folder:
                scan = Path(folder) / f"{self.name}_0000.nii"
                nib.save(read_volume(self.series), scan)
                predictor(str(scan))
        labels, image = read_label_map(target)
        slices, affine = stack_slices(self.series)
        grid = nib.Nifti1Image(np.broadcast_to(np.uint8(0), (*slices[0].shape[::-1], len(slices))), affine)
        if difference := grid_difference(image, grid):
            raise CaseError(f"{target}: {difference}; it is no label map of {self.series}, make one by --overwrite.")
        write_segmentation(self.segmentation(target), labels, self.series, model, weights)


def find_dicom_scans(root: Path, wanted: str | None = None) -> dict[str, DicomScan]:
    """Choose the series to label below a folder, and say on the way which were taken and why others were not.

    Of each study with a CT: the axial CT series with most slices, or the wanted ones. A study without such a series
    comes back with its fault, so that it is set aside by name as a broken scan is.

    Parameters
    ----------
    root : folder with files of any number of patients, studies and series, at any depth.
    wanted : UIDs of series, separated by commas; None chooses one series a study.

    Returns
    -------
    Case id -> scan, in order of the ids; {} if there is no DICOM at all. The id is the folder's path below ``root``,
    joined by _, with a hash of the series' UID where a folder holds several series.

    Raises
    ------
    CaseError
        If a wanted series is not there, or no study has a CT.
    """
    found = find_series(root)
    uids = [uid.strip() for uid in wanted.split(",")] if wanted else []
    if missing := set(uids) - {series.uid for series in found}:
        known = ", ".join(f"{series.uid} ({series})" for series in found[:5])
        raise CaseError(f"{root} holds no series {', '.join(sorted(missing))}; it holds {known or 'no DICOM at all'}.")
    scans, passed = [], 0
    for study in studies_of(found):
        if uids:
            scans += [_scan(root, one, found, fault_of(one)) for one in study if one.uid in uids]
        elif all(series.modality != "CT" for series in study):
            passed += 1
        else:
            scans.append(_choose(root, study, found))
    if passed:
        print(f"{passed} of {len(studies_of(found))} DICOM studies have no CT and are passed over.")
    if found and not scans:
        modalities = ", ".join(sorted({series.modality or "unknown" for series in found}))
        raise CaseError(f"{root} holds DICOM series without a CT among them (modality {modalities}).")
    named: dict[str, DicomScan] = {}
    for scan in sorted(scans, key=lambda scan: scan.name):
        if scan.name in named:
            raise CaseError(f"{scan} and {named[scan.name]} have the same id {scan.name}; rename one of the folders.")
        named[scan.name] = scan
    return named


def _choose(root: Path, study: Sequence[Series], found: Sequence[Series]) -> DicomScan:
    chosen, reasons = choose_series(study)
    told = "; ".join(f"{series}: {reasons[series.uid]}" for series in study if series.uid in reasons)
    if chosen is None:
        folder = Path(os.path.commonpath([series.folder for series in study]))
        fault = f"{folder}: holds no axial CT series ({told}); name one by --series, or export one."
        return DicomScan(_name(root, folder, study[0].study), folder, None, fault)
    print(f"{chosen.folder}: {chosen} taken, {len(chosen.slices)} slices.{f' Not taken: {told}.' if told else ''}")
    return _scan(root, chosen, found, None)


def _scan(root: Path, series: Series, found: Sequence[Series], fault: str | None) -> DicomScan:
    shared = any(other.folder == series.folder for other in found if other is not series)
    name = _name(root, series.folder, series.uid if shared else "")
    if fault:
        return DicomScan(name, series.folder, None, f"{series.folder} ({series}): {fault}; choose another --series.")
    return DicomScan(name, series.folder, series)


def _name(root: Path, folder: Path, uid: str) -> str:
    """Id of a case: letters, digits, - and . of the folders' names, and a hash where one folder holds several cases."""
    root, folder = root.absolute(), folder.absolute()
    parts = folder.relative_to(root).parts or (root.resolve().name,)
    name = re.sub(r"[^\w.-]", "-", "_".join(parts)).lstrip(".") or "scan"
    return f"{name}_{hashlib.sha256(uid.encode()).hexdigest()[:8]}" if uid else name
