"""One random patient: pose, trunk, contrast, and every structure in the order in which it is painted."""

from dataclasses import dataclass

import numpy as np

from abdoseg.phantom import organs as anatomy
from abdoseg.phantom.contrast import Contrast, random_contrast
from abdoseg.phantom.grid import Pose, random_pose
from abdoseg.phantom.settings import PhantomSettings
from abdoseg.phantom.structures import Structure
from abdoseg.phantom.trunk import Trunk, random_trunk

# Bowel comes before all of these, the other vessels come after them; what comes later replaces what came earlier.
PAINTED_FIRST = (
    "liver",
    "portal vein trunk",
    "portal vein",
    "portal branch",
    "right hepatic vein",
    "middle hepatic vein",
    "left hepatic vein",
    "spleen",
    "stomach",
    "right kidney",
    "right kidney sinus",
    "left kidney",
    "left kidney sinus",
    "duodenum",
    "pancreas",
    "gallbladder",
    "right adrenal gland",
    "left adrenal gland",
)


@dataclass
class Patient:
    """Everything about a patient but the tumors.

    Parameters
    ----------
    pose, trunk, contrast : of this patient and this scan.
    missing : organ ids that the patient lacks.
    structures : in painting order.
    """

    pose: Pose
    trunk: Trunk
    contrast: Contrast
    missing: set[int]
    structures: list[Structure]

    @property
    def width(self) -> float:
        """Width of the body in mm."""
        return 2 * self.trunk.skin_half_width * self.pose.scale[0]

    @property
    def depth(self) -> float:
        """Depth of the body, from back to front, in mm."""
        return 2 * self.trunk.skin_half_depth * self.pose.scale[1]

    @property
    def back(self) -> float:
        """y of the skin of the back in mm of the patient's frame, before roll and displacement."""
        return (self.trunk.skin_center - self.trunk.skin_half_depth) * self.pose.scale[1]


def random_patient(body_rng: np.random.Generator, look_rng: np.random.Generator, settings: PhantomSettings) -> Patient:
    """Draw a patient.

    Parameters
    ----------
    body_rng : source of the anatomy.
    look_rng : source of the contrast.
    settings : difficulty, contrast phase and missing organs are used.
    """
    variation = 0.4 + 1.2 * settings.difficulty
    missing = _missing(body_rng, settings)
    pose, trunk = random_pose(body_rng, variation), random_trunk(body_rng)
    contrast = random_contrast(look_rng, settings.phase, settings.difficulty)
    jitter = anatomy.Jitter(body_rng, variation)
    solid = anatomy.solid_organs(jitter, contrast, missing)
    pipes = anatomy.vessels(jitter, contrast)
    gut = anatomy.gut(jitter, contrast)
    bowel = anatomy.bowel(jitter, contrast)
    named = solid | pipes | gut
    first = [named[name] for name in PAINTED_FIRST]
    later = [item for name, item in named.items() if name not in PAINTED_FIRST]
    present = [item for item in (*bowel, *first, *later) if not {item.organ, item.belongs_to} & missing]
    return Patient(pose, trunk, contrast, missing, present)


def _missing(rng: np.random.Generator, settings: PhantomSettings) -> set[int]:
    chance, side = rng.random(2), int(rng.choice([2, 13]))
    if settings.missing is not None:
        return set(settings.missing)
    return ({9} if chance[0] < 0.10 else set()) | ({side} if chance[1] < 0.02 else set())
