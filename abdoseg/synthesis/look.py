"""How tissues look beyond their mean: texture, cortex, walls and content, vessels, strands, gas and stool."""

from dataclasses import dataclass

import numpy as np

from abdoseg.synthesis.contrast import Contrast, tissue_means
from abdoseg.synthesis.fields import smooth_field
from abdoseg.synthesis.tissues import (
    AORTA,
    BLADDER,
    BONE,
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
    STOMACH,
    TABLE,
    TRACHEA,
    VESSEL,
)

GAS = -950.0
FINE_MM, COARSE_MM = 9.0, 45.0
# Standard deviation in HU of the fine and of the coarse texture; what is not named has the first.
TEXTURE = {
    None: (4.0, 3.0),
    PANCREAS: (10.0, 5.0),
    MUSCLE: (12.0, 5.0),
    FAT: (7.0, 5.0),
    BONE: (70.0, 40.0),
    LUNG: (35.0, 25.0),
    OTHER: (14.0, 10.0),
    SMALL_BOWEL: (14.0, 10.0),
    VESSEL: (8.0, 14.0),
    CAVA: (5.0, 10.0),
    OUTSIDE: (0.0, 0.0),
    TABLE: (0.0, 0.0),
    TRACHEA: (0.0, 0.0),
}


@dataclass(frozen=True)
class Content:
    """What fills a hollow organ.

    Parameters
    ----------
    wall_mm : thickness of its wall.
    hu : of the content; None for bile, whose HU the contrast has.
    mottle : HU by which the content varies, as stool does.
    gas : share of the organ that is gas, at the front; 0 for none.
    ripple_mm : how far the level between gas and content moves from place to place.
    """

    wall_mm: float
    hu: float | None
    mottle: float = 0.0
    gas: float = 0.0
    ripple_mm: float = 0.0


@dataclass(frozen=True)
class Look:
    """The drawn part of a scan's look; 0 turns a part off.

    Parameters
    ----------
    seed : of the random fields.
    texture : factor on ``TEXTURE``.
    cortex_mm : thickness of the kidneys' cortex.
    sinus : share of the depth of a kidney that is fat and urine in the middle of it, 0..1.
    bone_mm : thickness of the cortex of bones.
    contents : tissue id of a hollow organ -> what is in it.
    vessels : radius in mm of the vessels in liver and lung.
    vessel_mm : distance between them.
    strands : share of the fat that thin strands of soft tissue take up, 0..1.
    wall : (depth under the skin, thickness) in mm of the muscle of the abdominal wall, where the tissue map has fat.
    skin_mm : thickness of the skin.
    fat_mm : fat added around the body.
    lobulation : HU of fat between the lobules of the pancreas are mixed in by this share, 0..1.
    plaque : share of the aorta's wall that is calcified.
    """

    seed: int = 0
    texture: float = 1.0
    cortex_mm: float = 7.0
    sinus: float = 0.0
    bone_mm: float = 2.0
    contents: dict[int, Content] | None = None
    vessels: float = 0.0
    vessel_mm: float = 30.0
    strands: float = 0.0
    wall: tuple[float, float] = (0.0, 0.0)
    skin_mm: float = 0.0
    fat_mm: float = 0.0
    lobulation: float = 0.0
    plaque: float = 0.0


