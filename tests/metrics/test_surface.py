"""Surface DSC: worked out by hand, and against DeepMind's package."""

from math import isnan, sqrt

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from surface_distance import compute_surface_dice_at_tolerance, compute_surface_distances

from abdoseg.metrics import surface_dsc

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:surface_distance")


def cube(shape, start, size):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))] = True
    return mask


def blob(rng, shape, sigma=1.5):
    return gaussian_filter(rng.normal(size=shape), sigma) > 0.03


def test_cubes_of_two_voxels_shifted_by_one_share_two_rings_of_elements():
    """A cube of 2x2x2 voxels has 26 elements: 6 flat (1 mm^2), 12 on edges (sqrt(1/2)) and 8 on corners (sqrt(3)/8).

    Shifted by one voxel along x, the cubes share the ring around A's middle plane, which is B's first face, and the
    ring of A's last face, which is B's middle plane: 4 flat + 4 edge elements, and 4 edge + 4 corner elements.
    """
    edge, corner = sqrt(0.5), sqrt(3) / 8
    whole = 6 + 12 * edge + 8 * corner
    shared = (4 + 4 * edge) + (4 * edge + 4 * corner)
    first, second = cube((6, 6, 6), (1, 2, 2), (2, 2, 2)), cube((6, 6, 6), (2, 2, 2), (2, 2, 2))
    assert surface_dsc(first, second, (1, 1, 1), 0.5) == pytest.approx(shared / whole, abs=1e-12)


@pytest.mark.parametrize(("spacing", "tolerance"), [((0.7, 1, 1), 2.1), ((0.1, 1, 1), 0.3), ((3, 1, 1), 9)])
def test_the_tolerance_itself_is_within(spacing, tolerance):
    """Shifted by three voxels along x, every element has its twin three voxel sizes away."""
    first, second = cube((20, 12, 12), (2, 2, 2), (8, 8, 8)), cube((20, 12, 12), (5, 2, 2), (8, 8, 8))
    exact = np.sqrt((3 * np.float64(spacing[0])) ** 2)
    assert exact == pytest.approx(tolerance)
    assert surface_dsc(first, second, spacing, exact) == 1
    assert surface_dsc(first, second, spacing, tolerance * 0.999) < 1


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.7, 0.8, 2.5), (1.3, 3.0, 0.5)])
@pytest.mark.parametrize("tolerance", [0, 2, 2.5, 7])
def test_agrees_with_the_surface_distance_package(spacing, tolerance):
    rng = np.random.default_rng(0)
    for shape in [(14, 11, 9), (9, 12, 5), (16, 7, 1)]:
        first, second = blob(rng, shape), blob(rng, shape)
        assert first[0].any(), "a mask should touch the border"
        expected = compute_surface_dice_at_tolerance(
            compute_surface_distances(first, second, spacing_mm=spacing), tolerance
        )
        assert surface_dsc(first, second, spacing, tolerance) == pytest.approx(expected, abs=1e-9)


def test_every_neighborhood_has_the_package_s_area():
    """White noise contains all 254 codes, and its surfaces are as rough as can be."""
    rng = np.random.default_rng(1)
    first, second = rng.random((24, 22, 20)) > 0.5, rng.random((24, 22, 20)) > 0.6
    spacing = (0.9, 1.1, 3.0)
    expected = compute_surface_dice_at_tolerance(compute_surface_distances(first, second, spacing_mm=spacing), 0.95)
    assert 0 < expected < 1
    assert surface_dsc(first, second, spacing, 0.95) == pytest.approx(expected, abs=1e-12)


def test_empty_masks():
    full, empty = cube((4, 4, 4), (1, 1, 1), (2, 2, 2)), np.zeros((4, 4, 4), dtype=bool)
    assert surface_dsc(full, empty, (1, 1, 1), 5) == 0
    assert surface_dsc(empty, full, (1, 1, 1), 5) == 0
    assert isnan(surface_dsc(empty, empty, (1, 1, 1), 5))


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 4, 4\) and \(4, 4, 5\)"):
        surface_dsc(np.ones((4, 4, 4), dtype=bool), np.ones((4, 4, 5), dtype=bool), (1, 1, 1), 1)
