"""A DICOM segmentation as a label map on the grid of the series that it refers to."""

import os
from collections.abc import Iterable, Iterator

import numpy as np

from abdoseg.dicom.codes import CODES
from abdoseg.dicom.series import Series, require_pydicom
from abdoseg.dicom.stack import LPS_TO_RAS, stack_slices
from abdoseg.files import CaseError, first_line
from abdoseg.labels import NAMES, TUMOR_ID

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
NEEDED = ("SegmentSequence", "PerFrameFunctionalGroupsSequence", "NumberOfFrames", "Rows", "Columns", "PixelData")
# How far a frame may lie from its place, in voxels: slices of a series may themselves be a little uneven.
IN_PLACE_VOXELS = 0.25


def read_segmentation(path: str | os.PathLike, found: Iterable[Series]) -> tuple[np.ndarray, Series]:
    """Read a binary DICOM SEG, of this or another program, as a label map of the series that it refers to.

    A segment is a class by its name or, where that is none of ours, by its code and side in SNOMED CT; its number does
    not matter. Where a tumor overlaps an organ the voxel is tumor, as in our label maps.

    Parameters
    ----------
    path : the segmentation.
    found : series, among them the one that it refers to.

    Returns
    -------
    labels : (x, y, z) uint8 on the grid of `read_volume`.
    series : the one that it refers to.

    Raises
    ------
    CaseError
        If the file is no binary segmentation, its series is not there, a segment is none of the classes, organs
        overlap, or its pixels are not voxels of the series.
    """
    dataset = _open(path)
    series = _referenced(path, dataset, found)
    slices, affine = stack_slices(series)
    labels = np.zeros((*slices[0].shape[::-1], len(slices)), np.uint8)
    to_voxel = np.linalg.inv(affine) @ LPS_TO_RAS
    segments = {int(segment.SegmentNumber): segment for segment in dataset.SegmentSequence}
    ids: dict[int, int] = {}
    frames = []
    for index, own in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        number = int(_functional(dataset, own, "SegmentIdentification").ReferencedSegmentNumber)
        if number not in ids:
            ids[number] = _class_of(path, segments[number])
        frames.append((ids[number], index, _place(path, dataset, own, to_voxel)))
    frames.sort(key=lambda frame: frame[0] == TUMOR_ID)
    pixels = _planes(path, dataset, [index for _, index, _ in frames])
    for (label, _, (start, along_row, down_column)), plane in zip(frames, pixels, strict=True):
        row, column = np.nonzero(plane)
        voxels = tuple(start[:, None] + np.outer(along_row, column) + np.outer(down_column, row))
        if any((axis < 0).any() or (axis >= size).any() for axis, size in zip(voxels, labels.shape, strict=True)):
            raise CaseError(f"{path}: segment {NAMES[label]} reaches beyond {series}; it belongs to another series.")
        other = labels[voxels]
        if label != TUMOR_ID and (overlap := other[(other != 0) & (other != label)]).size:
            raise CaseError(
                f"{path}: segments {NAMES[overlap[0]]} and {NAMES[label]} overlap in {overlap.size} pixels of a slice; "
                "an organ's voxel has one class."
            )
        labels[voxels] = label
    return labels, series


def _open(path: str | os.PathLike):
    """Dataset of a file that is a binary segmentation."""
    try:
        dataset = require_pydicom().dcmread(path)
    except CaseError:
        raise
    except Exception as error:  # whatever a broken file breaks in the reader
        raise CaseError(f"{path}: not a readable DICOM file ({first_line(error)}).") from error
    if dataset.get("SOPClassUID") != SEGMENTATION:
        raise CaseError(f"{path}: modality {dataset.get('Modality') or 'unknown'}; a DICOM segmentation is needed.")
    if dataset.get("SegmentationType") != "BINARY":
        raise CaseError(f"{path}: a segmentation of type {dataset.get('SegmentationType')}; export it as BINARY.")
    if missing := [keyword for keyword in NEEDED if not dataset.get(keyword)]:
        raise CaseError(f"{path}: lacks {', '.join(missing)}; export the segmentation anew.")
    return dataset


