"""Inferers that do a whole case: raw volume in Hounsfield units in, uint8 label map on the same grid out."""

from abdoseg.inferers.cascade import CascadeInferer, rules_at
from abdoseg.inferers.center_first import CenterFirst
from abdoseg.inferers.coarse_to_fine import CoarseToFineInferer
from abdoseg.inferers.engines import ENGINES, Engine
from abdoseg.inferers.organs import organ_inferer_for
from abdoseg.inferers.precision import HalfInferer
from abdoseg.inferers.sliding_window import PlanInferer, mirrored_logits
from abdoseg.inferers.whole_volume import WholeVolumeInferer

__all__ = [
    "ENGINES",
    "CascadeInferer",
    "CenterFirst",
    "CoarseToFineInferer",
    "Engine",
    "HalfInferer",
    "PlanInferer",
    "WholeVolumeInferer",
    "mirrored_logits",
    "organ_inferer_for",
    "rules_at",
]
