"""What the painter paints: a shape with its class, its tissue and its Hounsfield units."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Tissue map legend. 1..13 are the organs of `abdoseg.labels`.
BONE, MUSCLE, LUNG, VESSEL, COLON, SMALL_BOWEL = 14, 15, 16, 17, 18, 19
OTHER, CARTILAGE, FAT, TABLE, TUMOR = 22, 23, 24, 25, 26
TISSUES = {
    0: "outside",
    BONE: "bone",
    MUSCLE: "muscle",
    LUNG: "lung",
    VESSEL: "heart and other vessels",
    COLON: "colon",
    SMALL_BOWEL: "small bowel",
    OTHER: "other soft tissue",
    CARTILAGE: "rib cartilage",
    FAT: "fat and rest of the body",
    TABLE: "table",
    TUMOR: "tumor",
}


@dataclass
class Structure:
    """One thing to paint.

    Parameters
    ----------
    name : what it is.
    shape : implicit shape of `abdoseg.phantom.shapes`.
    hu : HU, or a function of (distance in mm, grid, width of the soft edge in mm) -> HU.
    organ : class id in the label map, 0 for none.
    tissue : id in the tissue map.
    sheath : mm of fat that surround it.
    within : ``"abdomen"`` (under the diaphragm), ``"trunk"`` (inside wall and ribs) or None; it is cut off there.
    over : tissue ids that it may replace; None for all.
    belongs_to : organ id without which it does not exist (a kidney's sinus, a cyst), 0 for none.
    """

    name: str
    shape: object
    hu: float | Callable
    organ: int = 0
    tissue: int = OTHER
    sheath: float = 0.0
    within: str | None = "abdomen"
    over: tuple[int, ...] | None = None
    belongs_to: int = 0


def soft_step(distance: np.ndarray, width: float) -> np.ndarray:
    """Share of a voxel that lies inside: 1 within, 0 outside, linear over ``width`` mm across the surface."""
    return np.clip(np.float32(0.5) - distance * np.float32(1 / width), 0, 1)


def layered(outer: float, inner: float, depth: float) -> Callable:
    """HU that change from ``outer`` to ``inner`` at ``depth`` mm under the surface."""

    def hu(distance, grid, width):
        return outer + (inner - outer) * soft_step(distance + np.float32(depth), width)

    return hu


def hollow(wall: float, content: float, thickness: float, level: float | None, mottle: float = 0.0) -> Callable:
    """HU of a hollow organ on its back: wall, content, and gas in front of ``level`` (y in mm; None for no gas)."""

    def hu(distance, grid, width):
        inside = np.float32(content)
        if mottle:
            grain = np.sin(0.31 * grid.x + 2 * np.sin(0.23 * grid.z)) + np.sin(0.37 * grid.y - 0.29 * grid.z)
            inside = inside - np.float32(mottle) * np.clip(grain - 0.6, 0, 1)
        if level is not None:
            gas = soft_step(np.float32(level) - grid.y, width)
            inside = inside + (np.float32(-960) - inside) * gas
        return wall + (inside - wall) * soft_step(distance + np.float32(thickness), width)

    return hu