def draw_look(rng: np.random.Generator) -> Look:
    """Draw a look."""
    oral = rng.uniform(100, 300) if rng.random() < 0.15 else None

    def content(wall, hu, mottle, gas, ripple) -> Content:
        hu = oral if oral is not None and rng.random() < 0.7 else rng.uniform(*hu)
        return Content(float(rng.uniform(*wall)), float(hu), float(mottle), float(gas), float(ripple))

    contents = {
        STOMACH: content((2, 6), (-10, 55), rng.uniform(0, 25), rng.choice([0, rng.uniform(0.05, 0.6)]), 4.0),
        COLON: content((1.5, 3.5), (-90, 60), rng.uniform(10, 70), rng.uniform(0, 0.8), rng.uniform(10, 40)),
        SMALL_BOWEL: content((2, 6), (5, 60), rng.uniform(0, 20), rng.choice([0, rng.uniform(0, 0.25)]), 30.0),
        DUODENUM: content((2.5, 6), (5, 60), rng.uniform(0, 15), rng.choice([0, 0, rng.uniform(0.05, 0.4)]), 12.0),
    }
    contents[GALLBLADDER] = Content(float(rng.uniform(0.5, 2)), None)
    contents[BLADDER] = Content(float(rng.uniform(2, 5)), float(rng.choice([rng.uniform(-5, 20), 150], p=[0.85, 0.15])))
    contents[ESOPHAGUS] = Content(4.0, GAS if rng.random() < 0.3 else float(rng.uniform(20, 55)))
    return Look(
        seed=int(rng.integers(2**32)),
        texture=float(rng.lognormal(-0.1, 0.4)),
        cortex_mm=float(rng.uniform(4, 9)),
        sinus=float(rng.uniform(0, 0.9)),
        bone_mm=float(rng.uniform(1, 4)),
        contents=contents,
        vessels=float(rng.choice([0, rng.uniform(1.0, 3.5)], p=[0.15, 0.85])),
        vessel_mm=float(rng.uniform(22, 40)),
        strands=float(rng.uniform(0, 0.3)),
        wall=(float(rng.uniform(3, 14)), float(rng.choice([0, rng.uniform(4, 14)], p=[0.2, 0.8]))),
        skin_mm=float(rng.uniform(0, 2.5)),
        fat_mm=float(rng.choice([0, rng.uniform(0, 35)], p=[0.4, 0.6])),
        lobulation=float(rng.choice([0, rng.uniform(0, 0.8)], p=[0.4, 0.6])),
        plaque=float(rng.choice([0, rng.uniform(0, 0.35)], p=[0.5, 0.5])),
    )


