"""From voxels to anatomy: body scale, roll, and a smooth random displacement, on a slab of a scan."""

from dataclasses import dataclass

import numpy as np

MARGIN_MM = 9.0  # beyond a shape's surface, so that soft edges and sheaths of fat are whole
REACH_MM = 360.0  # the lattice of displacements spans -REACH_MM..REACH_MM in every direction


def spline(values: np.ndarray, axis: int, positions: np.ndarray, spacing: float) -> np.ndarray:
    """Cubic B-spline of lattice values along one axis.

    Sums four terms element by element, without a matrix product: so the result has the same bits with any number of
    threads.

    Parameters
    ----------
    values : float32 array whose ``axis`` is a lattice of `lattice_size` points from ``-REACH_MM - spacing`` on.
    axis : the axis.
    positions : (n,) where to evaluate, mm.
    spacing : of the lattice, mm.

    Returns
    -------
    float32 array, n long along ``axis``.
    """
    at = (np.clip(positions, -REACH_MM, REACH_MM) + REACH_MM) / spacing
    first = np.floor(at).astype(int)
    t = at - first
    weights = ((1 - t) ** 3 / 6, 2 / 3 - t**2 + t**3 / 2, 2 / 3 - (1 - t) ** 2 + (1 - t) ** 3 / 2, t**3 / 6)
    shape = [1] * values.ndim
    shape[axis] = -1
    total = 0
    for k, weight in enumerate(weights):
        total = total + weight.astype(np.float32).reshape(shape) * np.take(values, first + k, axis)
    return total


def lattice_size(spacing: float) -> int:
    """Number of lattice points along an axis."""
    return int(np.ceil(2 * REACH_MM / spacing)) + 4


@dataclass
class Pose:
    """How the anatomy of one patient lies in the world.

    Parameters
    ----------
    scale : (3,) patient size relative to the reference anatomy, along x, y, z.
    roll : rotation of the patient about z, degrees.
    lattices : pairs of spacing (mm) and displacements (3, m, m, m) (mm) on a cubic B-spline lattice.
    """

    scale: np.ndarray
    roll: float
    lattices: list[tuple[float, np.ndarray]]

    def displacement(self, x, y, z) -> np.ndarray:
        """Displacement (3, nx, ny, nz) in mm at the grid of three coordinate vectors (mm, reference size)."""
        total = 0
        for spacing, lattice in self.lattices:
            part = spline(spline(lattice, 3, z, spacing), 2, y, spacing)
            total = total + spline(part, 1, x, spacing)
        return total


def random_pose(rng: np.random.Generator, variation: float) -> Pose:
    """Draw a patient's size, roll and displacement.

    Parameters
    ----------
    rng : source of randomness.
    variation : 1 for the usual spread of shapes, 0 for none beyond the body size.
    """
    scale = np.clip(rng.normal(1.0, 0.05), 0.88, 1.12) * np.clip(rng.normal(1.0, 0.03, 3), 0.93, 1.07)
    lattices = []
    for spacing, amplitude in ((84.0, 5.0), (26.0, 1.5)):
        # A cubic B-spline of independent weights of spread 1 has a spread of about 0.33 in three dimensions.
        shape = (3, *(lattice_size(spacing),) * 3)
        lattices.append((spacing, rng.normal(0, amplitude * variation / 0.33, shape).astype(np.float32)))
    return Pose(scale, float(np.clip(rng.normal(0, 2.0), -6, 6)), lattices)


class Grid:
    """Anatomical coordinates of the voxels of a slab, or of a box of it.

    Parameters
    ----------
    x, y, z : (nx, ny, nz) anatomical coordinates of the voxels in mm.
    axes : three coordinate vectors (mm, reference size) before roll and displacement, each ascending.
    drift : largest displacement along x, y, z in mm.
    roll : roll in degrees.
    """

    def __init__(self, x, y, z, axes, drift, roll):
        self.x, self.y, self.z = x, y, z
        self.axes, self.drift, self.roll = axes, drift, roll
        self.shape = x.shape

    @classmethod
    def of(cls, pose: Pose, world_axes) -> "Grid":
        """Grid of a slab whose voxel centers lie at the world coordinates ``world_axes`` (three ascending vectors)."""
        axes = [np.asarray(a) / s for a, s in zip(world_axes, pose.scale, strict=True)]
        x, y, z = (np.float32(1) * a.astype(np.float32) for a in np.meshgrid(*axes, indexing="ij", sparse=True))
        moved = pose.displacement(*axes)
        cos, sin = np.float32(np.cos(np.deg2rad(pose.roll))), np.float32(np.sin(np.deg2rad(pose.roll)))
        drift = np.abs(moved).reshape(3, -1).max(1)
        moved[0] += cos * x - sin * y
        moved[1] += sin * x + cos * y
        moved[2] += z
        return cls(*moved, axes, drift, pose.roll)

    def box(self, low, high) -> tuple[slice, slice, slice]:
        """Slices that hold every voxel whose anatomical position lies in the box ``low``..``high``, plus a margin."""
        low, high = low - self.drift - MARGIN_MM, high + self.drift + MARGIN_MM
        cos, sin = np.cos(np.deg2rad(self.roll)), np.sin(np.deg2rad(self.roll))
        corners = np.array(
            [(cos * x + sin * y, cos * y - sin * x) for x in (low[0], high[0]) for y in (low[1], high[1])]
        )
        low, high = np.array([*corners.min(0), low[2]]), np.array([*corners.max(0), high[2]])
        return tuple(
            slice(int(np.searchsorted(a, lo)), int(np.searchsorted(a, hi, side="right")))
            for a, lo, hi in zip(self.axes, low, high, strict=True)
        )

    def cut(self, low, high):
        """The part of the grid that holds a box and its slices; (None, slices) if the box lies outside."""
        box = self.box(low, high)
        if any(s.stop <= s.start for s in box):
            return None, box
        axes = [a[s] for a, s in zip(self.axes, box, strict=True)]
        return Grid(self.x[box], self.y[box], self.z[box], axes, self.drift, self.roll), box
