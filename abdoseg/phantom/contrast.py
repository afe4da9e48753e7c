"""Hounsfield units of the tissues in the three usual contrast phases, with a patient's own deviations."""

from dataclasses import dataclass

import numpy as np

PHASES = ("plain", "arterial", "portal")
PHASE_SHARES = (0.2, 0.2, 0.6)

# Typical means in HU: plain, arterial, portal venous phase; and the spread from patient to patient.
MEANS = {
    "liver": (54, 66, 106, 9),
    "spleen": (47, 108, 116, 7),
    "renal cortex": (33, 185, 180, 12),
    "renal medulla": (31, 85, 160, 14),
    "renal sinus": (-60, -55, -40, 25),
    "pancreas": (38, 92, 92, 10),
    "aorta": (41, 290, 148, 14),
    "cava": (41, 85, 132, 14),
    "cava below kidneys": (41, 45, 112, 14),
    "portal vein": (42, 95, 158, 12),
    "hepatic vein": (43, 62, 142, 12),
    "adrenal": (26, 66, 74, 8),
    "bile": (8, 8, 9, 6),
    "wall": (38, 66, 82, 8),
    "esophagus": (37, 52, 64, 6),
    "muscle": (52, 58, 63, 4),
    "heart": (41, 190, 140, 12),
    "node": (38, 62, 80, 8),
    "disc": (82, 85, 88, 8),
    "cord": (32, 34, 34, 4),
    "marrow": (165, 170, 180, 35),
    "cortical bone": (480, 490, 500, 70),
    "fat": (-103, -103, -102, 6),
    "lung": (-835, -830, -830, 25),
}
SOFT_TISSUE = 62.0  # HU towards which difficulty pulls every soft organ


@dataclass
class Contrast:
    """HU of one scan: ``phase`` and a table of tissue name -> HU."""

    phase: str
    hu: dict[str, float]


def random_contrast(rng: np.random.Generator, phase: str | None, difficulty: float) -> Contrast:
    """Draw the contrast of one scan.

    Parameters
    ----------
    rng : source of randomness.
    phase : one of ``PHASES``, or None to draw it (60% portal venous, 20% arterial, 20% plain).
    difficulty : 0..1; pulls the organs towards each other and widens their spread.
    """
    drawn = str(rng.choice(PHASES, p=PHASE_SHARES))
    phase = phase or drawn
    column = PHASES.index(phase)
    timing = 1 + 0.15 * rng.normal()  # early or late, more or less agent: all enhancement changes together
    hu = {}
    for name, means in MEANS.items():
        value = means[0] + (means[column] - means[0]) * timing + rng.normal() * means[3] * (0.5 + difficulty)
        if -20 < means[0] < 100:
            value = SOFT_TISSUE + (value - SOFT_TISSUE) * (1.1 - 0.4 * difficulty)
        hu[name] = float(value)
    if rng.random() < 0.12:  # fatty liver
        hu["liver"] -= rng.uniform(15, 45)
    # Stomach and bowel: water, food, or positive oral contrast.
    hu["content"] = float(rng.uniform(120, 260) if rng.random() < 0.18 else rng.uniform(5, 45))
    hu["feces"] = float(rng.uniform(-60, 40))
    return Contrast(phase, hu)
