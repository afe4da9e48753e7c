"""What part of a patient a synthetic scan shows: a patch, the box of the organs, or the whole scan."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from abdoseg.synthesis.anatomy import Anatomy

VIEWS = ("patch", "organs", "scan")
ELSEWHERE = 0.1  # share of patches anywhere in the body: a window may lie in the chest or in the pelvis
# A network that sees a few anatomies whole learns where in the image an organ ends, and misses what reaches further,
# above all in scans so short that they are stretched. Shares of frames, and of the length that these keep (x, y, z):
LOOSE = 0.5  # of the boxes of organs, which then hold a part of them or more
LOOSE_LENGTH = ((0.7, 0.7, 0.4), (1.2, 1.2, 1.2))
SHORT = 0.4  # of the scans
SHORT_LENGTH = (0.4, 1.0)


@dataclass(frozen=True)
class Frame:
    """Voxel grid of an image, in the patient's own size.

    Parameters
    ----------
    size : voxels (x, y, z).
    spacing : mm along x, y, z.
    center : (x, y, z) mm in the anatomy that the middle of the grid shows.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    center: tuple[float, float, float]

    def axes(self) -> list[np.ndarray]:
        """Three vectors: positions of the voxel centers in mm relative to the middle."""
        return [
            (np.arange(n, dtype=np.float32) - np.float32((n - 1) / 2)) * np.float32(step)
            for n, step in zip(self.size, self.spacing, strict=True)
        ]


def draw_frame(
    rng: np.random.Generator,
    anatomy: Anatomy,
    view: str,
    size: Sequence[int] | None,
    spacing: Sequence[float] | None,
    scale: Sequence[float],
    margin_mm: float = 20.0,
) -> Frame:
    """Draw a frame.

    Parameters
    ----------
    rng : source of randomness.
    anatomy : the patient before any deformation.
    view : "patch": a grid of ``spacing``, its middle somewhere between the lowest and the highest organ, in one of ten
        scans anywhere in the body. "organs": all organs and about ``margin_mm`` around them, stretched to ``size`` as
        the fine student sees them, or, every other time, a part of that, 0.7 to 1.2 times as long and wide and 0.4 to
        1.2 times as high. "scan": the body and some air, from below the organs to above them, stretched; two scans in
        five are 0.4 to 1 times as high.
    size : voxels (x, y, z); None, not for patches: as many as the spacing asks for.
    spacing : mm; for patches, varied by 10 %; for the other views, where there is no size.
    scale : the patient's size relative to the anatomy along (x, y, z), as the shape will have it.

    Raises
    ------
    ValueError
        For an unknown view.
    """
    scale = np.asarray(scale, float)
    if view == "patch":
        return _draw_patch(rng, anatomy, size, np.asarray(spacing, float) * rng.uniform(0.9, 1.1), scale)
    if view == "organs":
        low, high = _draw_organs(rng, anatomy, margin_mm)
    elif view == "scan":
        low, high = _draw_scan(rng, anatomy)
    else:
        raise ValueError(f"Unknown view {view!r}. Use one of {', '.join(map(repr, VIEWS))}.")
    if size is None:
        size = np.ceil((high - low) * scale / np.asarray(spacing, float)).astype(int) + 1
        step = np.asarray(spacing, float)
    else:
        step = (high - low) * scale / (np.asarray(size) - 1)
    return Frame(tuple(map(int, size)), tuple(step.tolist()), tuple(((low + high) / 2).tolist()))


def _draw_patch(rng, anatomy: Anatomy, size, spacing: np.ndarray, scale: np.ndarray) -> Frame:
    half = np.asarray(size) * spacing / scale / 2
    low, high = anatomy.body_box if rng.random() < ELSEWHERE else anatomy.organs_box
    centers = list(anatomy.centers.values())
    if centers and rng.random() < 0.5:  # around one organ: the small ones are seen as often as the large ones
        center = centers[rng.integers(len(centers))] + rng.normal(0, 0.3, 3) * half
    else:
        center = np.array([*((anatomy.body_box[0] + anatomy.body_box[1]) / 2)[:2], rng.uniform(low[2], high[2])])
        center[:2] += rng.normal(0, 25, 2)
    # Not far beyond the ends of the map, where nothing is known.
    bottom, top = anatomy.body_box[:, 2] + np.array([0.7, -0.7]) * half[2]
    center[2] = np.clip(center[2], bottom, top) if bottom < top else (bottom + top) / 2
    return Frame(tuple(map(int, size)), tuple(spacing.tolist()), tuple(center.tolist()))


def _draw_organs(rng, anatomy: Anatomy, margin_mm: float) -> np.ndarray:
    low, high = anatomy.organs_box
    low = low - np.maximum(rng.normal(margin_mm, 10, 3), -5)
    high = high + np.maximum(rng.normal(margin_mm, 10, 3), -5)
    if rng.random() < LOOSE:
        low, high = _draw_part(rng, low, high, rng.uniform(*LOOSE_LENGTH))
    return np.stack([low, high])


def _draw_scan(rng, anatomy: Anatomy) -> np.ndarray:
    low, high = anatomy.body_box.copy()
    middle, half = (low + high) / 2, (high - low) / 2
    wide = rng.uniform(0.97, 1.15) * half[:2]
    if rng.random() < 0.6:  # a square field of view
        wide[:] = wide.max()
    shift = rng.normal(0, 8, 2)
    organs = anatomy.organs_box[:, 2]
    bottom = max(low[2], organs[0] - rng.uniform(-20, 150))
    top = min(high[2], organs[1] + rng.uniform(-15, 120))
    if rng.random() < SHORT:
        bottom, top = _draw_part(rng, bottom, top, rng.uniform(*SHORT_LENGTH))
    return np.stack([[*(middle[:2] - wide + shift), bottom], [*(middle[:2] + wide + shift), top]])


def _draw_part(rng, low, high, share):
    """An interval of ``share`` times the length of another, anywhere in it; around it where the share is above 1."""
    start = low + rng.random(np.shape(low)) * (1 - share) * (high - low)
    return start, start + share * (high - low)
