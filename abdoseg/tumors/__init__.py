"""Tumors organ by organ (paper B): foci and hosts, crops, survival, pseudo-tumor filters, aorta, long scans."""

from abdoseg.tumors.aorta import AortaCrop, aorta_range, crop_to_aorta
from abdoseg.tumors.crops import PAPER_INFERENCE, PAPER_TRAINING, CropRule, host_box, host_boxes, widen_box
from abdoseg.tumors.hosts import (
    FAMILIES,
    NO_HOST,
    REST,
    TooManyFoci,
    TumorFocus,
    family_of,
    family_organs,
    host_map,
    most_frequent_organ,
    tumor_foci,
)
from abdoseg.tumors.survival import SurvivalRules, paste_tumor, surviving_tumor

__all__ = [
    "FAMILIES",
    "NO_HOST",
    "PAPER_INFERENCE",
    "PAPER_TRAINING",
    "REST",
    "AortaCrop",
    "CropRule",
    "SurvivalRules",
    "TooManyFoci",
    "TumorFocus",
    "aorta_range",
    "crop_to_aorta",
    "family_of",
    "family_organs",
    "host_box",
    "host_boxes",
    "host_map",
    "most_frequent_organ",
    "paste_tumor",
    "surviving_tumor",
    "tumor_foci",
    "widen_box",
]
