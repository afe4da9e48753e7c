"""Which DICOM series lie below a folder, from the headers of their files alone."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from abdoseg.files import CaseError, walk

logger = logging.getLogger(__name__)

DICOMDIR = "1.2.840.10008.1.3.10"
TAGS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "Modality",
    "ImageType",
    "RescaleType",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)


@dataclass(frozen=True)
class Slice:
    """Header of one DICOM file; None or an empty text stands for what it lacks or what cannot be read.

    Parameters
    ----------
    path : the file.
    uid : SOP instance UID; where de-identification has emptied it, that of the file's own header, or a made-up one.
    sop_class : SOP class UID, or that of the file's own header.
    image_type : values of ImageType.
    rescale_type : unit of the rescaled values.
    shape : (rows, columns).
    spacing : (between rows, between columns) in mm.
    position : (x, y, z) of the first voxel's center in DICOM's axes (left, posterior, superior), mm.
    orientation : direction along a row (x, y, z), then down a column (x, y, z), in DICOM's axes.
    """

    path: Path
    uid: str
    sop_class: str
    image_type: tuple[str, ...]
    rescale_type: str
    shape: tuple[int, int] | None
    spacing: tuple[float, float] | None
    position: tuple[float, float, float] | None
    orientation: tuple[float, float, float, float, float, float] | None


@dataclass(frozen=True)
class Series:
    """One DICOM series: the slices in the order of their paths, each instance once.

    Parameters
    ----------
    uid, study : UIDs of the series and of its study; made up from those of the slices where they are empty.
    number : SeriesNumber, None where it has none.
    description : SeriesDescription.
    modality : "CT", "MR", ...
    slices : its files.
    """

    uid: str
    study: str
    number: int | None
    description: str
    modality: str
    slices: tuple[Slice, ...]

    @property
    def folder(self) -> Path:
        """The deepest folder that holds all its files."""
        return Path(os.path.commonpath([part.path.parent for part in self.slices]))

    def __str__(self) -> str:
        number = "without a number" if self.number is None else str(self.number)
        return f"series {number}{f' {self.description!r}' if self.description else ''}"


def find_series(root: str | os.PathLike) -> list[Series]:
    """Give the series whose files lie below a folder, at any depth, in the order of their paths.

    Files that are not DICOM, DICOMDIR and hidden files are passed over, broken ones and what cannot be read with a
    warning. Files without a series UID, as some de-identification leaves them, are one series a folder.

    Raises
    ------
    CaseError
        If there are DICOM files and pydicom is not installed.
    """
    paths = dicom_files(Path(root))
    found: dict[tuple[str, str, str], dict[str, tuple[Slice, object]]] = {}
    for path in paths:
        header = _read_header(path)
        if header is not None:
            uid = _text(header, "SeriesInstanceUID")
            part = _slice(path, header)
            key = (_text(header, "StudyInstanceUID"), uid, "" if uid else str(path.parent))
            found.setdefault(key, {}).setdefault(part.uid, (part, header))
    return [_series(study, uid, list(parts.values())) for (study, uid, _), parts in found.items()]


def _read_header(path: Path):
    """Header of a file that belongs to a series, else None."""
    pydicom = require_pydicom()
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
    except Exception as error:  # whatever a broken file breaks in the reader
        logger.warning("%s: passed over, it begins as a DICOM file and cannot be read (%s).", path, error)
        return None
    if _text(header, "SeriesInstanceUID") or _text(header, "Modality"):
        return header
    if _text(header.file_meta, "MediaStorageSOPClassUID") != DICOMDIR:
        logger.warning("%s: passed over, it begins as a DICOM file and tells neither series nor modality.", path)
    return None


def made_up_uid(kind: str, *sources: str) -> str:
    """Give a UID that depends on the texts alone, for what has none."""
    return str(require_pydicom().uid.generate_uid(entropy_srcs=["abdoseg", kind, *sources]))


def dicom_files(root: Path) -> list[Path]:
    """Files below a folder that begin as DICOM files do, sorted; nothing hidden."""
    found = []
    for folder, names, files in walk(root):
        names[:] = sorted(name for name in names if not name.startswith("."))
        found += [folder / name for name in sorted(files) if not name.startswith(".")]
    return [path for path in found if _is_dicom(path)]


def require_pydicom():
    """Give the module pydicom; a CaseError names what to install where it or highdicom is missing."""
    try:
        import pydicom

        if find_spec("highdicom") is None:
            raise ImportError("highdicom")
    except ImportError as error:
        raise CaseError(
            "DICOM needs the packages pydicom and highdicom; install them by `python -m pip install pydicom highdicom`."
        ) from error
    return pydicom


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError as error:
        logger.warning("%s: passed over, this file cannot be read (%s).", path, error.strerror)
        return False


def _series(study: str, uid: str, parts: Sequence) -> Series:
    header = parts[0][1]
    numbers = _numbers(header, "SeriesNumber", 1)
    instances = sorted(part.uid for part, _ in parts)
    return Series(
        uid=uid or made_up_uid("series", *instances),
        study=study or made_up_uid("study", uid, *instances),
        number=int(numbers[0]) if numbers else None,
        description=_text(header, "SeriesDescription"),
        modality=_text(header, "Modality"),
        slices=tuple(part for part, _ in parts),
    )


def _slice(path: Path, header) -> Slice:
    rows, columns = _numbers(header, "Rows", 1), _numbers(header, "Columns", 1)
    return Slice(
        path=path,
        uid=_text(header, "SOPInstanceUID")
        or _text(header.file_meta, "MediaStorageSOPInstanceUID")
        or made_up_uid("slice", str(path)),
        sop_class=_text(header, "SOPClassUID") or _text(header.file_meta, "MediaStorageSOPClassUID"),
        image_type=tuple(_text(header, "ImageType").split("\\")),
        rescale_type=_text(header, "RescaleType"),
        shape=(int(rows[0]), int(columns[0])) if rows and columns else None,
        spacing=_numbers(header, "PixelSpacing", 2),
        position=_numbers(header, "ImagePositionPatient", 3),
        orientation=_numbers(header, "ImageOrientationPatient", 6),
    )


def _text(header, keyword: str) -> str:
    """Value as text, several joined by a backslash, as DICOM does."""
    try:
        value = header.get(keyword)
    except Exception:  # pydicom decodes a value when it is asked for
        return ""
    if value is None:
        return ""
    return "\\".join(map(str, value)) if isinstance(value, list | tuple) or hasattr(value, "append") else str(value)


def _numbers(header, keyword: str, count: int) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(value) for value in _text(header, keyword).split("\\"))
    except ValueError:
        return None
    return numbers if len(numbers) == count else None
