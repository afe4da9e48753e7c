"""A label map as a DICOM segmentation that refers to the slices of its series."""

import logging
import os
import warnings
from copy import deepcopy

import numpy as np

from abdoseg import __version__
from abdoseg.dicom.codes import CODES, Code
from abdoseg.dicom.series import Series, Slice, made_up_uid, require_pydicom
from abdoseg.dicom.stack import stack_slices
from abdoseg.files import CaseError, atomic_path
from abdoseg.label_maps import as_label_map
from abdoseg.labels import LABELS

logger = logging.getLogger(__name__)

MANUFACTURER = "abdoseg"
NEEDED_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID", "SOPClassUID")
# highdicom asks for these, checks them more strictly than scanners and archives do, and DICOM lets them be empty.
ASKED_FOR = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)


def write_segmentation(
    path: str | os.PathLike,
    labels: np.ndarray,
    series: Series,
    model: str,
    weights: str = "unknown",
    corrected: bool = False,
) -> None:
    """Write a label map as one binary DICOM SEG of the patient and study of its series, atomically.

    The segments' numbers are the class ids; classes without a voxel are described and have no frame. Every frame takes
    position and orientation from the slice that it refers to, so that no viewer has to guess which way up it is. A map
    without any label becomes one empty frame a segment, on the first slice.

    Parameters
    ----------
    path : target, ``.dcm``.
    labels : (x, y, z) ids in 0..14 on the grid of `read_volume`: columns, rows, slices in the order of `stack_slices`.
    series : axial CT series.
    model : name of the bundle that made the labels.
    weights : what tells its weights from others, such as their hash.
    corrected : whether a person has had a hand in them; the segments say "semiautomatic" then, else "automatic".

    Raises
    ------
    CaseError
        If the series is no regular stack or the shapes differ.
    """
    slices, affine = stack_slices(series)
    rows, columns = slices[0].shape
    if labels.shape != (columns, rows, len(slices)):
        raise CaseError(
            f"{path}: the label map has the shape {labels.shape}, its series {(columns, rows, len(slices))}."
        )
    labels = as_label_map(labels, path)
    if not labels.any():
        slices, labels = slices[:1], labels[..., :1]
    pydicom = require_pydicom()
    headers = [pydicom.dcmread(part.path, stop_before_pixels=True) for part in slices]
    _complete(headers, slices, series)
    kept = _smooth(headers, float(np.linalg.norm(affine[:3, 2])))
    kind = "SEMIAUTOMATIC" if corrected else "AUTOMATIC"
    segmentation = _build(headers, np.ascontiguousarray(labels.T), series.number, kind, model, weights)
    for element in kept:
        segmentation.add(element)
    with atomic_path(path) as temporary:
        segmentation.save_as(temporary, enforce_file_format=True)


def _build(headers: list, frames: np.ndarray, number: int | None, kind: str, model: str, weights: str):
    """Segmentation of (slices, rows, columns) ids; ``headers`` and ``number`` are those of the series."""
    import highdicom
    from pydicom.sr.codedict import codes

    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=model, family=codes.DCM.ArtificialIntelligence, version=f"{__version__} weights {weights}"[:64]
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*empty.*")  # one empty frame a segment is what is wanted then
        return highdicom.seg.Segmentation(
            source_images=headers,
            pixel_array=frames,
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_segment(label, kind, algorithm) for label in LABELS],
            series_instance_uid=highdicom.UID(),
            series_number=1000 + min(max(number or 0, 0), 1_000_000),
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=model[:64],
            software_versions=__version__,
            device_serial_number=weights[:64],
            content_label="ABDOMEN",
            content_description="13 abdominal organs and tumor",
            series_description=f"{model} organs and tumor"[:64],
            specific_character_set=None,
        )


def _segment(label, kind: str, algorithm):
    import highdicom
    from pydicom.dataset import Dataset

    code = CODES[label.id]
    segment = highdicom.seg.SegmentDescription(
        segment_number=label.id,
        segment_label=label.name,
        segmented_property_category=_concept(code.category),
        segmented_property_type=_concept(code.type),
        algorithm_type=kind,
        algorithm_identification=algorithm,
        display_color=highdicom.color.CIELabColor.from_rgb(*label.color),
    )
    if code.side:
        side = Dataset()
        side.update(_concept(code.side))
        segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    return segment


def _concept(code: Code):
    from highdicom.sr import CodedConcept

    return CodedConcept(value=code.value, scheme_designator="SCT", meaning=code.meaning)


def _complete(headers: list, slices: list[Slice], series: Series) -> None:
    """Give the headers the UIDs that de-identification has taken from them."""
    # Those of a slice come from its file's own header where they are empty, see `Slice`.
    if missing := [keyword for keyword in NEEDED_UIDS[:3] if not headers[0].get(keyword)]:
        logger.warning("%s: lacks %s, made up for its segmentation.", series.folder, ", ".join(missing))
    frame = next((header.FrameOfReferenceUID for header in headers if header.get("FrameOfReferenceUID")), None)
    frame = frame or made_up_uid("frame of reference", series.uid)
    for header, part in zip(headers, slices, strict=True):
        uids = (series.study, series.uid, header.get("FrameOfReferenceUID") or frame, part.uid, part.sop_class)
        for keyword, uid in zip(NEEDED_UIDS, uids, strict=True):
            setattr(header, keyword, uid)


def _smooth(headers: list, distance: float) -> list:
    """Make the headers fit for highdicom, and give the elements of patient and study as the scanner wrote them.

    highdicom wants the orientation equal to the last digit, takes the distance between slices for the slice thickness
    where nothing else is told, and refuses patients whose sex or dates break DICOM's rules.
    """
    from pydicom.valuerep import DSfloat

    first = headers[0]
    for header in headers:
        header.ImageOrientationPatient = first.ImageOrientationPatient
        header.PixelSpacing = first.PixelSpacing
    first.SpacingBetweenSlices = DSfloat(round(distance, 6), auto_format=True)
    if not first.get("SliceThickness"):
        first.SliceThickness = first.SpacingBetweenSlices
    kept = [deepcopy(first[keyword]) for keyword in ASKED_FOR if keyword in first]
    if first.get("SpecificCharacterSet"):
        kept.append(first["SpecificCharacterSet"])
    for keyword in ASKED_FOR:
        setattr(first, keyword, "")
    return kept
