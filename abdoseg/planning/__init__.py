"""nnU-Net's planning: what the data look like (fingerprint) and the network, patch and spacing that follow (plan)."""

from abdoseg.planning.fingerprint import fingerprint, measure_case
from abdoseg.planning.plan_file import read_plan
from abdoseg.planning.planner import PRESETS, check_options, feature_map_size, make_plan, target_spacing, topology

__all__ = [
    "PRESETS",
    "check_options",
    "feature_map_size",
    "fingerprint",
    "make_plan",
    "measure_case",
    "read_plan",
    "target_spacing",
    "topology",
]
