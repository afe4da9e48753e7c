"""Surface DSC (NSD): the share of two surfaces that lies within a tolerance of the other one."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree
from surface_distance.lookup_tables import create_table_neighbour_code_to_surface_area

INSIDE = 0b11111111


def surface_dsc(first: np.ndarray, second: np.ndarray, spacing: Sequence[float], tolerance: float) -> float:
    """Surface DSC of two masks at a tolerance, as DeepMind's ``surface-distance`` defines it.

    A surface element sits at each corner between voxels whose 2x2x2 neighborhood is neither empty nor full; its area
    comes from the marching-cubes table of that package, its distance runs to the nearest element of the other surface.
    The neighbors are looked up in a k-d tree and only up to the tolerance, instead of by distance transforms of the
    whole volume, which gives the same numbers several times faster. Voxels outside the arrays count as background.

    Parameters
    ----------
    first, second : boolean masks (x, y, z) of the same shape.
    spacing : voxel size in mm along (x, y, z).
    tolerance : distance in mm up to which, inclusive, an element counts as matched.

    Returns
    -------
    Value in 0..1; 0 if exactly one mask is empty, NaN if both are, because there is no surface to compare.
    """
    if first.shape != second.shape or first.ndim != 3:
        raise ValueError(f"The masks have shapes {first.shape} and {second.shape}; give two 3-D masks of one shape.")
    areas = create_table_neighbour_code_to_surface_area(tuple(float(size) for size in spacing))
    first_corners, first_areas = _surface_elements(first, areas)
    second_corners, second_areas = _surface_elements(second, areas)
    total = first_areas.sum() + second_areas.sum()
    if total == 0:
        return float("nan")
    matched = first_areas[_within(first_corners, second_corners, spacing, tolerance)].sum()
    matched += second_areas[_within(second_corners, first_corners, spacing, tolerance)].sum()
    return float(matched / total)


def _surface_elements(mask: np.ndarray, areas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners (n, 3) where the surface passes and the area in mm^2 of each element.

    The code of a corner has one bit for each of its eight voxels. The bits' weights (128, 64, ..., 1 in C order) are
    products of one factor an axis, so that one weighted sum of neighbors along each axis builds the code.
    """
    codes = np.pad(mask.astype(np.uint8), 1)
    codes = codes[:-1] * np.uint8(16) + codes[1:]
    codes = codes[:, :-1] * np.uint8(4) + codes[:, 1:]
    codes = codes[:, :, :-1] * np.uint8(2) + codes[:, :, 1:]
    surface = (codes != 0) & (codes != INSIDE)
    return np.argwhere(surface), areas[codes[surface]]


def _within(corners: np.ndarray, others: np.ndarray, spacing: Sequence[float], tolerance: float) -> np.ndarray:
    """Which of the corners have one of the others at most ``tolerance`` mm away.

    Distances of exactly the tolerance are common and must not depend on where in the volume the corner lies. So the
    tree, which compares rounded coordinates, searches a hair further, and distances from whole index differences
    decide; where the nearest one is a rounding error too far, so are others that are just as near, and all are tried.
    """
    if len(corners) == 0 or len(others) == 0:
        return np.zeros(len(corners), dtype=bool)
    spacing = np.asarray(spacing, dtype=np.float64)
    tree = cKDTree(others * spacing)
    reach = tolerance * (1 + 1e-9) + 1e-9
    _, nearest = tree.query(corners * spacing, distance_upper_bound=reach)
    within = nearest < len(others)
    found = np.flatnonzero(within)
    within[found] = _distances(corners[found], others[nearest[found]], spacing) <= tolerance
    for index in found[~within[found]]:
        equals = others[tree.query_ball_point(corners[index] * spacing, reach)]
        within[index] = (_distances(corners[index], equals, spacing) <= tolerance).any()
    return within


def _distances(corners: np.ndarray, others: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    return np.sqrt((((corners - others) * spacing) ** 2).sum(axis=-1))
