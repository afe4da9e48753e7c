"""Hounsfield units of one synthetic scan: the contrast phase, how far it has come, and the patient's deviations."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from abdoseg.phantom.contrast import MEANS
from abdoseg.synthesis.tissues import (
    ADRENALS,
    AORTA,
    BLADDER,
    BONE,
    CARTILAGE,
    CAVA,
    COLON,
    COUNT,
    DUODENUM,
    ESOPHAGUS,
    FAT,
    GALLBLADDER,
    KIDNEYS,
    LIVER,
    LUNG,
    MUSCLE,
    OTHER,
    OUTSIDE,
    PANCREAS,
    SMALL_BOWEL,
    SPLEEN,
    STOMACH,
    TABLE,
    TRACHEA,
    VESSEL,
)

PHASES = ("plain", "arterial", "portal", "late")
PHASE_SHARES = (0.35, 0.15, 0.4, 0.1)
# Of each phase, the ranges of how much of the arterial and of the portal venous enhancement is there.
ENHANCEMENT = {
    "plain": ((0.0, 0.05), (0.0, 0.05)),
    "arterial": ((0.5, 1.15), (0.0, 0.3)),
    "portal": ((0.0, 0.2), (0.6, 1.25)),
    "late": ((0.0, 0.0), (0.3, 0.75)),
}
# Spread between patients relative to the phantom's, which is that of one scanner: usual scans, and far-fetched ones
# (domain randomization), which keep a network from trusting HU too much.
USUAL, WIDE = 1.6, 4.0
WIDE_SHARE = 0.25
# Tissue -> name in the table of means, of what has one value all over.
PLAIN_TISSUES: dict[int, str] = {
    LIVER: "liver",
    SPLEEN: "spleen",
    PANCREAS: "pancreas",
    AORTA: "aorta",
    CAVA: "cava",
    ESOPHAGUS: "esophagus",
    STOMACH: "wall",
    DUODENUM: "wall",
    COLON: "wall",
    SMALL_BOWEL: "wall",
    GALLBLADDER: "bile",
    BLADDER: "bile",
    BONE: "marrow",
    MUSCLE: "muscle",
    LUNG: "lung",
    VESSEL: "heart",
    OTHER: "node",
    FAT: "fat",
    **dict.fromkeys(KIDNEYS, "renal cortex"),
    **dict.fromkeys(ADRENALS, "adrenal"),
}
FIXED_HU = {OUTSIDE: -1000.0, TRACHEA: -980.0, TABLE: -500.0, CARTILAGE: 105.0}


@dataclass(frozen=True)
class Contrast:
    """HU of one scan: ``phase`` and a table of tissue name -> HU, names as in `abdoseg.phantom.contrast.MEANS`."""

    phase: str
    hu: Mapping[str, float]


def draw_contrast(rng: np.random.Generator, phase: str | None = None) -> Contrast:
    """Draw the contrast of one scan.

    Vessels, kidneys, liver, spleen and pancreas take up contrast agent together: one phase, one dose and one moment for
    all, then deviations of each.

    Parameters
    ----------
    rng : source of randomness.
    phase : one of ``PHASES``, or None to draw it; a third of all scans is plain.
    """
    drawn = str(rng.choice(PHASES, p=PHASE_SHARES))
    phase = phase or drawn
    arterial, portal = (rng.uniform(*limits) for limits in ENHANCEMENT[phase])
    dose = rng.uniform(0.8, 1.25)  # agent per body weight, and tube voltage
    spread = WIDE if rng.random() < WIDE_SHARE else USUAL
    common = rng.normal(0, 3) * spread
    hu = {}
    for name, (plain, in_arterial, in_portal, deviation) in MEANS.items():
        value = plain + dose * (arterial * (in_arterial - plain) + portal * (in_portal - plain))
        value += rng.normal() * deviation * (spread if -70 < plain < 100 else USUAL)
        hu[name] = float(value + common * (-70 < plain < 100))
    if rng.random() < 0.15:  # fatty liver
        hu["liver"] -= rng.uniform(15, 60)
    if rng.random() < 0.1:  # sludge, or excreted agent
        hu["bile"] += rng.uniform(10, 80)
    return Contrast(phase, hu)


def tissue_means(contrast: Contrast) -> np.ndarray:
    """HU by tissue id, (COUNT,) float32; of hollow organs and bones, that of the wall and of the marrow."""
    table = np.zeros(COUNT, np.float32)
    for tissue, name in PLAIN_TISSUES.items():
        table[tissue] = contrast.hu[name]
    for tissue, value in FIXED_HU.items():
        table[tissue] = value
    return table
