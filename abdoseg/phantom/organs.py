"""The 13 organs, vessels and bowel of one patient as structures, in the order in which they are painted.

Positions are in mm of a reference anatomy: x to the patient's right, y to the front, z to the head; the origin is the
middle of the vertebral body at the height of the kidneys' centers.
"""

from dataclasses import dataclass

import numpy as np

from abdoseg.phantom.contrast import Contrast
from abdoseg.phantom.shapes import Difference, Ellipsoid, Tube, Union
from abdoseg.phantom.structures import COLON, FAT, MUSCLE, OTHER, SMALL_BOWEL, VESSEL, Structure, hollow, layered

UNLABELLED = (MUSCLE, VESSEL, COLON, SMALL_BOWEL, OTHER, FAT)
BOWEL_ROOM = (FAT, COLON, SMALL_BOWEL)


@dataclass
class Jitter:
    """Random deviations of positions (mm), sizes (factors) and angles (degrees), all scaled by ``variation``."""

    rng: np.random.Generator
    variation: float

    def shift(self, points, spread):
        """Points (..., 3) moved by a random vector each."""
        return np.asarray(points, float) + self.rng.normal(0, spread * self.variation, np.shape(points))

    def factor(self, spread) -> float:
        """A factor near 1."""
        return float(np.clip(1 + self.rng.normal(0, spread * self.variation), 0.6, 1.5))

    def angles(self, base):
        """Angles (3,) near ``base``."""
        return tuple(np.asarray(base) + self.rng.normal(0, 5.0 * self.variation, 3))

    def ellipsoid(self, center, radii, angles=(0.0, 0.0, 0.0), move=4.0, size=0.06) -> Ellipsoid:
        """An ellipsoid near the one given."""
        whole = self.factor(size)
        radii = tuple(r * whole * self.factor(size / 2) for r in radii)
        return Ellipsoid(tuple(self.shift(center, move)), radii, self.angles(angles))

    def tube(self, points, radii, move, size=0.08, **options) -> Tube:
        """A tube near the one given: moved as a whole, then every control point a little by itself."""
        points = self.shift(self.rng.normal(0, move * self.variation, 3) + np.asarray(points, float), move / 2)
        return Tube(points, np.asarray(radii, float) * self.factor(size), **options)


def solid_organs(jitter: Jitter, contrast: Contrast, missing: set[int]) -> dict[str, Structure]:
    """Liver, spleen, kidneys, pancreas, adrenals and gallbladder by name."""
    hu = contrast.hu
    right = jitter.ellipsoid((88, 44, 28), (76, 96, 92), (8, 0, 0))
    left = jitter.ellipsoid((10, 86, 60), (86, 46, 46), (-14, -10, -12), size=0.12)
    hollow_side = jitter.ellipsoid((12, 44, -24), (50, 70, 58), size=0.05)
    liver = Difference(Union([right, left], 26.0), [hollow_side])
    spleen = Difference(
        jitter.ellipsoid((-100, -4, 42), (54, 72, 68), (-20, 12, 10), size=0.1),
        [jitter.ellipsoid((-54, 26, 42), (30, 46, 58), size=0.04)],
    )
    found = {
        "liver": Structure("liver", liver, hu["liver"], 1, 1),
        "spleen": Structure("spleen", spleen, hu["spleen"], 3, 3),
    }
    if jitter.rng.random() < 0.25:
        found["liver cyst"] = _cyst(jitter.rng, "liver cyst", right, 1)
    bigger = 1.18 if missing & {2, 13} else 1.0  # the remaining kidney of a pair grows
    for side, organ, name, z in ((1, 2, "right kidney", -5), (-1, 13, "left kidney", 5)):
        kidney = jitter.ellipsoid((76 * side, -4, z), np.array([29.5, 28.5, 56]) * bigger, (-8, -10 * side, 32 * side))
        cortex = layered(hu["renal cortex"], hu["renal medulla"], 7.0)
        found[name] = Structure(name, kidney, cortex, organ, organ, sheath=abs(jitter.rng.normal(5, 2.5)))
        sinus_at = np.add(kidney.center, (-15 * side, 12, 0))
        sinus = jitter.ellipsoid(sinus_at, (13, 11, 21), (0, 0, 32 * side), 1.5)
        found[f"{name} sinus"] = Structure(f"{name} sinus", sinus, hu["renal sinus"], 0, FAT, belongs_to=organ)
        if jitter.rng.random() < 0.2:
            found[f"{name} cyst"] = _cyst(jitter.rng, f"{name} cyst", kidney, organ)
    pancreas = jitter.tube(
        [(20, 46, -28), (28, 53, -12), (18, 62, 4), (-8, 66, 12), (-34, 54, 19), (-62, 32, 28), (-84, 14, 36)],
        [8.5, 17, 12.5, 11, 12, 12, 8.5],
        move=5,
        size=0.13,
    )
    found["pancreas"] = Structure("pancreas", pancreas, hu["pancreas"], 4, 4, sheath=1.2)
    found["right adrenal gland"] = Structure("right adrenal", _adrenal(jitter, 1), hu["adrenal"], 7, 7, sheath=2.5)
    found["left adrenal gland"] = Structure("left adrenal", _adrenal(jitter, -1), hu["adrenal"], 8, 8, sheath=2.5)
    full = jitter.factor(0.14)
    gallbladder = jitter.tube(
        [(48, 62, 14), (57, 70, 3), (66, 80, -10), (71, 86, -20)], np.array([4, 10, 14.5, 11]) * full, move=4
    )
    bile = layered(hu["wall"], hu["bile"], 1.5)
    found["gallbladder"] = Structure("gallbladder", gallbladder, bile, 9, 9)
    return found


