"""Data sets of others in our terms: their label values, what somebody looked for, left and right by position."""

from abdoseg.datasets.annotation import STRONG_RULES, annotated_classes
from abdoseg.datasets.convention import LabelConvention
from abdoseg.datasets.conversion import convert_labels, read_labels
from abdoseg.datasets.declaration import declared_convention, ids_in, named_convention

__all__ = [
    "STRONG_RULES",
    "LabelConvention",
    "annotated_classes",
    "convert_labels",
    "declared_convention",
    "ids_in",
    "named_convention",
    "read_labels",
]
