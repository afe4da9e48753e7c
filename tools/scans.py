"""Scans to label: the NIfTI files or DICOM series of a file, a folder or a data list."""

import os
from dataclasses import dataclass
from pathlib import Path

from abdoseg.datalist import case_id, load_cases
from abdoseg.files import CaseError

ENDINGS = (".nii.gz", ".nii")


@dataclass(frozen=True)
class NiftiScan:
    """A NIfTI file to label; has the methods of `tools.dicom_scans.DicomScan`.

    Parameters
    ----------
    name : id of the case.
    path : the file.
    """

    name: str
    path: str

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path

    def state(self) -> str | None:
        """Text that another scan of this name does not share; None where the file cannot be asked."""
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return f"{status.st_size} bytes of {status.st_mtime_ns}"

    def is_done(self, target: Path) -> bool:
        return target.exists()

    def takes_place(self, target: Path, _source: Path) -> bool:
        return os.path.realpath(target) == os.path.realpath(self.path)  # unlike resolve() it bears a link to itself

    def read(self, predictor, _target: Path) -> tuple:
        return predictor.read(self.path, self.name)

    def write(self, predictor, labeled: tuple, _target: Path) -> None:
        predictor.write(labeled)


def find_scans(
    source: Path,
    section: str = "testing",
    kind: str | None = None,
    cases: str | None = None,
    series: str | None = None,
) -> dict:
    """Scans of a file, a folder or a data list: case id -> `NiftiScan` or `DicomScan`, in order of the ids.

    Raises
    ------
    CaseError
        If there is no scan, two have the same id, or a wanted case is not there.
    """
    if series and not source.is_dir():
        raise CaseError(f"{source} is no folder; --series chooses among the DICOM series of a folder.")
    if source.suffix == ".json":
        found = load_cases(source, section=section, kind=kind)
        listed = {case["id"]: NiftiScan(case["id"], case["image"]) for case in found}
        if not listed:
            raise CaseError(f"{source} holds no scan in section {section!r}" + (f" of kind {kind!r}." if kind else "."))
        return _only(dict(sorted(listed.items())), cases, source)
    if source.is_dir():
        paths = [str(path) for path in source.iterdir() if is_scan(path)]
        what = "no scan (.nii or .nii.gz)"
        if not paths or series:
            from tools.dicom_scans import find_dicom_scans

            if scans := find_dicom_scans(source, series):
                return _only(scans, cases, source)
            what = "no scan (.nii or .nii.gz, or DICOM)"
    elif source.exists():
        paths = [str(source)] if is_scan(source) else []
        what = "no scan (.nii or .nii.gz) or data list (.json); of a DICOM series, name the folder"
    else:
        raise CaseError(f"{source} does not exist; --input takes a scan, a folder of scans or a data list.")
    if not paths:
        raise CaseError(f"{source} holds {what}.")
    scans: dict[str, NiftiScan] = {}
    for path in sorted(paths):
        name = case_id(path)
        if name in scans:
            raise CaseError(f"{path} and {scans[name]} have the same id {name}; rename one of them.")
        scans[name] = NiftiScan(name, path)
    return _only(scans, cases, source)


def _only(scans: dict, cases: str | None, source: Path) -> dict:
    """The scans that ``--cases`` names, or all."""
    if cases is None:
        return scans
    wanted = {name.strip() for name in cases.split(",")}
    if missing := wanted - set(scans):
        raise CaseError(f"{source} holds no case {', '.join(sorted(missing))}; it holds {', '.join(list(scans)[:5])}.")
    return {name: scan for name, scan in scans.items() if name in wanted}


def is_scan(path: Path) -> bool:
    """Whether a file is a NIfTI file that is not hidden.

    Raises
    ------
    CaseError
        If its ending is in capitals: not all that reads its folder would take it, MONAI Label for one.
    """
    if path.name.startswith(".") or not path.name.lower().endswith(ENDINGS):
        return False
    if not path.name.endswith(ENDINGS):
        raise CaseError(f"{path}: its ending is in capitals; rename it to end in .nii or .nii.gz.")
    return True