def _cyst(rng: np.random.Generator, name: str, host: Ellipsoid, organ: int) -> Structure:
    """A simple cyst: round, sharp, the HU of water; it is no tumor and stays part of its organ."""
    way = rng.normal(0, 1, 3)
    center = np.add(host.center, 0.55 * np.asarray(host.radii) * way / np.linalg.norm(way))
    radius = float(rng.uniform(4, 12))
    return Structure(
        name, Ellipsoid(tuple(center), (radius,) * 3), float(rng.normal(6, 4)), organ, organ, over=(organ,)
    )


def _adrenal(jitter: Jitter, side: int) -> Union:
    """Two thin limbs that meet in front, like a V or a lambda, on the inner upper side of the kidney."""
    center = np.array([37.0, 10, 45]) if side > 0 else np.array([-43.0, 18, 38])
    center = jitter.shift(center, 3)
    limbs = []
    for turn, length in ((17, 13.0), (-27, 11.0)):
        turn = float(jitter.rng.normal(turn, 6 * jitter.variation)) * side
        back = -length * 0.85
        offset = np.array([np.sin(np.deg2rad(-turn)) * back, np.cos(np.deg2rad(turn)) * back, 0])
        limbs.append(
            Ellipsoid(
                tuple(center + offset), (3.1 * jitter.factor(0.12), length, 17 * jitter.factor(0.12)), (0, 0, turn)
            )
        )
    return Union(limbs, 2.0)


