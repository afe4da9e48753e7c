"""The body around the organs: skin, fat, muscle wall, spine, ribs, pelvis, lungs and the diaphragm's two domes."""

from dataclasses import dataclass

import numpy as np

from abdoseg.phantom.contrast import Contrast
from abdoseg.phantom.shapes import Ellipsoid, smooth_union
from abdoseg.phantom.structures import BONE, CARTILAGE, FAT, LUNG, MUSCLE, OTHER, VESSEL, soft_step

CENTER_Y = 40.0  # mm in front of the vertebral bodies' centers
VERTEBRA_MM = 33.0
RIB_MM = 27.0


@dataclass
class Trunk:
    """Random numbers of one patient's trunk; lengths in mm of the reference anatomy.

    Parameters
    ----------
    half_width, half_depth : of the cavity inside muscles and ribs.
    muscle : thickness of the lateral wall.
    fat : thickness of the fat under the skin.
    spine_phase, rib_phase : position of the vertebrae and of the ribs along z, 0..1.
    right_dome, left_dome : the domes of the diaphragm; the abdomen lies under them.
    recess : lowest z of the lungs.
    """

    half_width: float
    half_depth: float
    muscle: float
    fat: float
    spine_phase: float
    rib_phase: float
    right_dome: Ellipsoid
    left_dome: Ellipsoid
    recess: float

    @property
    def skin_half_width(self) -> float:
        """Half the width of the body, mm."""
        return self.half_width + self.muscle + 0.75 * self.fat

    @property
    def skin_half_depth(self) -> float:
        """Half the depth of the body, mm."""
        return self.half_depth + self.muscle + 11 + 0.8 * self.fat

    @property
    def skin_center(self) -> float:
        """y of the middle between belly and back, mm."""
        return CENTER_Y - 16 + 0.12 * self.fat


def random_trunk(rng: np.random.Generator) -> Trunk:
    """Draw a trunk: from slim to obese, breath held at different heights."""
    breath = rng.normal(0, 7)
    return Trunk(
        half_width=rng.normal(139, 4),
        half_depth=rng.normal(87, 4),
        muscle=rng.uniform(8, 14),
        fat=float(np.clip(rng.gamma(3.0, 6.0), 4, 48)),
        spine_phase=rng.random(),
        rib_phase=rng.random(),
        right_dome=Ellipsoid((62, 50, 26 + breath), (86, 92, 77)),
        left_dome=Ellipsoid((-62, 48, 20 + breath), (84, 88, 71 + rng.normal(0, 4))),
        recess=rng.uniform(14, 34) + breath,
    )


def oval(x, y, half_width, half_depth, center_y, power=2.3) -> np.ndarray:
    """Distance (mm) to a rounded rectangle-like oval, measured along the ray from its center."""
    y = y - np.float32(center_y)
    radius = np.sqrt(x * x + y * y) + np.float32(1e-3)
    level = (np.abs(x) / half_width) ** np.float32(power) + (np.abs(y) / np.float32(half_depth)) ** np.float32(power)
    return radius - radius / (level ** np.float32(1 / power) + np.float32(1e-4))


@dataclass
class Regions:
    """Distances (nx, ny, nz) in mm: to the skin, to the cavity's wall, and to the abdomen under the diaphragm."""

    skin: np.ndarray
    trunk: np.ndarray
    abdomen: np.ndarray


def regions(trunk: Trunk, grid) -> Regions:
    """Evaluate a trunk on a slab."""
    z = grid.z
    narrow = 1 - 0.13 / (1 + np.exp(np.float32(-1 / 22) * (z - 118))) - 0.04 * np.exp(-(((z + 60) / 45) ** 2))
    cavity = oval(grid.x, grid.y, trunk.half_width * narrow, trunk.half_depth, CENTER_Y)
    skin = oval(
        grid.x,
        grid.y,
        trunk.skin_half_width * narrow,
        trunk.skin_half_depth,
        trunk.skin_center,
        2.2,
    )
    domes = smooth_union(trunk.right_dome(grid.x, grid.y, z), trunk.left_dome(grid.x, grid.y, z), 30)
    below = np.minimum(domes, z - np.float32(trunk.recess))
    return Regions(skin, cavity, np.maximum(below, cavity))


def paint_trunk(canvas, trunk: Trunk, contrast: Contrast) -> None:
    """Paint skin, fat, muscles, bones and lungs onto a canvas of `abdoseg.phantom.paint`."""
    hu, r = contrast.hu, canvas.regions
    canvas.layer(r.skin, FAT, 40.0)
    canvas.layer(r.skin + 2.0, FAT, hu["fat"])
    canvas.layer(r.trunk - np.float32(trunk.muscle), MUSCLE, hu["muscle"])
    _back(canvas, hu)
    canvas.layer(r.trunk, FAT, hu["fat"])
    _psoas(canvas, hu)
    lung = np.maximum(r.trunk + 1.0, 3.5 - r.abdomen)
    canvas.layer(np.maximum(lung - 3.5, r.abdomen), MUSCLE, hu["muscle"])
    canvas.layer(lung, LUNG, hu["lung"])
    _spine(canvas, trunk, hu)
    _ribs(canvas, trunk, hu)
    _mediastinum(canvas, hu)
    _pelvis(canvas, hu)


