"""Tumors organ by organ (paper B): foci and hosts, crops, survival, pseudo-tumor filters, aorta, long scans."""

from abdoseg.tumors.aorta import AortaCrop, aorta_range, clear_other_slices
from abdoseg.tumors.assignment import AssignHosts, host_counts, takes_pseudo_tumor
from abdoseg.tumors.contrast import ENHANCED_HU, aorta_median_hu
from abdoseg.tumors.crops import CropRule, host_boxes, widen_box
from abdoseg.tumors.decisions import Decision, keep_pseudo_tumors
from abdoseg.tumors.filtering import FilterPseudoTumors
from abdoseg.tumors.hosts import (
    EVERY_FAMILY,
    FAMILIES,
    NO_HOST,
    REST,
    TooManyFoci,
    TumorFocus,
    family_of,
    family_organs,
    host_in_box,
    host_map,
    most_frequent_organ,
    tumor_foci,
)
from abdoseg.tumors.long_scans import LongScan, lengthen, long_scan_rule, shorten
from abdoseg.tumors.pseudo import PseudoTumorRules, reject_pseudo_tumor
from abdoseg.tumors.stability import label_change, unstable_cases
from abdoseg.tumors.survival import SurvivalRules, paste_tumor, surviving_tumor
from abdoseg.tumors.targets import organ_target

__all__ = [
    "ENHANCED_HU",
    "EVERY_FAMILY",
    "FAMILIES",
    "NO_HOST",
    "REST",
    "AortaCrop",
    "AssignHosts",
    "CropRule",
    "Decision",
    "FilterPseudoTumors",
    "LongScan",
    "PseudoTumorRules",
    "SurvivalRules",
    "TooManyFoci",
    "TumorFocus",
    "aorta_median_hu",
    "aorta_range",
    "clear_other_slices",
    "family_of",
    "family_organs",
    "host_boxes",
    "host_counts",
    "host_in_box",
    "host_map",
    "keep_pseudo_tumors",
    "label_change",
    "lengthen",
    "long_scan_rule",
    "most_frequent_organ",
    "organ_target",
    "paste_tumor",
    "reject_pseudo_tumor",
    "shorten",
    "surviving_tumor",
    "takes_pseudo_tumor",
    "tumor_foci",
    "unstable_cases",
    "widen_box",
]