def vessels(jitter: Jitter, contrast: Contrast) -> dict[str, Structure]:
    """Aorta, inferior vena cava, esophagus, and the unlabelled vessels that a reader would look for."""
    hu, rng = contrast.hu, jitter.rng
    wide = jitter.factor(0.12)
    bend = rng.normal(0, 5 * jitter.variation, 3)
    aorta = jitter.tube(
        [
            (-17, 14, 200),
            (-16, 20, 130),
            (-12 + bend[0], 27, 70),
            (-11 + bend[1], 31, 10),
            (-7, 32, -50),
            (-3, 32, -88),
        ],
        np.array([13.5, 13.5, 13, 12, 11, 10]) * wide,
        move=2,
        step=14,
    )
    cava = jitter.tube(
        [(12, 34, 128), (22, 38, 104), (27, 35, 70), (25, 32, 30), (22, 30, -15), (19, 30, -60), (15, 28, -98)],
        np.array([14, 14, 13, 12, 11, 10, 9.5]) * jitter.factor(0.14),
        move=2.5,
        step=12,
        flatten=1.25,
    )

    def cava_hu(distance, grid, width):
        upper = 1 / (1 + np.exp(np.float32(-1 / 8) * (grid.z - 5)))
        return hu["cava below kidneys"] + (hu["cava"] - hu["cava below kidneys"]) * upper

    esophagus = jitter.tube(
        [(0, 24, 200), (-3, 33, 140), (-6, 40, 108), (-14, 46, 90), (-30, 52, 74)],
        [9.5, 9.5, 10, 10.5, 10.5],
        move=2.5,
        size=0.12,
    )
    air = float(esophagus.curve[:, 1].max() + 50) if rng.random() < 0.6 else None
    found = {
        "aorta": Structure("aorta", aorta, hu["aorta"], 5, 5, sheath=1.5, within=None),
        "inferior vena cava": Structure("inferior vena cava", cava, cava_hu, 6, 6, within=None),
        "esophagus": Structure("esophagus", esophagus, _esophagus_hu(hu, air), 10, 10, within=None),
    }
    thin = {
        "iliac right": ([(-3, 32, -88), (14, 26, -120), (40, 24, -165), (58, 34, -220)], [7, 7, 6, 6], "aorta"),
        "iliac left": ([(-3, 32, -88), (-18, 26, -120), (-42, 24, -165), (-60, 34, -220)], [7, 7, 6, 6], "aorta"),
        "iliac vein right": ([(15, 28, -98), (26, 18, -135), (48, 14, -180), (62, 28, -225)], [8, 7, 7, 6], "cava"),
        "iliac vein left": ([(15, 28, -98), (-10, 18, -130), (-38, 14, -172), (-58, 26, -225)], [8, 7, 7, 6], "cava"),
        "mesenteric artery": ([(-11, 36, 16), (-9, 52, 4), (-6, 58, -28), (2, 62, -75)], [4, 3.5, 3.5, 2.5], "aorta"),
        "celiac artery": ([(-12, 38, 30), (-10, 50, 33), (8, 58, 32), (30, 62, 30)], [4, 3.5, 3, 2.5], "aorta"),
        "mesenteric vein": ([(4, 58, 0), (7, 60, -30), (10, 64, -80)], [6.5, 5.5, 4], "portal vein"),
        "splenic vein": ([(4, 56, 2), (-20, 50, 12), (-50, 30, 22), (-84, 6, 38)], [5.5, 5, 4.5, 4], "portal vein"),
        "right renal vein": ([(24, 32, -3), (42, 24, -4), (62, 12, -4)], [5, 5, 4.5], "cava"),
        "left renal vein": ([(22, 34, 2), (-8, 44, 4), (-32, 28, 5), (-58, 12, 5)], [5, 3.5, 5, 5], "cava"),
    }
    for name, (points, radii, agent) in thin.items():
        shape = jitter.tube(points, radii, move=2, step=13)
        found[name] = Structure(name, shape, hu[agent], 0, VESSEL, within=None, over=UNLABELLED)
    # Inside the liver vessels belong to the liver, as in the reference labels.
    inside = {
        "portal vein": ([(4, 58, 2), (24, 60, 20), (44, 58, 32), (74, 46, 40), (104, 36, 38)], [6.5, 6.5, 6, 4.5, 2]),
        "portal branch": ([(44, 58, 32), (30, 74, 48), (8, 84, 58), (-20, 88, 60)], [4.5, 4.5, 3.5, 2]),
        "right hepatic vein": ([(28, 38, 92), (60, 34, 82), (92, 34, 66), (116, 38, 44)], [5, 4.5, 3.5, 1.5]),
        "middle hepatic vein": ([(28, 42, 92), (44, 62, 80), (58, 80, 58)], [5, 4, 2]),
        "left hepatic vein": ([(26, 42, 92), (6, 66, 80), (-16, 84, 68)], [4.5, 3.5, 1.5]),
    }
    for name, (points, radii) in inside.items():
        agent = "hepatic vein" if "hepatic" in name else "portal vein"
        shape = jitter.tube(points, radii, move=3, step=12)
        found[name] = Structure(name, shape, hu[agent], 1, 1, over=(1,))
    trunk = found["portal vein"].shape
    found["portal vein trunk"] = Structure("portal vein trunk", trunk, hu["portal vein"], 0, VESSEL, over=(FAT, OTHER))
    return found


