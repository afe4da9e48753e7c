"""What breaks training, found in files before it does: headers, voxels, labels, and scans that occur twice."""

from abdoseg.checks.duplicates import duplicate_faults
from abdoseg.checks.faults import (
    FAULT_KINDS,
    REPAIRED,
    SET_ASIDE,
    SEVERITIES,
    WARNING,
    Fault,
    FaultKind,
    fault,
    is_set_aside,
)
from abdoseg.checks.grid import grid_fault, on_grid
from abdoseg.checks.header import affine_faults, dimension_fault, open_checked, with_one_affine
from abdoseg.checks.images import ImageTally, hu_faults, image_faults
from abdoseg.checks.labels import FractionError, LabelTally, label_faults, place_faults, volume_faults, whole_values
from abdoseg.checks.limits import VOLUME_LIMITS_CM3, VolumeLimits
from abdoseg.checks.slabs import read_slabs

__all__ = [
    "FAULT_KINDS",
    "REPAIRED",
    "SET_ASIDE",
    "SEVERITIES",
    "VOLUME_LIMITS_CM3",
    "WARNING",
    "Fault",
    "FaultKind",
    "FractionError",
    "ImageTally",
    "LabelTally",
    "VolumeLimits",
    "affine_faults",
    "dimension_fault",
    "duplicate_faults",
    "fault",
    "grid_fault",
    "hu_faults",
    "image_faults",
    "is_set_aside",
    "label_faults",
    "on_grid",
    "open_checked",
    "place_faults",
    "read_slabs",
    "volume_faults",
    "whole_values",
    "with_one_affine",
]
