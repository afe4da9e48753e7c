"""Implicit shapes: functions of a point in mm that are negative inside and grow about 1 per mm outwards."""

from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import CubicSpline

FAR = np.float32(1e3)  # mm; the distance that is given where a shape was not evaluated


def smooth_union(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    """Union of two shapes whose joint is rounded over about ``radius`` mm (polynomial smooth minimum)."""
    overlap = np.clip(radius - np.abs(a - b), 0, None)
    return np.minimum(a, b) - overlap * overlap * np.float32(0.25 / radius)


def rotation(degrees) -> np.ndarray:
    """Rotation matrix (3, 3) from angles about x, then y, then z, in degrees."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


@dataclass
class Ellipsoid:
    """An ellipsoid, rotated, with an optional bumpy surface.

    Parameters
    ----------
    center : (x, y, z) in mm.
    radii : half axes in mm, before the rotation.
    angles : rotation about x, y, z in degrees.
    bumps : (n, 5) rows of wave vector (rad/mm, along the ellipsoid's own axes), phase (rad) and height (mm).
    """

    center: tuple[float, float, float]
    radii: tuple[float, float, float]
    angles: tuple[float, float, float] = (0.0, 0.0, 0.0)
    bumps: np.ndarray = field(default_factory=lambda: np.zeros((0, 5)))

    def __post_init__(self):
        self._matrix = rotation(self.angles).T.astype(np.float32)
        reach = np.sqrt(((self._matrix.T * np.asarray(self.radii)) ** 2).sum(1)) + np.abs(self.bumps[:, 4]).sum()
        self.low, self.high = np.asarray(self.center) - reach, np.asarray(self.center) + reach

    def __call__(self, x, y, z) -> np.ndarray:
        x, y, z = (np.float32(-c) + axis for axis, c in zip((x, y, z), self.center, strict=True))
        if any(self.angles):
            x, y, z = (row[0] * x + row[1] * y + row[2] * z for row in self._matrix)
        rx, ry, rz = (np.float32(1 / r) for r in self.radii)
        u, v, w = x * rx, y * ry, z * rz
        level = np.sqrt(u * u + v * v + w * w)
        u, v, w = u * rx, v * ry, w * rz
        tiny = np.float32(1e-6)  # at the center itself both are 0, and their ratio stands for the smallest radius
        slope = np.sqrt(u * u + v * v + w * w) + tiny
        distance = (level - 1) * (level + tiny * np.float32(min(self.radii))) / slope
        for kx, ky, kz, phase, height in self.bumps.astype(np.float32):
            distance = distance + height * np.sin(kx * x + ky * y + kz * z + phase)
        return distance

    def on(self, grid) -> np.ndarray:
        """Distances on a grid that has been cut to this shape's box."""
        return self(grid.x, grid.y, grid.z)


@dataclass
class Tube:
    """A tube of changing radius along a smooth curve.

    Parameters
    ----------
    points : (n, 3) control points in mm.
    radii : (n,) radius at each control point in mm.
    step : length of the straight pieces that the curve is cut into, mm.
    flatten : factor on the anterior-posterior distance; above 1 the tube is flatter from front to back.
    """

    points: np.ndarray
    radii: np.ndarray
    step: float = 9.0
    flatten: float = 1.0

    def __post_init__(self):
        points, radii = np.asarray(self.points, float), np.asarray(self.radii, float)
        along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        at = np.linspace(0, along[-1], max(2, int(np.ceil(along[-1] / self.step)) + 1))
        self.curve = CubicSpline(along, points)(at)
        self.curve_radii = np.interp(at, along, radii)
        self.low = (self.curve - self.curve_radii[:, None]).min(0)
        self.high = (self.curve + self.curve_radii[:, None]).max(0)

    def _piece(self, i: int, x, y, z) -> np.ndarray:
        start, end = self.curve[i].astype(np.float32), self.curve[i + 1].astype(np.float32)
        r0, r1 = self.curve_radii[i : i + 2].astype(np.float32)
        dx, dy, dz = end - start
        x, y, z = x - start[0], y - start[1], z - start[2]
        along = np.clip((x * dx + y * dy + z * dz) / (dx * dx + dy * dy + dz * dz + np.float32(1e-6)), 0, 1)
        x, y, z = x - along * dx, (y - along * dy) * np.float32(self.flatten), z - along * dz
        return np.sqrt(x * x + y * y + z * z) - (r0 + along * (r1 - r0))

    def __call__(self, x, y, z) -> np.ndarray:
        distance = self._piece(0, x, y, z)
        for i in range(1, len(self.curve) - 1):
            distance = np.minimum(distance, self._piece(i, x, y, z))
        return distance

    def on(self, grid) -> np.ndarray:
        """Distances on a grid: every piece is evaluated near itself only, ``FAR`` elsewhere."""
        distance = np.full(grid.shape, FAR, np.float32)
        for i in range(len(self.curve) - 1):
            reach = self.curve_radii[i : i + 2].max()
            low, high = self.curve[i : i + 2].min(0) - reach, self.curve[i : i + 2].max(0) + reach
            part, box = grid.cut(low, high)
            if part is not None:
                np.minimum(distance[box], self._piece(i, part.x, part.y, part.z), out=distance[box])
        return distance


@dataclass
class Union:
    """Several shapes as one, the joints rounded over ``radius`` mm."""

    parts: list
    radius: float = 0.1

    def __post_init__(self):
        self.low = np.min([part.low for part in self.parts], axis=0)
        self.high = np.max([part.high for part in self.parts], axis=0)

    def _joined(self, distances) -> np.ndarray:
        total = next(distances)
        for distance in distances:
            total = smooth_union(total, distance, self.radius)
        return total

    def __call__(self, x, y, z) -> np.ndarray:
        return self._joined(part(x, y, z) for part in self.parts)

    def on(self, grid) -> np.ndarray:
        """Distances on a grid that has been cut to this union's box."""
        return self._joined(part.on(grid) for part in self.parts)


@dataclass
class Difference:
    """A shape with others cut out of it."""

    whole: object
    holes: list

    def __post_init__(self):
        self.low, self.high = self.whole.low, self.whole.high

    def __call__(self, x, y, z) -> np.ndarray:
        return np.maximum.reduce([self.whole(x, y, z), *(-hole(x, y, z) for hole in self.holes)])

    def on(self, grid) -> np.ndarray:
        """Distances on a grid that has been cut to the whole's box."""
        return np.maximum.reduce([self.whole.on(grid), *(-hole.on(grid) for hole in self.holes)])
