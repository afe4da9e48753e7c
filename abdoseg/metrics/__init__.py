"""How good a segmentation is: DSC and NSD as FLARE23 scores them, and their means over many cases."""

from abdoseg.metrics.case import score_label_maps, to_ras
from abdoseg.metrics.flare import case_presence, dice, flare_scores
from abdoseg.metrics.summary import summarize
from abdoseg.metrics.surface import surface_dsc

__all__ = ["case_presence", "dice", "flare_scores", "score_label_maps", "summarize", "surface_dsc", "to_ras"]
