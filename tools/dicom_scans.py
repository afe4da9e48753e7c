"""DICOM series as scans to label: one series a study, its label map as NIfTI and, beside it, as a DICOM SEG."""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from abdoseg.dicom import (
    Series,
    choose_series,
    fault_of,
    find_series,
    grid_of,
    read_volume,
    studies_of,
    write_segmentation,
)
from abdoseg.files import CaseError, atomic_path, write_json
from abdoseg.label_maps import grid_difference, read_label_map, turned_to
from tools.faults import reason_of

SERIES = "series.json"


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

    def state(self) -> str | None:
        """Text that another scan of this name does not share; None where there is no series."""
        return self.series and f"{len(self.series.slices)} slices of {self.series.uid}"

    def segmentation(self, target: Path) -> Path:
        """Path of the DICOM SEG beside the label map ``target``."""
        return target.with_name(f"{self.name}.dcm")

    def is_done(self, target: Path) -> bool:
        return target.exists() and self.segmentation(target).exists()

    def takes_place(self, target: Path, source: Path) -> bool:
        """Whether ``target`` would lie beside the series of ``source`` and be taken for the scan."""
        return target.parent.resolve() == source.resolve()

    def read(self, predictor, target: Path) -> tuple | None:
        """Prepare the series for a `tools.predictor.Predictor`; None where its label map is there already.

        The series goes through the bundle as a NIfTI file of its own grid, so that both kinds of input get the same
        labels; that file is gone when this returns.

        Raises
        ------
        CaseError
            If the series cannot be read.
        """
        if self.series is None:
            raise CaseError(self.fault)
        if target.exists():
            return None
        with tempfile.TemporaryDirectory(prefix=".dicom-", dir=target.parent) as folder:
            scan = Path(folder) / f"{self.name}_0000.nii"
            nib.save(read_volume(self.series), scan)
            return predictor.read(str(scan), self.name)

    def write(self, predictor, labeled: tuple | None, target: Path) -> None:
        """Write the label map ``target`` where it is missing, and the segmentation beside it.

        Raises
        ------
        CaseError
            If ``target`` is the label map of another scan.
        """
        if labeled is not None:
            predictor.write(labeled)
        write_beside(self.segmentation(target), target, self.series, predictor.bundle, predictor.sha256[:16])


def write_beside(
    path: Path, label: Path, series: Series, model: str, weights: str = "unknown", corrected: bool = False
) -> None:
    """Write a label map (NIfTI) as the DICOM SEG ``path`` of a series; the rest as in `write_segmentation`.

    Other programs may have stored the label map with its axes in another order or direction.

    Raises
    ------
    CaseError
        If the label map cannot be read or lies on another grid than the series.
    """
    labels, image = read_label_map(label)
    grid = grid_of(series)
    turned = turned_to(nib.Nifti1Image(labels, image.affine), grid)
    if difference := grid_difference(turned, grid):
        straight = nib.Nifti1Image(grid.dataobj, grid.get_qform())  # the same grid as ITK keeps it
        if grid_difference(turned, straight):
            raise CaseError(
                f"{label}: {difference}; it is no label map of {series}; label it anew (predict --overwrite)."
            )
    write_segmentation(path, np.asarray(turned.dataobj), series, model, weights, corrected)


def write_scans(scans: dict[str, DicomScan], folder: Path) -> dict[str, str]:
    """Write series as FOLDER/ID.nii.gz, each on its own grid, where that is missing; give the faults by id.

    FOLDER/series.json keeps of which series each is, so that a folder that has got another patient's series since is
    not taken for the first one.
    """
    record, failed = folder / SERIES, {}
    written = json.loads(record.read_text()) if record.exists() else {}
    for name, scan in scans.items():
        target = folder / f"{name}.nii.gz"
        try:
            if scan.series is None:
                raise CaseError(scan.fault)
            if target.exists() and written.get(name) != scan.series.uid:
                raise CaseError(f"{target} was made of another series than lies in {scan} now; move one of them away.")
            if not target.exists():
                image = read_volume(scan.series)
                written[name] = scan.series.uid
                write_json(record, written)
                with atomic_path(target) as temporary:
                    nib.save(image, temporary)
        except Exception as error:  # any fault of one series must not cost the others theirs
            failed[name] = reason_of(error, scan)
    return failed


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
    scans, passed, neighbors = [], 0, by_folder(found)
    for study in studies_of(found):
        if uids:
            scans += [_scan(root, one, neighbors, fault_of(one)) for one in study if one.uid in uids]
        elif all(series.modality != "CT" for series in study):
            passed += 1
        else:
            scans.append(_choose(root, study, neighbors))
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


def _choose(root: Path, study: Sequence[Series], neighbors: Mapping[Path, Sequence[Series]]) -> DicomScan:
    chosen, reasons = choose_series(study)
    told = "; ".join(f"{series}: {reasons[series.uid]}" for series in study if series.uid in reasons)
    if chosen is None:
        folder = Path(os.path.commonpath([series.folder for series in study]))
        fault = f"{folder}: holds no axial CT series ({told}); name one by --series, or export one."
        return DicomScan(_name(root, folder, study[0].study), folder, None, fault)
    print(f"{chosen.folder}: {chosen} taken, {len(chosen.slices)} slices.{f' Not taken: {told}.' if told else ''}")
    return _scan(root, chosen, neighbors, None)


def _scan(root: Path, series: Series, neighbors: Mapping[Path, Sequence[Series]], fault: str | None) -> DicomScan:
    name = name_of(root, series, neighbors)
    if fault:
        return DicomScan(name, series.folder, None, f"{series.folder} ({series}): {fault}; choose another --series.")
    return DicomScan(name, series.folder, series)


def by_folder(found: Sequence[Series]) -> dict[Path, list[Series]]:
    """Series by the folder in which they lie."""
    folders: dict[Path, list[Series]] = {}
    for series in found:
        folders.setdefault(series.folder, []).append(series)
    return folders


def name_of(root: Path, series: Series, neighbors: Mapping[Path, Sequence[Series]]) -> str:
    """Id of the case that a series is; it stays when a segmentation or a report is put beside the series.

    ``neighbors`` are all series, see `by_folder`.
    """
    folder = series.folder
    others = (other for other in neighbors[folder] if other is not series)
    shared = any(fault_of(series) or not fault_of(other) for other in others)
    return _name(root, folder, series.uid if shared else "")


def named_series(root: Path, neighbors: Mapping[Path, Sequence[Series]]) -> dict[str, list[Series]]:
    """Axial CT series by the names that `predict` and `serve` give them."""
    named: dict[str, list[Series]] = {}
    for series in (one for part in neighbors.values() for one in part if not fault_of(one)):
        named.setdefault(name_of(root, series, neighbors), []).append(series)
    return named


def _name(root: Path, folder: Path, uid: str) -> str:
    """Id of a case: letters, digits, - and . of the folders' names, and a hash where one folder holds several cases."""
    root, folder = root.absolute(), folder.absolute()
    parts = folder.relative_to(root).parts or (root.resolve().name,)
    name = re.sub(r"[^\w.-]", "-", "_".join(parts)).lstrip(".") or "scan"
    return f"{name}_{hashlib.sha256(uid.encode()).hexdigest()[:8]}" if uid else name
