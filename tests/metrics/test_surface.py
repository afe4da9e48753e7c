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


def random_pair(rng):
    """Two masks of one shape: blobs that often touch the border, noise, slabs, one voxel, nothing; sometimes alike."""
    shape = tuple(rng.integers(1, 15, size=3))

    def mask():
        kind = rng.integers(6)
        if kind == 0:
            return np.zeros(shape, dtype=bool)
        if kind == 1:
            return rng.random(shape) > rng.uniform(0.2, 0.95)
        if kind == 2:
            single = np.zeros(shape, dtype=bool)
            single[tuple(rng.integers(size) for size in shape)] = True
            return single
        if kind == 3:
            slab = np.zeros(shape, dtype=bool)
            slab[rng.integers(shape[0]) :] = True
            return slab
        return blob(rng, shape, sigma=rng.uniform(0.8, 2.5))

    first = mask()
    if rng.random() < 0.3:
        return first, np.roll(first, rng.integers(-2, 3), axis=rng.integers(3))
    return first, mask()


@pytest.mark.parametrize("seed", range(40))
def test_agrees_with_the_package_whatever_the_masks_the_spacing_and_the_tolerance(seed):
    """Ten pairs a seed, on isotropic and anisotropic grids; tolerances are often whole numbers of voxel sizes."""
    rng = np.random.default_rng(seed)
    for _ in range(10):
        first, second = random_pair(rng)
        spacing = tuple(rng.choice([0.45, 0.7, 0.8, 1.0, 1.5, 2.5, 5.0], size=3))
        tolerance = rng.choice([0, 1, 2, 3, 5, 7, spacing[0], 2 * spacing[1], 3 * spacing[2], rng.uniform(0, 9)])
        if not first.any() and not second.any():
            assert isnan(surface_dsc(first, second, spacing, tolerance))
            continue
        distances = (
            compute_surface_distances(first, second, spacing_mm=spacing) if first.any() and second.any() else None
        )
        # The package itself stops where NumPy 2 has no np.Inf: one empty mask matches nothing.
        expected = compute_surface_dice_at_tolerance(distances, tolerance) if distances else 0
        assert surface_dsc(first, second, spacing, tolerance) == pytest.approx(expected, abs=1e-9)


def test_a_tube_with_its_end_cut():
    """Square tubes of 4 x 4 voxels of 1 mm, 10 and 6 long, that share their lower end; z runs along them.

    A tube of length L has 4 sides of 3 (L - 1) flat elements and 2 ends of 9, so 12 (L - 1) + 18 mm^2; 4 (L - 1) edge
    elements along it and 8 * 3 around its ends, each sqrt(1/2); 8 corners of sqrt(3) / 8. All of the short tube but its
    upper end lies on the long one's surface; of that end's 5 x 5 corners only the middle one, a flat element of 1 mm^2,
    is further than 1 mm from the long tube's sides. Of the long tube, the planes 7 to 10 lie above the short one's end
    in plane 6: plane 7 is 1 mm from it, the others further.
    """
    edge, corner = sqrt(0.5), sqrt(3) / 8

    def area(length):
        return 12 * (length - 1) + 18 + edge * (4 * (length - 1) + 24) + 8 * corner

    long, short = cube((8, 8, 14), (2, 2, 2), (4, 4, 10)), cube((8, 8, 14), (2, 2, 2), (4, 4, 6))
    unmatched_short = 1
    a_plane = 12 + 4 * edge
    the_end = 9 + 12 * edge + 4 * corner
    matched = area(10) + area(6) - unmatched_short - 2 * a_plane - the_end
    assert surface_dsc(short, long, (1, 1, 1), 1) == pytest.approx(matched / (area(10) + area(6)), abs=1e-12)
