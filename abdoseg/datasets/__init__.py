"""Data sets of others in our terms: their label values, what somebody looked for, left and right by position."""

from abdoseg.datasets.annotation import STRONG_RULES, annotated_classes
from abdoseg.datasets.convention import LabelConvention
from abdoseg.datasets.conversion import convert_labels, read_labels

__all__ = ["STRONG_RULES", "LabelConvention", "annotated_classes", "convert_labels", "read_labels"]
