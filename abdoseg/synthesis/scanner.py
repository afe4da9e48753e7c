"""From tissue to image: table and arms, slice thickness, blur, noise, streaks and the field of view."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from abdoseg.phantom.scanner import paint_table
from abdoseg.synthesis.fields import smooth_field
from abdoseg.synthesis.frame import Frame
from abdoseg.synthesis.tissues import ARM, OUTSIDE, TABLE

AIR = -1024.0


@dataclass(frozen=True)
class Streaks:
    """Dark and bright lines in each slice, along ``angle`` degrees, of ``amplitude`` HU."""

    angle: float
    amplitude: float
    seed: int


@dataclass(frozen=True)
class Scanner:
    """Acquisition of one scan; the defaults give the tissue's HU unchanged.

    Parameters
    ----------
    blur_mm : standard deviation of the blur along x, y, z.
    thickness_mm : of the slices; thicker ones than the grid's are averaged and interpolated.
    noise : standard deviation in HU.
    grain : share of the noise's variance that is correlated over ``grain_mm``.
    grain_mm : correlation length.
    seed : of the noise.
    shading : HU by which the image is brighter and darker over long distances.
    streaks : or None.
    table_mm : gap between the back and the table; None for no table.
    arms : sides (-1 left, 1 right) on which an arm lies beside the body.
    circle : radius in mm of the reconstructed circle around the middle, None for the whole square.
    unscanned : slices at the lower and the upper end that lie beyond the scan.
    unscanned_hu : what stands there; an inferer pads short scans with the mean that it normalizes by.
    """

    blur_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    thickness_mm: float = 0.0
    noise: float = 0.0
    grain: float = 0.0
    grain_mm: float = 4.0
    seed: int = 0
    shading: float = 0.0
    streaks: Streaks | None = None
    table_mm: float | None = None
    arms: tuple[int, ...] = ()
    circle: float | None = None
    unscanned: tuple[int, int] = (0, 0)
    unscanned_hu: float = 0.0


def draw_scanner(
    rng: np.random.Generator, frame: Frame, body_width: float, unscanned_hu: float | None = None
) -> Scanner:
    """Draw an acquisition.

    Parameters
    ----------
    rng : source of randomness.
    frame : grid of the image. Blur is at least a quarter of a voxel: scans are resampled to the grid.
    body_width : mm, for the field of view.
    unscanned_hu : with it, three scans in ten end within the frame and have this value beyond; None: none does.
    """
    spacing = np.asarray(frame.spacing)
    streaks = None
    if rng.random() < 0.12:
        streaks = Streaks(float(rng.normal(0, 15)), float(rng.uniform(3, 14)), int(rng.integers(2**32)))
    arms = (-1, 1) if rng.random() < 0.15 else ((int(rng.choice([-1, 1])),) if rng.random() < 0.06 else ())
    unscanned = (0, 0)
    if unscanned_hu is not None and rng.random() < 0.3:
        count = int(rng.uniform(0.1, 0.6) * frame.size[2])
        below = round(count * rng.choice([0.0, 0.5, 1.0]))
        unscanned = (below, count - below)
    return Scanner(
        blur_mm=tuple((rng.uniform(0.2, 0.75, 3) * spacing).tolist()),
        thickness_mm=float(rng.choice([0.0, rng.uniform(2.5, 8)], p=[0.5, 0.5])),
        noise=float(np.clip(rng.lognormal(np.log(10), 0.55), 2, 35)),
        grain=float(rng.uniform(0, 0.7)),
        grain_mm=float(rng.uniform(2.5, 6)),
        seed=int(rng.integers(2**32)),
        shading=float(rng.choice([0, rng.uniform(0, 7)])),
        streaks=streaks,
        table_mm=float(rng.uniform(0, 12)) if rng.random() < 0.85 else None,
        arms=arms,
        circle=float(body_width * rng.uniform(0.48, 0.6)) if rng.random() < 0.12 else None,
        unscanned=unscanned,
        unscanned_hu=unscanned_hu or 0.0,
    )


def add_surroundings(tissues: np.ndarray, hu: np.ndarray, frame: Frame, scanner: Scanner) -> None:
    """Paint table and arms into the air around the body, in place.

    Parameters
    ----------
    tissues : (x, y, z) uint8; air becomes `TABLE` and `ARM`.
    hu : (x, y, z) float32.
    frame : grid of both.
    scanner : has ``table_mm`` and ``arms``.
    """
    body = (tissues != OUTSIDE).any(2)
    columns, rows = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
    if not len(columns):
        return
    x, y, _ = frame.axes()
    if scanner.table_mm is not None and rows[0] > 0:
        paint_table(hu, tissues, frame.axes(), float(y[rows[0]]) - scanner.table_mm, TABLE)
    for side in scanner.arms:
        edge = x[columns[-1]] if side > 0 else x[columns[0]]
        middle_y = 0.5 * (y[rows[0]] + y[rows[-1]])
        distance = np.hypot(x[:, None] - (edge + side * 48), (y[None, :] - middle_y) * 0.9)
        place = ((distance < 42)[..., None]) & (tissues == OUTSIDE)
        value = np.select([distance < 9, distance < 14, distance < 34], [150.0, 600.0, 50.0], -100.0)
        hu[place] = np.broadcast_to(value[..., None].astype(np.float32), hu.shape)[place]
        tissues[place] = ARM


def acquire(hu: np.ndarray, frame: Frame, scanner: Scanner) -> np.ndarray:
    """Give the image of a volume of HU: blurred, noisy, cut to the field of view; (x, y, z) float32, HU >= -1024."""
    image = hu
    spacing = np.asarray(frame.spacing)
    if scanner.thickness_mm > 1.2 * spacing[2]:
        image = _thick_slices(image, scanner.thickness_mm / spacing[2])
    for axis in range(3):
        sigma = scanner.blur_mm[axis] / spacing[axis]
        if sigma > 0.15:
            image = gaussian_filter1d(image, sigma, axis, mode="nearest", truncate=2.5)
    seeds = np.random.default_rng(scanner.seed).integers(2**32, size=3)
    if scanner.noise:
        rng = np.random.default_rng(seeds[0])
        grain, white = (np.float32(scanner.noise * np.sqrt(share)) for share in (scanner.grain, 1 - scanner.grain))
        image = image + white * rng.standard_normal(hu.shape, dtype=np.float32)
        if grain:
            image += grain * smooth_field(seeds[1], hu.shape, scanner.grain_mm / spacing)[0]
    if scanner.shading:
        image = image + np.float32(scanner.shading) * smooth_field(seeds[2], hu.shape, 90.0 / spacing)[0]
    if scanner.streaks is not None:
        image = image + _streaks(frame, scanner.streaks)
    image = np.maximum(image, np.float32(AIR))
    if scanner.circle is not None:
        image[~_circle(frame, scanner.circle)] = AIR
    below, above = scanner.unscanned
    image[:, :, :below] = scanner.unscanned_hu
    image[:, :, frame.size[2] - above :] = scanner.unscanned_hu
    return image


def hide_unseen(label: np.ndarray, frame: Frame, scanner: Scanner) -> None:
    """Set a label map (x, y, z) to background outside the circle and beyond the scan, in place."""
    if scanner.circle is not None:
        label[~_circle(frame, scanner.circle)] = 0
    below, above = scanner.unscanned
    label[:, :, :below] = 0
    label[:, :, frame.size[2] - above :] = 0


def _circle(frame: Frame, radius: float) -> np.ndarray:
    """Which columns (x, y) lie in a circle around the middle."""
    x, y, _ = frame.axes()
    return np.hypot(x[:, None], y[None, :]) <= radius


def _thick_slices(image: np.ndarray, voxels: float) -> np.ndarray:
    """Average over ``voxels`` slices, keep every such slice, and interpolate between them."""
    width = max(2, round(voxels))
    averaged = uniform_filter1d(image, width, 2, mode="nearest")
    if width % 2 == 0:  # its middle lies between two slices: half a slice below, then half a slice above
        averaged = (averaged + uniform_filter1d(image, width, 2, mode="nearest", origin=-1)) / 2
    count = image.shape[2]
    kept = np.arange(0, count - 1 + voxels, voxels)
    kept = np.minimum(np.rint(kept), count - 1).astype(int)
    kept = np.unique(kept)
    at = np.arange(count)
    above = np.clip(np.searchsorted(kept, at, side="left"), 1, len(kept) - 1) if len(kept) > 1 else None
    if above is None:
        return averaged
    low, high = kept[above - 1], kept[above]
    weight = ((at - low) / (high - low)).astype(np.float32)
    return averaged[:, :, low] * (1 - weight) + averaged[:, :, high] * weight


def _streaks(frame: Frame, streaks: Streaks) -> np.ndarray:
    x, y, _ = frame.axes()
    turn = np.deg2rad(streaks.angle)
    across = y[None, :] * np.cos(turn) - x[:, None] * np.sin(turn)
    index = np.rint((across - across.min()) / min(frame.spacing[:2])).astype(int)
    lines = np.random.default_rng(streaks.seed).standard_normal((index.max() + 1, frame.size[2]), dtype=np.float32)
    return np.float32(streaks.amplitude) * lines[index]
