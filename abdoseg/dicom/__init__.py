"""DICOM in and out: a CT series as a volume in HU, its label map as a DICOM segmentation; needs the extra "dicom"."""

from abdoseg.dicom.choice import choose_series, fault_of, studies_of
from abdoseg.dicom.codes import CODES, Code, SegmentCode
from abdoseg.dicom.resampled import resample_volume
from abdoseg.dicom.segmentation import write_segmentation
from abdoseg.dicom.segmentation_reading import SEGMENTATION, read_segmentation
from abdoseg.dicom.series import Series, Slice, find_series
from abdoseg.dicom.stack import stack_slices
from abdoseg.dicom.volume import grid_of, read_volume

__all__ = [
    "CODES",
    "SEGMENTATION",
    "Code",
    "SegmentCode",
    "Series",
    "Slice",
    "choose_series",
    "fault_of",
    "find_series",
    "grid_of",
    "read_segmentation",
    "read_volume",
    "resample_volume",
    "stack_slices",
    "studies_of",
    "write_segmentation",
]
