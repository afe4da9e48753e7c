"""How good a segmentation is: DSC and NSD as FLARE23 scores them, and their means over many cases."""

from abdoseg.metrics.flare import case_presence, dice, flare_scores
from abdoseg.metrics.summary import summarize
from abdoseg.metrics.surface import surface_dsc

__all__ = ["case_presence", "dice", "flare_scores", "summarize", "surface_dsc"]
