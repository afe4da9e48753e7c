"""The patient's shape: rotation, size, smooth displacement and single organs larger or smaller."""

from dataclasses import dataclass

import numpy as np

from abdoseg.phantom.shapes import rotation
from abdoseg.synthesis.anatomy import DEPTH_STEP_MM, Anatomy
from abdoseg.synthesis.fields import smooth_field, stretch
from abdoseg.synthesis.frame import Frame
from abdoseg.synthesis.tissues import OUTSIDE

LATTICE_VOXELS = 4  # displacements are worked out at every fourth voxel


@dataclass(frozen=True)
class Swelling:
    """Something that is ``factor`` times as large as in the anatomy, within about ``radius`` mm of ``center``."""

    center: tuple[float, float, float]
    radius: float
    factor: float


@dataclass(frozen=True)
class Shape:
    """How a patient differs from the anatomy that it is made of; the defaults change nothing.

    Parameters
    ----------
    angles : rotation about x, y, z in degrees.
    scale : size relative to the anatomy along x, y, z, before the rotation.
    elastic : triples of correlation length (mm), standard deviation (mm, each axis) and seed.
    swellings : organs that differ in size.
    """

    angles: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    elastic: tuple[tuple[float, float, int], ...] = ()
    swellings: tuple[Swelling, ...] = ()


def draw_shape(rng: np.random.Generator, anatomy: Anatomy) -> Shape:
    """Draw a shape: turned by a few degrees, 0.7 to 1.4 times as large along each axis, bent by about 7 mm.

    The ranges are those of a trial on three anatomies (SynthSeg's idea, Billot et al. 2023), and single organs up to a
    third larger or smaller on top. Nothing is mirrored: the sides of the body are part of what is learned.
    """
    angles = np.clip(rng.normal(0, 7, 3), -20, 20)
    scale = np.clip(rng.lognormal(0, 0.08), 0.82, 1.2) * np.clip(rng.lognormal(0, 0.07, 3), 0.85, 1.18)
    strength = rng.uniform(0.3, 1.3)
    elastic = tuple(
        (length, strength * amplitude, int(rng.integers(2**32))) for length, amplitude in ((95.0, 7.0), (38.0, 2.6))
    )
    swellings = []
    for organ, center in anatomy.centers.items():
        if rng.random() < 0.35:
            low, high = anatomy.boxes[organ]
            radius = float(np.clip(0.5 * (high - low).mean(), 8, 70))
            swellings.append(Swelling(tuple(center.tolist()), radius, float(np.exp(rng.normal(0, 0.16)))))
    return Shape(tuple(angles.tolist()), tuple(scale.tolist()), elastic, tuple(swellings))


def positions(shape: Shape, frame: Frame) -> np.ndarray:
    """Where in the anatomy the voxels of a frame lie.

    Returns
    -------
    (3, x, y, z) float32, mm in the anatomy.
    """
    matrix = (np.diag(1 / np.asarray(shape.scale)) @ rotation(shape.angles).T).astype(np.float32)
    lattice_shape = [max(2, -(-(n - 1) // LATTICE_VOXELS) + 1) for n in frame.size]
    axes = frame.axes()
    lattice_axes = [
        np.linspace(axis[0], axis[-1], n, dtype=np.float32) for axis, n in zip(axes, lattice_shape, strict=True)
    ]
    center = np.asarray(frame.center, np.float32)
    points = _affine(matrix, lattice_axes) + center[:, None, None, None]
    moved = np.zeros_like(points)
    steps = np.array([axis[1] - axis[0] for axis in lattice_axes])
    for length, amplitude, seed in shape.elastic:
        moved += np.float32(amplitude) * smooth_field(seed, lattice_shape, length / steps, 3)
    for swelling in shape.swellings:
        offset = points - np.asarray(swelling.center, np.float32)[:, None, None, None]
        near = np.exp(-0.5 * (offset**2).sum(0) / np.float32(1.3 * swelling.radius) ** 2)
        moved += np.float32(1 / swelling.factor - 1) * near * offset
    total = stretch(moved, frame.size)
    total += _affine(matrix, axes)
    total += center[:, None, None, None]
    return total


def _affine(matrix: np.ndarray, axes) -> np.ndarray:
    """The (3, x, y, z) products of a matrix with the points of a grid."""
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    return np.stack([row[0] * x + row[1] * y + row[2] * z for row in matrix])


def sample(anatomy: Anatomy, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Look tissue and depth up at positions in mm, the nearest voxel of each.

    Beyond the sides of the map lies air; beyond its lower and upper end the last slice goes on.

    Parameters
    ----------
    anatomy : what is sampled.
    at : (3, x, y, z) mm.

    Returns
    -------
    tissues (x, y, z) uint8, depth (x, y, z) float32 in mm.
    """
    nx, ny, nz = anatomy.tissues.shape
    index = np.rint(at * np.float32(1 / anatomy.spacing)).astype(np.int32)
    np.clip(index[2], 0, nz - 1, out=index[2])
    beside = (index[0] < 0) | (index[0] >= nx) | (index[1] < 0) | (index[1] >= ny)
    np.clip(index[0], 0, nx - 1, out=index[0])
    np.clip(index[1], 0, ny - 1, out=index[1])
    flat = (index[0] * ny + index[1]) * nz + index[2]
    tissues, depth = anatomy.tissues.ravel()[flat], anatomy.depth.ravel()[flat]
    tissues[beside] = OUTSIDE
    depth[beside] = 255
    return tissues, depth * np.float32(DEPTH_STEP_MM)
