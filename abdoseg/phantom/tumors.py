"""Tumors: where they grow, how large, how irregular, and how they stand out from their host."""

from dataclasses import dataclass

import numpy as np

from abdoseg.phantom.contrast import Contrast
from abdoseg.phantom.shapes import Ellipsoid
from abdoseg.phantom.structures import COLON, FAT, LUNG, OTHER, SMALL_BOWEL, TUMOR, Structure, soft_step
from abdoseg.phantom.trunk import Trunk, regions

# Host -> share of the tumors, organ id (0: none), tissues that it may replace, contrast in HU (portal venous).
HOSTS = {
    "liver": (0.36, 1, (1,), (-60, -22)),
    "right kidney": (0.10, 2, (2, FAT), (-120, -50)),
    "left kidney": (0.10, 13, (13, FAT), (-120, -50)),
    "pancreas": (0.17, 4, (4, FAT), (-55, -20)),
    "spleen": (0.03, 3, (3,), (-60, -25)),
    "stomach": (0.06, 11, (11, FAT), (-5, 25)),
    "colon": (0.08, 0, (COLON, FAT), (-5, 25)),
    "lymph node": (0.06, 0, (FAT, OTHER, SMALL_BOWEL), (-5, 20)),
    "lung": (0.04, 0, (LUNG,), (-20, 20)),
}
# Where tumors stand out most; below difficulty 0.5 the other hosts become rarer.
CLEAR_HOSTS = ("liver", "right kidney", "left kidney")
ORGAN_HOSTS = tuple(name for name, (_, organ, _, _) in HOSTS.items() if organ)
COLON_PARTS = ("colon ascending", "colon transverse", "colon descending")
# FLARE23's tumors have a median of 12 cm3 (papers-spec 1.3); what neighbors and organ surfaces cut off is added.
MEDIAN_MM3 = 16e3
SMALLEST_MM3, LARGEST_MM3 = 2.5e3, 350e3


@dataclass
class Tumor:
    """A tumor: its ``host`` (a key of `HOSTS`), what to paint, and the name of the structure it comes ``after``."""

    host: str
    structure: Structure
    after: str


def draw_count(rng: np.random.Generator, wanted: bool | None) -> int:
    """Number of tumors in a scan, 0..3; at least 1 if ``wanted``, 0 if not, by chance if None."""
    count = int(rng.choice([1, 2, 3], p=[0.55, 0.28, 0.17]))
    grown = rng.random() < 0.5
    return count if (grown if wanted is None else wanted) else 0


def draw_tumors(rng, wanted: bool | None, patient, z_range, difficulty: float) -> list[Tumor]:
    """Draw the tumors of one scan.

    Parameters
    ----------
    rng : source of randomness.
    wanted : True, False, or None for chance.
    patient : `abdoseg.phantom.patient.Patient`; tumors grow in organs that the patient has.
    z_range : lowest and highest z (mm, reference anatomy) that the scan shows.
    difficulty : 0..1; lowers the contrast and the size, and makes hosts with little contrast more frequent.
    """
    trunk, contrast = patient.trunk, patient.contrast
    shapes = {item.name: item.shape for item in patient.structures}
    colon = str(rng.choice(COLON_PARTS))
    count = draw_count(rng, wanted)
    names = [name for name in HOSTS if name in shapes or name not in ORGAN_HOSTS]
    rarer = min(0.2 + 1.6 * difficulty, 1.0)
    shares = np.array([HOSTS[name][0] * (1.0 if name in CLEAR_HOSTS else rarer) for name in names])
    tumors, host = [], None
    for _ in range(20 * count):
        if len(tumors) == count:
            break
        # A second tumor is often a second one in the same organ.
        if host is None or rng.random() < 0.6:
            host = str(rng.choice(names, p=shares / shares.sum()))
        # At difficulty 0.5 as large as FLARE23's, and as different in size; at 0 2.4 times as large, and more alike.
        median = MEDIAN_MM3 * 6 ** (0.5 - difficulty)
        volume = float(np.clip(median * rng.lognormal(0, 0.6 + 1.1 * difficulty), SMALLEST_MM3, LARGEST_MM3))
        radius = (3 * volume / (4 * np.pi)) ** (1 / 3)
        if host not in ("liver", "spleen"):
            radius = min(radius, 24.0)
        if host in ("lymph node", "lung"):
            radius = min(radius, 15.0)
        grown_from = shapes.get({"colon": colon, "lymph node": "aorta"}.get(host, host))
        center = _place(rng, host, radius, grown_from, trunk, z_range)
        if center is not None:
            structure = _structure(rng, host, center, radius, contrast, difficulty)
            tumors.append(Tumor(host, structure, host if host in ORGAN_HOSTS else "aorta"))
    return tumors


