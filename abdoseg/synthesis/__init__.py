"""Synthetic CT: a tissue map becomes a scan in HU and its label, with random shape, contrast and scanner."""

from abdoseg.synthesis.anatomy import Anatomy, PrepareAnatomyd, check_tissues, make_anatomy
from abdoseg.synthesis.case import Parameters, SyntheticCase, apply, draw, told
from abdoseg.synthesis.contrast import Contrast, draw_contrast, tissue_means
from abdoseg.synthesis.frame import VIEWS, Frame, draw_frame
from abdoseg.synthesis.heads import head_tissues
from abdoseg.synthesis.lesions import Tumor, draw_removed, draw_tumors, grow, remove_organs
from abdoseg.synthesis.look import Content, Look, Painter, draw_look
from abdoseg.synthesis.patients import phantom_tissues
from abdoseg.synthesis.recontrast import recontrast
from abdoseg.synthesis.scanner import Scanner, Streaks, acquire, add_surroundings, draw_scanner
from abdoseg.synthesis.shape import Shape, Swelling, draw_shape, positions, sample
from abdoseg.synthesis.tissues import TISSUE_NAMES, labels_of
from abdoseg.synthesis.transforms import RandRecontrastd, RandSynthesized

__all__ = [
    "TISSUE_NAMES",
    "VIEWS",
    "Anatomy",
    "Content",
    "Contrast",
    "Frame",
    "Look",
    "Painter",
    "Parameters",
    "PrepareAnatomyd",
    "RandRecontrastd",
    "RandSynthesized",
    "Scanner",
    "Shape",
    "Streaks",
    "Swelling",
    "SyntheticCase",
    "Tumor",
    "acquire",
    "add_surroundings",
    "apply",
    "check_tissues",
    "draw",
    "draw_contrast",
    "draw_frame",
    "draw_look",
    "draw_removed",
    "draw_scanner",
    "draw_shape",
    "draw_tumors",
    "grow",
    "head_tissues",
    "labels_of",
    "make_anatomy",
    "phantom_tissues",
    "positions",
    "recontrast",
    "remove_organs",
    "sample",
    "tissue_means",
    "told",
]