def _referenced(path: str | os.PathLike, dataset, found: Iterable[Series]) -> Series:
    uids = {str(item.SeriesInstanceUID) for item in dataset.get("ReferencedSeriesSequence") or []}
    series = [one for one in found if one.uid in uids]
    if len(series) == 1:
        return series[0]
    if not uids:
        raise CaseError(f"{path}: does not tell which series it was drawn on; export it with its references.")
    raise CaseError(f"{path}: the series {', '.join(sorted(uids))}, which it refers to, is not there; put it there.")


def _class_of(path: str | os.PathLike, segment) -> int:
    """Id of a segment, by its name or by its code and side; pydicom knows the older codes (SRT) of both."""
    from pydicom.sr.coding import Code

    def told(item) -> Code:
        return Code(item.get("CodeValue"), item.get("CodingSchemeDesignator"), "")

    name = str(segment.get("SegmentLabel") or "")
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    sides = [told(item) for item in kind.get("SegmentedPropertyTypeModifierCodeSequence") or []]
    named = [label for label, ours in NAMES.items() if label and ours == name.lower()]
    coded = [
        label
        for label, code in CODES.items()
        if told(kind) == Code(code.type.value, "SCT", "")
        and sides == ([Code(code.side.value, "SCT", "")] if code.side else [])
    ]
    if not named + coded:
        raise CaseError(
            f"{path}: segment {segment.SegmentNumber} {name!r} ({kind.get('CodeMeaning')}) is none of the classes; "
            f"name it as one of {', '.join(NAMES[label] for label in CODES)}, or remove it."
        )
    return (named + coded)[0]


def _place(path: str | os.PathLike, dataset, own, to_voxel: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voxel of a frame's first pixel, and the voxel steps along its rows and down its columns, as whole numbers."""
    orientation = np.array(_functional(dataset, own, "PlaneOrientation").ImageOrientationPatient, dtype=float)
    between_rows, between_columns = map(float, _functional(dataset, own, "PixelMeasures").PixelSpacing)
    position = np.array(_functional(dataset, own, "PlanePosition").ImagePositionPatient, dtype=float)
    start = to_voxel @ [*position, 1]
    steps = [to_voxel[:3, :3] @ orientation[:3] * between_columns, to_voxel[:3, :3] @ orientation[3:] * between_rows]
    whole_start, whole_steps = np.round(start[:3]).astype(int), np.round(steps).astype(int)
    is_turn = (np.abs(whole_steps).sum(axis=1) == 1).all()
    for column, row in np.ndindex(2, 2):
        far = np.array([column * (dataset.Columns - 1), row * (dataset.Rows - 1)])
        away = np.abs(start[:3] + far @ steps - whole_start - far @ whole_steps).max()
        if not is_turn or away > IN_PLACE_VOXELS:
            raise CaseError(
                f"{path}: its pixels are not the voxels of its series but lie between them; "
                "export the segmentation on the grid of the series."
            )
    return whole_start, *whole_steps


def _functional(dataset, own, name: str):
    """Item of a functional group, which stands with the frame or, for all frames, with the file."""
    keyword = f"{name}Sequence"
    for groups in (own, *dataset.get("SharedFunctionalGroupsSequence", [])):
        if keyword in groups:
            return groups[keyword].value[0]
    raise CaseError(f"{dataset.filename}: its frames lack {keyword}; export the segmentation anew.")


def _planes(path: str | os.PathLike, dataset, indices: list[int]) -> Iterator[np.ndarray]:
    """Frames (rows, columns) of zeros and ones, in the order of ``indices``; all at once would fill memories."""
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        raise CaseError(f"{path}: is compressed as {dataset.file_meta.TransferSyntaxUID.name}; send it uncompressed.")
    packed = np.frombuffer(dataset.PixelData, np.uint8)
    size = dataset.Rows * dataset.Columns
    if packed.size < -(-size * dataset.NumberOfFrames // 8):
        raise CaseError(f"{path}: the DICOM file is cut short; send it anew.")
    for first in (index * size for index in indices):  # a frame may begin within a byte
        bits = np.unpackbits(packed[first // 8 : -(-(first + size) // 8)], bitorder="little")
        yield bits[first % 8 :][:size].reshape(dataset.Rows, dataset.Columns)