def _place(rng, host: str, radius: float, shape, trunk: Trunk, z_range) -> np.ndarray | None:
    """A center of a tumor, or None when 200 tries find no room."""
    if host == "lymph node":
        curve = shape.curve
        along = curve[rng.integers(0, len(curve), 200)]
        angle = rng.uniform(0.0, np.pi, 200)
        away = 12 + radius * 0.8
        points = along + np.stack([np.cos(angle) * away, np.sin(angle) * away, rng.normal(0, 5, 200)], axis=1)
        depth = np.full(200, -radius)
    elif host == "colon":
        curve = shape.curve
        points = curve[rng.integers(0, len(curve), 200)] + rng.normal(0, 6, (200, 3))
        depth = np.full(200, -radius)
    else:
        low, high = (
            (shape.low, shape.high) if host != "lung" else (np.array([-130, -45, 30]), np.array([130, 110, 150]))
        )
        points = rng.uniform(low, high, (200, 3))
        x, y, z = points.astype(np.float32).T
        region = regions(trunk, _Points(x, y, z))
        depth = np.maximum(region.trunk, 5 - region.abdomen) if host == "lung" else shape(x, y, z)
        if host != "lung":
            depth = np.maximum(depth, region.abdomen)
    # Within the organ for the most part; kidney, pancreas and stomach tumors may bulge out.
    needed = {"liver": 0.5, "spleen": 0.6, "lung": 0.9, "stomach": 0.0, "pancreas": 0.12}.get(host, 0.3)
    room = np.nonzero((depth < -needed * radius) & (points[:, 2] > z_range[0] + 8) & (points[:, 2] < z_range[1] - 8))[0]
    if len(room) == 0:
        return None
    if host == "stomach":  # in the wall, not in the lumen
        room = room[np.argsort(np.abs(depth[room]))[:3]]
    return points[room[0]]


@dataclass
class _Points:
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray


def _structure(rng, host: str, center, radius: float, contrast: Contrast, difficulty: float) -> Structure:
    _, organ, over, (low, high) = HOSTS[host]
    hu = contrast.hu
    base = {
        "liver": hu["liver"],
        "right kidney": hu["renal cortex"],
        "left kidney": hu["renal cortex"],
        "pancreas": hu["pancreas"],
        "spleen": hu["spleen"],
    }.get(host, hu["wall"])
    # As in the table at difficulty 0.5; three times as clear at 0, nothing at 1.
    step = rng.uniform(low, high) * max(3.0 - 4.0 * difficulty, 2.0 - 2.0 * difficulty)
    if contrast.phase == "plain":
        step *= 0.5 if host not in ("right kidney", "left kidney") else max(0.6 - 0.96 * difficulty, 0.12)
    elif contrast.phase == "arterial" and host == "liver" and rng.random() < 0.9 * difficulty:
        step = -step  # hypervascular
    solid = base + step
    necrosis = rng.uniform(25, 55) if radius > 13 and rng.random() < 0.5 else 0.0
    rim = rng.uniform(5, 25) if rng.random() < 0.35 else 0.0
    mottle = rng.uniform(2, 12)
    phase = rng.uniform(0, 6.28, 3).astype(np.float32)

    def look(distance, grid, width):
        value = solid + mottle * np.sin(0.35 * grid.x + phase[0]) * np.sin(0.4 * grid.y + 0.3 * grid.z + phase[1])
        value = value + rim * soft_step(-distance - 4, 4.0)
        return value - necrosis * soft_step(distance + np.float32(0.45 * radius), 6.0)

    bumps = np.column_stack(
        [
            rng.normal(0, 1.6 / radius, (5, 3)) * np.array([1.0, 1.3, 1.8, 2.4, 3.2])[:, None],
            rng.uniform(0, 2 * np.pi, 5),
            radius * np.array([0.13, 0.1, 0.07, 0.05, 0.04]) * (0.5 + difficulty),
        ]
    )
    radii = radius * np.exp(rng.normal(0, 0.16, 3))
    shape = Ellipsoid(tuple(center), tuple(radii), tuple(rng.uniform(-40, 40, 3)), bumps)
    within = {"lung": "trunk", "lymph node": "trunk", "colon": "trunk"}.get(host, "abdomen")
    return Structure(f"{host} tumor", shape, look, organ, TUMOR, within=within, over=(*over, TUMOR))
