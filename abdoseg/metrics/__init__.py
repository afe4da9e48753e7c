"""How good a segmentation is: DSC and NSD as FLARE23 scores them, strict scores beside them, and means of many cases.

``abdoseg.metrics.hosts``, ``lesions``, ``strict_summary``, ``paired`` and ``replicates`` are imported by their own
names: they load libraries (torch, SciPy's statistics) that scoring otherwise does without.
"""

from abdoseg.metrics.case import score_label_maps, to_ras
from abdoseg.metrics.flare import case_presence, dice, flare_scores
from abdoseg.metrics.strict import strict_scores
from abdoseg.metrics.summary import summarize, summarize_hosts
from abdoseg.metrics.surface import surface_dsc

__all__ = [
    "case_presence",
    "dice",
    "flare_scores",
    "score_label_maps",
    "strict_scores",
    "summarize",
    "summarize_hosts",
    "surface_dsc",
    "to_ras",
]