def _esophagus_hu(hu, air):
    def value(distance, grid, width):
        core = -700.0 if air is not None else hu["esophagus"] - 12
        return hu["esophagus"] + (core - hu["esophagus"]) * np.clip((-distance - 6.0) / width, 0, 1) * 0.8

    return value


def gut(jitter: Jitter, contrast: Contrast) -> dict[str, Structure]:
    """Stomach and duodenum."""
    hu, rng = contrast.hu, jitter.rng
    full = float(np.clip(rng.lognormal(0, 0.16 * jitter.variation), 0.7, 1.3))
    stomach = Union(
        [
            jitter.ellipsoid((-58, 54, 60), np.array([34, 38, 34]) * full, (0, 20, 0)),
            jitter.tube(
                [(-58, 58, 58), (-64, 80, 40), (-60, 94, 18), (-36, 100, -4), (-8, 95, -6), (12, 84, 2), (20, 78, 6)],
                np.array([31, 30, 27, 22, 17, 13, 9]) * full**0.8,
                move=5,
            ),
        ],
        14.0,
    )
    gas = float(rng.normal(92, 9)) if rng.random() < 0.85 else None
    duodenum = jitter.tube(
        [
            (21, 78, 6),
            (38, 71, 8),
            (49, 60, -6),
            (51, 50, -32),
            (44, 46, -54),
            (18, 47, -62),
            (-10, 46, -58),
            (-30, 52, -42),
        ],
        [10, 13, 13, 12.5, 12.5, 10.5, 10.5, 10],
        move=3,
        size=0.1,
    )
    bulb_gas = float(rng.normal(74, 6)) if rng.random() < 0.5 else None
    content = hu["content"]
    return {
        "stomach": Structure("stomach", stomach, hollow(hu["wall"], content, 4.0, gas), 11, 11, sheath=1.0),
        "duodenum": Structure(
            "duodenum", duodenum, hollow(hu["wall"], content * 0.7, 3.0, bulb_gas), 12, 12, sheath=0.6
        ),
    }


def bowel(jitter: Jitter, contrast: Contrast) -> list[Structure]:
    """Colon and loops of small bowel, none of them labelled."""
    hu, rng = contrast.hu, jitter.rng
    found = []
    courses = {
        "colon ascending": [(88, 40, -190), (102, 40, -130), (108, 34, -80), (106, 42, -38), (94, 62, -30)],
        "colon transverse": [
            (94, 62, -30),
            (66, 98, -40),
            (20, 112, -52),
            (-30, 112, -46),
            (-78, 92, -12),
            (-112, 40, 12),
        ],
        "colon descending": [(-112, 40, 12), (-116, 14, -16), (-114, 8, -70), (-108, 14, -130), (-88, 30, -190)],
    }
    for name, points in courses.items():
        tube = jitter.tube(points, np.full(len(points), 21.0 if "asc" in name else 17.0), move=7, size=0.2, step=8)
        pitch = rng.uniform(24, 34)
        tube.curve_radii *= 1 + 0.16 * np.sin(np.arange(len(tube.curve_radii)) * 8 * 2 * np.pi / pitch)
        level = float(np.mean(tube.curve[:, 1]) + rng.normal(4, 8)) if rng.random() < 0.85 else None
        look = hollow(hu["wall"], hu["feces"], 3.0, level, mottle=float(rng.uniform(0, 700)))
        found.append(Structure(name, tube, look, 0, COLON, sheath=2.0, over=BOWEL_ROOM))
    for _ in range(int(rng.integers(28, 42))):
        start = np.array([rng.uniform(-80, 80), rng.uniform(45, 108), rng.uniform(-200, -35)])
        if start[2] > -70 and abs(start[0]) < 45:
            start[1] = rng.uniform(85, 108)
        steps = rng.normal(0, 1, (3, 3)) * (22, 13, 15)
        level = float(start[1] + rng.normal(6, 6)) if rng.random() < 0.3 else None
        tube = Tube(np.vstack([start, start + np.cumsum(steps, axis=0)]), np.full(4, rng.uniform(10, 15)), step=11)
        content = hu["content"] if rng.random() < 0.6 else hu["wall"] - 25
        look = hollow(hu["wall"], content, 2.5, level)
        found.append(Structure("small bowel", tube, look, 0, SMALL_BOWEL, sheath=1.5, over=BOWEL_ROOM))
    return found
