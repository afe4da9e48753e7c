"""Tumors of random shape, size and attenuation in and beside any organ, and organs that were removed."""

from dataclasses import dataclass

import numpy as np

from abdoseg.labels import ORGAN_IDS
from abdoseg.phantom.shapes import rotation
from abdoseg.synthesis.fields import smooth_field
from abdoseg.synthesis.tissues import (
    COLON,
    FAT,
    GALLBLADDER,
    KIDNEYS,
    LIVER,
    MUSCLE,
    OTHER,
    PANCREAS,
    SMALL_BOWEL,
    SPLEEN,
    STOMACH,
    TUMOR,
)

REMOVED_DEPTH_MM = 40.0  # fat in an organ's place is no skin and no abdominal wall
# Weights of the organs and other tissues that tumors grow from: the liver, the kidneys and the pancreas most often.
HOST_WEIGHTS = {
    LIVER: 5.0,
    PANCREAS: 3.0,
    KIDNEYS[0]: 1.5,
    KIDNEYS[1]: 1.5,
    COLON: 1.5,
    STOMACH: 1.0,
    SPLEEN: 0.7,
    FAT: 1.0,
    **dict.fromkeys((7, 8, 10, 12), 0.5),
}
# What a tumor may grow into, beside its host.
SOFT_NEIGHBORS = (FAT, SMALL_BOWEL, OTHER, MUSCLE)
# Chance that an organ was removed: the gallbladder often, others to be ready for them.
REMOVAL_CHANCES = {
    GALLBLADDER: 0.15,
    KIDNEYS[0]: 0.03,
    KIDNEYS[1]: 0.03,
    SPLEEN: 0.03,
    STOMACH: 0.02,
    PANCREAS: 0.01,
    7: 0.03,
    8: 0.03,
}


@dataclass(frozen=True)
class Tumor:
    """A tumor.

    Parameters
    ----------
    host : tissue id that it grows from; nothing is painted where that is not in view.
    place : which of the host's voxels is its middle, 0..1 in the order of memory.
    radius : mm, its mean.
    axes : relative half axes.
    angles : degrees about x, y, z.
    roughness : deviation of its surface relative to the radius.
    seed : of surface and texture.
    step : HU above the host's mean there.
    mottle : deviation of its texture in HU.
    necrosis : HU by which its middle is darker.
    rim : HU by which its outer 3 mm are brighter.
    """

    host: int
    place: float
    radius: float
    axes: tuple[float, float, float] = (1.0, 1.0, 1.0)
    angles: tuple[float, float, float] = (0.0, 0.0, 0.0)
    roughness: float = 0.0
    seed: int = 0
    step: float = -40.0
    mottle: float = 0.0
    necrosis: float = 0.0
    rim: float = 0.0


def draw_tumors(rng: np.random.Generator, share: float = 0.6) -> tuple[Tumor, ...]:
    """Draw the tumors of one scan: none in 1 - ``share`` of the scans, else up to four, often in one organ."""
    if rng.random() >= share:
        return ()
    hosts, weights = list(HOST_WEIGHTS), np.array(list(HOST_WEIGHTS.values()))
    tumors: list[Tumor] = []
    for _ in range(int(rng.choice([1, 2, 3, 4], p=[0.5, 0.25, 0.15, 0.1]))):
        again = tumors and rng.random() < 0.5
        host = tumors[-1].host if again else int(rng.choice(hosts, p=weights / weights.sum()))
        radius = float(np.clip(rng.lognormal(np.log(13), 0.55), 4, 50 if host == LIVER else 30))
        # Mostly darker than the organ, which takes up more contrast agent; far-fetched values as well.
        step = rng.normal(-45, 25) if rng.random() < 0.75 else rng.normal(0, 45)
        if host == FAT:
            step = rng.normal(140, 25)  # a node, or a deposit
        tumors.append(
            Tumor(
                host=host,
                place=float(rng.random()),
                radius=radius,
                axes=tuple(np.exp(rng.normal(0, 0.2, 3)).tolist()),
                angles=tuple(rng.uniform(-90, 90, 3).tolist()),
                roughness=float(rng.uniform(0, 0.22)),
                seed=int(rng.integers(2**32)),
                step=float(step),
                mottle=float(rng.uniform(0, 15)),
                necrosis=float(rng.choice([0, rng.uniform(5, 60)])),
                rim=float(rng.choice([0, rng.uniform(5, 40)], p=[0.65, 0.35])),
            )
        )
    return tuple(tumors)


