"""Anatomies without any patient: the phantom's tissue maps."""

from collections.abc import Sequence

import numpy as np

from abdoseg.phantom import PhantomSettings
from abdoseg.phantom.paint import paint_volume
from abdoseg.phantom.patient import random_patient
from abdoseg.phantom.scanner import Scan
from abdoseg.synthesis.tissues import OUTSIDE, TABLE

# Lowest and highest z of the map in mm of the phantom's reference anatomy.
Z_RANGE = (-170.0, 140.0)
AIR_MM = 12.0


def phantom_tissues(seed: int | Sequence[int], spacing: float = 2.5) -> tuple[np.ndarray, np.ndarray]:
    """Make the tissue map of a phantom patient who has every organ and no tumor.

    Parameters
    ----------
    seed : whole number, or several; the same give the same map.
    spacing : mm along all axes.

    Returns
    -------
    tissues (x, y, z) uint8, RAS, ids of `abdoseg.synthesis.tissues`; affine (4, 4), voxel indices -> mm.
    """
    body_rng, look_rng = (np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(2))
    settings = PhantomSettings(missing=frozenset(), phase="plain")
    patient = random_patient(body_rng, look_rng, settings)
    low = np.array([-patient.width / 2 - AIR_MM, patient.back - AIR_MM, Z_RANGE[0] * patient.pose.scale[2]])
    high = np.array(
        [patient.width / 2 + AIR_MM, patient.back + patient.depth + AIR_MM, Z_RANGE[1] * patient.pose.scale[2]]
    )
    scan = Scan(
        shape=tuple(int(n) for n in np.ceil((high - low) / spacing)),
        spacing=(spacing,) * 3,
        low=low,
        isocenter=np.zeros(3),
        noise=0.0,
        blur=(0.0, 0.0, 0.0),
        circle=None,
        orientation="RAS",
    )
    organs, tissues, _, _ = paint_volume(patient, [], scan)
    # Vessels and cysts in an organ belong to it; the table is the scanner's.
    tissues = np.where(organs > 0, organs, tissues).astype(np.uint8)
    tissues[tissues == TABLE] = OUTSIDE
    return tissues, scan.affine()