def _back(canvas, hu) -> None:
    for side in (-1, 1):
        canvas.solid(Ellipsoid((31 * side, -42, -20), (28, 23, 900)), MUSCLE, hu["muscle"])


def _psoas(canvas, hu) -> None:
    for side in (-1, 1):
        canvas.solid(Ellipsoid((42 * side, 4, -120), (24, 22, 125), (0, -5 * side, 0)), MUSCLE, hu["muscle"])
        canvas.solid(Ellipsoid((72 * side, -34, -70), (26, 9, 80)), MUSCLE, hu["muscle"])
        canvas.solid(Ellipsoid((17 * side, 20, 45), (9, 14, 70), (0, 4 * side, 0)), MUSCLE, hu["muscle"])


def _spine(canvas, trunk: Trunk, hu) -> None:
    part, box = canvas.grid.cut(np.array([-46.0, -68.0, -900.0]), np.array([46.0, 22.0, 900.0]))
    if part is None:
        return
    x, y, z = part.x, part.y, part.z
    turn = z / VERTEBRA_MM + np.float32(trunk.spine_phase)
    from_middle = np.abs(turn - np.round(turn)) * VERTEBRA_MM  # 0 mid vertebra, VERTEBRA_MM / 2 mid disc
    waist = 1 - 0.10 * np.cos(from_middle * np.float32(2 * np.pi / VERTEBRA_MM))
    body = np.sqrt((x / (24 * waist)) ** 2 + (y / (17.5 * waist)) ** 2) * 19 - 19
    body = np.maximum(body, 2 - y - 19)
    disc = np.maximum(body, VERTEBRA_MM / 2 - 4.0 - from_middle)
    ring = np.abs(np.sqrt((x / 13) ** 2 + ((y + 25) / 11) ** 2) * 11 - 11) - 4
    ring = np.maximum(ring, from_middle - 13)
    spinous = np.maximum(np.maximum(np.abs(x) - 3.5, np.abs(y + 46) - 16), from_middle - 10)
    transverse = np.maximum(np.maximum(np.abs(x) - 44, np.abs(y + 25 + 0.12 * np.abs(x)) - 4.5), from_middle - 6)
    bone = np.minimum(np.minimum(body, ring), np.minimum(spinous, np.maximum(transverse, 10 - np.abs(x))))
    view = canvas.view(box)
    shell = hu["marrow"] + (hu["cortical bone"] - hu["marrow"]) * soft_step(-bone - 2.5, canvas.edge)
    view.layer(bone, BONE, shell)
    view.layer(disc, OTHER, hu["disc"])
    view.layer(np.sqrt(x * x + (y + 25) ** 2) - 8, OTHER, hu["cord"])


def _ribs(canvas, trunk: Trunk, hu) -> None:
    """Ribs run in the wall from high at the back to low at the side; cartilage goes on in front."""
    wall, grid = canvas.regions.trunk, canvas.grid
    near = np.nonzero((np.abs(wall - 5) < 9) & (grid.z > -25) & (np.abs(grid.x) > 18))
    x, y, z, depth = grid.x[near], grid.y[near] - CENTER_Y, grid.z[near], wall[near] - 5
    around = np.abs(np.arctan2(x, -y)) / np.float32(np.pi)  # 0 at the back, 1 in front
    drop = 270 * around - 330 * np.clip(around - 0.6, 0, 1)
    turn = (z + drop) / RIB_MM + np.float32(trunk.rib_phase)
    along_z = (turn - np.round(turn)) * RIB_MM
    rib = np.sqrt((depth / 3.6) ** 2 + (along_z / 6.0) ** 2) * 3.6 - 3.6
    margin = -18 + 105 * np.clip(around, 0, 1) ** 3
    rib = np.maximum(rib, 0.5 * (margin - z))
    front = around > 0.66
    shell = hu["marrow"] + (hu["cortical bone"] - hu["marrow"]) * soft_step(-rib - 2.0, canvas.edge)
    canvas.at(near, rib, np.where(front, CARTILAGE, BONE), np.where(front, np.float32(105), shell))


def _mediastinum(canvas, hu) -> None:
    """Fat around esophagus and aorta, and the heart on the diaphragm."""
    for shape, tissue, value in (
        (Ellipsoid((-4, 34, 140), (34, 46, 90)), FAT, hu["fat"]),
        (Ellipsoid((-24, 84, 124), (66, 44, 46), (0, 14, 16)), VESSEL, hu["heart"]),
    ):
        part, box = canvas.grid.cut(shape.low, shape.high)
        if part is not None:
            above = np.maximum(4.5 - canvas.regions.abdomen[box], canvas.regions.trunk[box] + 2)
            above = np.maximum(above, np.float32(40.0) - part.z)
            canvas.view(box).layer(np.maximum(shape.on(part), above), tissue, value)
    canvas.solid(Ellipsoid((0, CENTER_Y + 91, 142), (19, 6.5, 66)), BONE, hu["marrow"])


def _pelvis(canvas, hu) -> None:
    for side in (-1, 1):
        wing = Ellipsoid((84 * side, -12, -158), (64, 11, 62), (0, 0, 38 * side))
        part, box = canvas.grid.cut(wing.low, wing.high)
        if part is None:
            continue
        bone = wing.on(part)
        shell = hu["marrow"] + (hu["cortical bone"] - hu["marrow"]) * soft_step(-bone - 3.0, canvas.edge)
        canvas.view(box).layer(bone, BONE, shell)