class Painter:
    """Paints one scan tissue by tissue.

    Parameters
    ----------
    tissues : (x, y, z) uint8; where fat is added around the body, it becomes fat.
    depth : (x, y, z) float32 in mm, see `Anatomy`; that of fat grows with what is added.
    front : (x, y, z) float32, position in mm from back to front.
    spacing : mm of the voxels.
    contrast, look : what to paint.
    """

    def __init__(self, tissues, depth, front, spacing, contrast: Contrast, look: Look) -> None:
        self.tissues, self.depth, self.front = tissues, depth, front
        self.contrast, self.look = contrast, look
        self.voxel_mm = float(np.mean(spacing))
        spacing = np.asarray(spacing, float)
        seeds = np.random.default_rng(look.seed).integers(2**32, size=3)
        self.fine = smooth_field(seeds[0], tissues.shape, FINE_MM / spacing)[0]
        self.coarse = smooth_field(seeds[1], tissues.shape, COARSE_MM / spacing)[0]
        # The fields cross zero in sheets about this far apart; where both do, in tubes.
        self.sheets = smooth_field(seeds[2], tissues.shape, look.vessel_mm / spacing, 2)

    def paint(self) -> np.ndarray:
        """Give the HU of all voxels, (x, y, z) float32, not blurred and without noise."""
        if self.look.fat_mm:
            added = (self.tissues == OUTSIDE) & (self.depth < self.look.fat_mm)
            self.depth[self.tissues == FAT] += np.float32(self.look.fat_mm)
            self.depth[added] = np.float32(self.look.fat_mm) - self.depth[added]
            self.tissues[added] = FAT
        self.hu = tissue_means(self.contrast)[self.tissues]
        for tissue, paint in (
            *((kidney, self._kidney) for kidney in KIDNEYS),
            *((organ, self._hollow) for organ in self.look.contents or {}),
            (BONE, self._bone),
            (LIVER, self._vessels),
            (LUNG, self._vessels),
            (PANCREAS, self._lobules),
            (AORTA, self._plaque),
            (FAT, self._fat),
        ):
            at = np.flatnonzero(self.tissues == tissue)
            if len(at):
                paint(at, tissue)
        self._texture()
        return self.hu

    def _mix(self, at, share, value) -> None:
        """Mix a value into voxels of the scan by a share of 0..1."""
        old = self.hu.ravel()[at]
        self.hu.ravel()[at] = old + share * (value - old)

    def _under(self, at, thickness: float) -> np.ndarray:
        """Share of each voxel that lies within ``thickness`` mm of its tissue's surface."""
        return np.clip((np.float32(thickness) - self.depth.ravel()[at]) / self.voxel_mm + 0.5, 0, 1)

    def _texture(self) -> None:
        fine, coarse = (np.full(COUNT, TEXTURE[None][k], np.float32) for k in (0, 1))
        for tissue, amplitudes in TEXTURE.items():
            if tissue is not None:
                fine[tissue], coarse[tissue] = amplitudes
        self.hu += (np.float32(self.look.texture) * fine)[self.tissues] * self.fine
        self.hu += (np.float32(self.look.texture) * coarse)[self.tissues] * self.coarse

    def _kidney(self, at, tissue) -> None:
        hu, look = self.contrast.hu, self.look
        self._mix(at, 1 - self._under(at, look.cortex_mm), np.float32(hu["renal medulla"]))
        if look.sinus:
            deepest = self.depth.ravel()[at].max()
            inner = self.depth.ravel()[at] > deepest * (1 - 0.45 * look.sinus)
            self._mix(at[inner], 0.8, np.float32(hu["renal sinus"]))

    def _hollow(self, at, tissue) -> None:
        content = self.look.contents[tissue]
        inside = 1 - self._under(at, content.wall_mm)
        value = self.contrast.hu["bile"] if content.hu is None else content.hu
        value = value + np.float32(content.mottle) * self.fine.ravel()[at]
        if content.gas:
            front = self.front.ravel()[at] + np.float32(content.ripple_mm) * self.sheets[0].ravel()[at]
            level = np.quantile(front[:: max(1, len(front) // 2000)], 1 - content.gas)
            gas = np.clip((front - level) / self.voxel_mm + 0.5, 0, 1)
            value = value + gas * (np.float32(GAS) - value)
        self._mix(at, inside, value)

    def _bone(self, at, tissue) -> None:
        self._mix(at, self._under(at, self.look.bone_mm), np.float32(self.contrast.hu["cortical bone"]))

    def _vessels(self, at, tissue) -> None:
        if not self.look.vessels:
            return
        # A field changes by about its deviation over a third of the distance between its sheets.
        mm = (np.hypot(self.sheets[0].ravel()[at], self.sheets[1].ravel()[at])) * (self.look.vessel_mm / 3)
        share = np.clip((np.float32(self.look.vessels) - mm) / self.voxel_mm + 0.5, 0, 1)
        share *= 1 - self._under(at, 5.0)
        hu = self.contrast.hu
        self._mix(at, share, np.float32((hu["portal vein"] + hu["hepatic vein"]) / 2))

    def _lobules(self, at, tissue) -> None:
        share = self.look.lobulation * np.clip(-self.fine.ravel()[at] - 0.3, 0, 1)
        self._mix(at, share, np.float32(self.contrast.hu["fat"]))

    def _plaque(self, at, tissue) -> None:
        hard = self.sheets[0].ravel()[at] > np.float32(2.0 - 3 * self.look.plaque)
        hard &= self.look.plaque > 0
        self._mix(at[hard], 0.8 * self._under(at[hard], 2.0), np.float32(700))

    def _fat(self, at, tissue) -> None:
        hu, look = self.contrast.hu, self.look
        depth = self.depth.ravel()[at]
        if look.strands:
            sheet = np.abs(self.sheets[1].ravel()[at]) + 0.25 * np.abs(self.fine.ravel()[at])
            self._mix(at, 0.7 * (sheet < look.strands * 1.2) * (depth > 4), np.float32(hu["wall"]))
        start, thickness = look.wall
        if thickness:
            middle = np.abs(depth - (start + look.fat_mm + thickness / 2))
            share = np.clip((thickness / 2 - middle) / self.voxel_mm + 0.5, 0, 1)
            self._mix(at, share * (self.coarse.ravel()[at] < 1), np.float32(hu["muscle"]))
        if look.skin_mm:
            share = np.clip((look.skin_mm - depth) / self.voxel_mm + 0.5, 0, 1)
            self._mix(at, share, np.float32(20))
