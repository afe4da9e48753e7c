"""One phantom scan: image, complete truth, tissue map, affine and what a reader should know about them."""

from dataclasses import dataclass, field

import numpy as np

from abdoseg.labels import ORGAN_IDS, TUMOR_ID
from abdoseg.phantom.paint import paint_volume
from abdoseg.phantom.patient import random_patient
from abdoseg.phantom.scanner import acquire, random_scan
from abdoseg.phantom.settings import PhantomError, PhantomSettings
from abdoseg.phantom.tumors import draw_tumors

ATTEMPTS = 12
FEWEST_VOXELS = 8  # of an organ or tumor that was asked for


@dataclass
class PhantomCase:
    """A scan in its stored orientation.

    Parameters
    ----------
    image : (x, y, z) int16 HU.
    truth : (x, y, z) uint8, complete truth: 0 background, 1..13 organs, 14 tumor.
    organs : (x, y, z) uint8, the same without tumor: a tumor's voxels carry its host organ, 0 outside organs.
    tissues : (x, y, z) uint8, `abdoseg.phantom.TISSUES`; the organs as in ``truth``.
    affine : (4, 4) voxel indices -> world mm, RAS+.
    info : plain data: phase, orientation, shape, spacing (mm), missing organs, organs not in view, tumors (host, mm^3).
    """

    image: np.ndarray
    truth: np.ndarray
    organs: np.ndarray
    tissues: np.ndarray
    affine: np.ndarray
    info: dict = field(default_factory=dict)


def make_case(seed, settings: PhantomSettings | None = None) -> PhantomCase:
    """Make one phantom scan.

    Parameters
    ----------
    seed : int, sequence of ints, or `numpy.random.Generator`; the same seed and settings give the same arrays.
    settings : `PhantomSettings`; None for the defaults.

    Returns
    -------
    PhantomCase in its stored orientation; two settings that differ only in ``orientation`` give the same world content.

    Raises
    ------
    PhantomError
        If a wanted tumor or organ is not seen in any of ``ATTEMPTS`` patients.
    """
    settings = settings or PhantomSettings()
    if isinstance(seed, np.random.Generator):
        seed = seed.integers(0, 2**32, 4)
    numbers = np.atleast_1d(seed).tolist()
    for attempt in range(ATTEMPTS):
        case = _attempt(np.random.SeedSequence([*numbers, attempt]), settings)
        if case is not None:
            return case
    raise PhantomError(f"Seed {numbers}: no patient in {ATTEMPTS} shows what {settings} asks for; ask for less.")


def _attempt(sequence: np.random.SeedSequence, settings: PhantomSettings) -> PhantomCase | None:
    body_rng, look_rng, scan_rng, tumor_rng, noise_rng = (np.random.default_rng(s) for s in sequence.spawn(5))
    patient = random_patient(body_rng, look_rng, settings)
    scan = random_scan(scan_rng, settings, patient.width, patient.depth, patient.pose.scale[2])
    z_range = scan.axes()[2][[0, -1]] / patient.pose.scale[2]
    tumors = draw_tumors(tumor_rng, settings.tumors, patient, z_range, settings.difficulty)
    organs, tissues, hu, tumor = paint_volume(patient, tumors, scan)
    truth = np.where(tumor > 0, np.uint8(TUMOR_ID), organs)
    counts = np.bincount(truth.ravel(), minlength=TUMOR_ID + 1)
    if settings.tumors and counts[TUMOR_ID] < FEWEST_VOXELS:
        return None
    if settings.complete and not _complete(counts, truth, patient.missing):
        return None
    image = acquire(hu, scan, noise_rng)
    stored = [scan.stored(volume)[0] for volume in (image, truth, organs, tissues)]
    affine = scan.stored(image)[1]
    mm3 = np.bincount(tumor.ravel(), minlength=len(tumors) + 1) * float(np.prod(scan.spacing))
    info = {
        "phase": patient.contrast.phase,
        "orientation": scan.orientation,
        "shape": list(stored[0].shape),
        "spacing": [round(float(s), 4) for s in np.linalg.norm(affine[:3, :3], axis=0)],
        "missing": sorted(patient.missing),
        "not_in_view": [organ for organ in ORGAN_IDS if counts[organ] == 0 and organ not in patient.missing],
        "tumors": [
            {"host": t.host, "volume_mm3": round(float(v), 1)} for t, v in zip(tumors, mm3[1:], strict=True) if v
        ],
    }
    return PhantomCase(*stored, affine, info)


def _complete(counts: np.ndarray, truth: np.ndarray, missing: set[int]) -> bool:
    """Every organ that the patient has is seen, and none of the small or paired ones is cut at the scan's ends."""
    seen = all(counts[organ] >= FEWEST_VOXELS for organ in ORGAN_IDS if organ not in missing)
    cut = np.isin(truth[:, :, [0, -1]], (2, 3, 4, 7, 8, 9, 13)).any()
    return bool(seen and not cut)
