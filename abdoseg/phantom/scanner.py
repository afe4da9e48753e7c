"""The scanner: field of view, voxel grid, blur, noise, table, and the orientation in which the scan is stored."""

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter

ORIENTATIONS = ("LPS", "RAS", "LAS", "RPI", "LPI", "PIR")
GRAIN_MM = 0.6  # correlation of the noise, as of a soft reconstruction kernel
ORIENTATION_SHARES = (0.5, 0.24, 0.12, 0.06, 0.04, 0.04)


@dataclass
class Scan:
    """Geometry of one scan on its RAS grid.

    Parameters
    ----------
    shape : voxels along x, y, z.
    spacing : mm along x, y, z.
    low : (3,) position of the first voxel's center in the patient's frame, mm.
    isocenter : (3,) what is added to a patient position to get the world position of the affine, mm.
    noise : standard deviation in HU.
    blur : standard deviation in voxels, along x, y, z.
    circle : diameter in mm of the reconstructed circle, None for the full square.
    orientation : axis codes in which it is stored.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    low: np.ndarray
    isocenter: np.ndarray
    noise: float
    blur: tuple[float, float, float]
    circle: float | None
    orientation: str

    def axes(self) -> list[np.ndarray]:
        """Patient coordinates (mm) of the voxel centers along x, y, z."""
        return [low + step * np.arange(n) for low, step, n in zip(self.low, self.spacing, self.shape, strict=True)]

    def affine(self) -> np.ndarray:
        """Affine (4, 4) of the RAS grid."""
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = self.low + self.isocenter
        return affine

    def stored(self, volume: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A RAS volume (x, y, z) and its affine in the stored orientation."""
        image = nib.Nifti1Image(volume, self.affine())
        turn = nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(self.orientation)
        )
        image = image.as_reoriented(turn)
        return np.asarray(image.dataobj), image.affine


def random_scan(rng: np.random.Generator, settings, width: float, depth: float, scale_z: float) -> Scan:
    """Draw the geometry and image quality of one scan.

    Parameters
    ----------
    rng : source of randomness.
    settings : `PhantomSettings`.
    width, depth : of the patient's body, mm.
    scale_z : patient's size along z relative to the reference anatomy.
    """
    view = max(width * rng.uniform(1.0, 1.2), depth * 1.25)
    bottom, top = rng.uniform(-185, -95) * scale_z, rng.uniform(102, 142) * scale_z
    if rng.random() < settings.cut_rate:  # the scan starts or ends within the abdomen
        if rng.random() < 0.5:
            top = rng.uniform(72, 96) * scale_z
        else:
            bottom = rng.uniform(-70, -45) * scale_z
    if settings.size == "demo":
        count = int(np.clip(np.round(view / rng.uniform(3.5, 4.5)), 80, 104))
        slices = int(np.clip(np.round((top - bottom) / rng.uniform(4.0, 6.0)), 48, 72))
        thickness = (top - bottom) / slices
    else:
        count = 512
        thickness = float(rng.choice([1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 5.0], p=[0.06, 0.1, 0.1, 0.14, 0.3, 0.1, 0.2]))
        slices = int(np.ceil((top - bottom) / thickness))
    pixel = view / count
    spacing = tuple(np.round([pixel, pixel, thickness], 4))
    low = np.array([-0.5 * view + rng.normal(0, 5), 30 - 0.5 * view + rng.normal(0, 6), bottom + 0.5 * thickness])
    return Scan(
        shape=(count, count, slices),
        spacing=spacing,
        low=low,
        isocenter=np.round([rng.normal(0, 15), rng.normal(-120, 40), rng.uniform(-900, 300)], 2),
        noise=(4 + 20 * settings.difficulty) * float(rng.lognormal(0, 0.3)),
        blur=(rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7), rng.uniform(0.2, 0.7)),
        circle=view if rng.random() < 0.25 else None,
        orientation=settings.orientation or str(rng.choice(ORIENTATIONS, p=ORIENTATION_SHARES)),
    )


def paint_table(hu: np.ndarray, tissues: np.ndarray, axes, top_y: float, table_tissue: int) -> None:
    """Paint a curved table into the air of a slab, in place.

    Parameters
    ----------
    hu, tissues : (nx, ny, nz) slab.
    axes : patient coordinates of the voxels, mm.
    top_y : y in mm of the table's lowest point of the surface that the patient lies on.
    table_tissue : its id in the tissue map.
    """
    x, y = (a.astype(np.float32) for a in np.meshgrid(axes[0], axes[1], indexing="ij"))
    depth = top_y + 0.0012 * x * x - y  # below the surface, mm
    inside = (depth > 0) & (depth < 32) & (np.abs(x) < 215)
    shell = np.minimum(np.abs(depth - 2), np.abs(depth - 30))
    value = np.where(shell < 2.5, np.float32(-150), np.float32(-910))
    place = inside[..., None] & (tissues == 0)
    hu[place] = np.broadcast_to(value[..., None], hu.shape)[place]
    tissues[place] = table_tissue


def acquire(hu: np.ndarray, scan: Scan, rng: np.random.Generator) -> np.ndarray:
    """Blur, add correlated noise, cut the circle and round: (x, y, z) float32 -> int16 HU in -1024..3071."""
    image = gaussian_filter(hu, scan.blur, mode="nearest", truncate=2.5)
    grain_size = GRAIN_MM / scan.spacing[0]  # voxels
    for k in range(image.shape[2]):
        grain = rng.standard_normal(image.shape[:2], dtype=np.float32)
        if grain_size > 0.4:
            grain = gaussian_filter(grain, grain_size, mode="wrap", truncate=3) * (2 * np.sqrt(np.pi) * grain_size)
        image[:, :, k] += scan.noise * grain
    image = np.clip(np.rint(image), -1024, 3071).astype(np.int16)
    if scan.circle is not None:
        x, y = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in scan.shape[:2]), indexing="ij")
        image[np.hypot(x * scan.spacing[0], y * scan.spacing[1]) > scan.circle / 2] = -1024
    return image