def draw_removed(rng: np.random.Generator) -> frozenset[int]:
    """Draw the organs that a patient has no longer."""
    return frozenset(organ for organ, chance in REMOVAL_CHANCES.items() if rng.random() < chance)


def remove_organs(tissues: np.ndarray, depth: np.ndarray, organs: frozenset[int]) -> None:
    """Fill the place of organs with fat, in place.

    Parameters
    ----------
    tissues, depth : (x, y, z) as `abdoseg.synthesis.shape.sample` gives them.
    organs : ids.
    """
    for organ in organs:
        gone = tissues == organ
        tissues[gone] = FAT
        depth[gone] = REMOVED_DEPTH_MM


def grow(tissues: np.ndarray, hu: np.ndarray, organs: np.ndarray, tumor: Tumor, spacing) -> bool:
    """Paint a tumor, in place.

    Its middle lies in the host; it takes the place of its host, of fat, muscle and bowel beside it and of no other
    organ.

    Parameters
    ----------
    tissues : (x, y, z) uint8; its voxels become `TUMOR`.
    hu : (x, y, z) float32.
    organs : (x, y, z) uint8 label map of organs; the whole tumor becomes part of its host there.
    tumor : what to paint.
    spacing : mm along x, y, z.

    Returns
    -------
    Whether the host is in view, and so the tumor.
    """
    room = np.flatnonzero(tissues == tumor.host)
    if not len(room):
        return False
    center = np.array(np.unravel_index(room[min(int(tumor.place * len(room)), len(room) - 1)], tissues.shape))
    spacing = np.asarray(spacing, float)
    reach = tumor.radius * max(tumor.axes) * (1 + 3 * tumor.roughness) / spacing + 1
    low = np.maximum(np.floor(center - reach).astype(int), 0)
    high = np.minimum(np.ceil(center + reach).astype(int) + 1, tissues.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    axes = [(np.arange(a, b) - c) * s for a, b, c, s in zip(low, high, center, spacing, strict=True)]
    x, y, z = (axis.astype(np.float32) for axis in np.meshgrid(*axes, indexing="ij", sparse=True))
    matrix = (rotation(tumor.angles).T / np.asarray(tumor.axes)[:, None]).astype(np.float32)
    distance = np.sqrt(sum((row[0] * x + row[1] * y + row[2] * z) ** 2 for row in matrix)) - np.float32(tumor.radius)
    seeds = np.random.default_rng(tumor.seed).integers(2**32, size=2)
    if tumor.roughness:
        bumps = smooth_field(seeds[0], distance.shape, 0.7 * tumor.radius / spacing)[0]
        distance = distance + np.float32(tumor.roughness * tumor.radius) * np.clip(bumps, -3, 3)
    # The middle itself belongs to the tumor, however rough it is and however small.
    distance[tuple(center - low)] = min(distance[tuple(center - low)], -1e-3)
    host = tissues[box] == tumor.host
    solid = float(hu[box][host].mean()) + tumor.step
    value = solid + np.zeros_like(distance)
    if tumor.mottle:
        value += np.float32(tumor.mottle) * smooth_field(seeds[1], distance.shape, 7.0 / spacing)[0]
    value += np.float32(tumor.rim) * np.clip(distance / 3 + 2, 0, 1)
    value -= np.float32(tumor.necrosis) * np.clip(-distance / np.float32(0.5 * tumor.radius) - 0.5, 0, 1)
    free = host | np.isin(tissues[box], SOFT_NEIGHBORS) | (tissues[box] == TUMOR)
    share = np.where(free, np.clip(0.5 - distance / np.float32(spacing.mean()), 0, 1), 0)
    hu[box] += share * (value - hu[box])
    inside = free & (distance < 0)
    tissues[box][inside] = TUMOR
    organs[box][inside] = tumor.host if tumor.host in ORGAN_IDS else 0
    return True
