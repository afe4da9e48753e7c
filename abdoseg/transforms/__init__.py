"""Transforms of images, label maps and logits, in (x, y, z) and RAS; dictionary transforms end in d, as in MONAI."""

from abdoseg.transforms.components import ComponentRules, keep_components
from abdoseg.transforms.flip import FLIP_AXES, RandAnatomicalFlipd, flip_flags, flip_image, flip_labels, flip_logits
from abdoseg.transforms.geometry import affine_of, file_name_of, require_ras, resized_spacing, spacing_of
from abdoseg.transforms.intensity import normalize_ct, window_and_standardize
from abdoseg.transforms.known import KnownClassesd
from abdoseg.transforms.resample import resize_labels, resize_volume, restore_labels
from abdoseg.transforms.roi import box_extent_mm, box_on_source, expand_box, foreground_box, whole_box
from abdoseg.transforms.save import SaveLabeld
from abdoseg.transforms.scan import CheckScand, LoadScand
from abdoseg.transforms.student import PrepareStudentd
from abdoseg.transforms.teacher import PrepareTeacherd, image_at_plan

__all__ = [
    "FLIP_AXES",
    "CheckScand",
    "ComponentRules",
    "KnownClassesd",
    "LoadScand",
    "PrepareStudentd",
    "PrepareTeacherd",
    "RandAnatomicalFlipd",
    "SaveLabeld",
    "affine_of",
    "box_extent_mm",
    "box_on_source",
    "expand_box",
    "file_name_of",
    "flip_flags",
    "flip_image",
    "flip_labels",
    "flip_logits",
    "foreground_box",
    "image_at_plan",
    "keep_components",
    "normalize_ct",
    "require_ras",
    "resize_labels",
    "resize_volume",
    "resized_spacing",
    "restore_labels",
    "spacing_of",
    "whole_box",
    "window_and_standardize",
]
