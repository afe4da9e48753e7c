"""From voxels to anatomy: boxes miss nothing, the displacement is smooth and as large as it was asked to be."""

import numpy as np
import pytest

from abdoseg.phantom.grid import REACH_MM, Grid, Pose, lattice_size, random_pose, spline


def test_a_spline_of_a_straight_line_is_that_line_and_a_single_weight_is_a_bell():
    spacing, positions = 24.0, np.linspace(-300, 300, 41)
    lattice = ((np.arange(lattice_size(spacing)) - 1) * spacing - REACH_MM).astype(np.float32)
    np.testing.assert_allclose(spline(lattice, 0, positions, spacing), positions, atol=1e-3)
    single = np.zeros((2, lattice_size(spacing)), np.float32)
    single[1, 16] = 6  # at (16 - 1) * 24 - 360 = 0 mm; cubic B-spline: 4/6, 1/6 a step away, 0 two steps away
    made = spline(single, 1, np.array([-48.0, -24.0, 0.0, 24.0, 48.0]), spacing)
    np.testing.assert_allclose(made, [[0] * 5, [0, 1, 4, 1, 0]], atol=1e-5)


def test_without_roll_and_displacement_the_grid_is_the_scaled_world():
    pose = Pose(np.array([2.0, 1.0, 0.5]), 0.0, [(84.0, np.zeros((3, *(lattice_size(84.0),) * 3), np.float32))])
    grid = Grid.of(pose, [np.array([0.0, 10.0]), np.array([5.0]), np.array([-8.0, 8.0])])
    assert grid.x[1, 0, 0] == pytest.approx(5)
    assert grid.y[0, 0, 0] == pytest.approx(5)
    assert grid.z[0, 0, 1] == pytest.approx(16)


def test_a_roll_turns_the_world_about_the_long_axis():
    zero = np.zeros((3, *(lattice_size(84.0),) * 3), np.float32)
    grid = Grid.of(Pose(np.ones(3), 90.0, [(84.0, zero)]), [np.array([10.0]), np.array([0.0]), np.array([3.0])])
    # A quarter turn: what lies at world +x is found at anatomical +y.
    np.testing.assert_allclose([grid.x.item(), grid.y.item(), grid.z.item()], [0, 10, 3], atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_no_voxel_of_a_box_is_missed(seed):
    rng = np.random.default_rng(seed)
    pose = random_pose(rng, 1.5)
    pose.roll = float(rng.uniform(-20, 20))
    grid = Grid.of(pose, [np.arange(-150, 151, 7.0), np.arange(-90, 131, 7.0), np.arange(-60, 61, 5.0)])
    low = rng.uniform(-100, 20, 3)
    high = low + rng.uniform(20, 90, 3)
    inside = np.ones(grid.shape, bool)
    for axis, lo, hi in zip((grid.x, grid.y, grid.z), low, high, strict=True):
        inside &= (axis >= lo) & (axis <= hi)
    part, box = grid.cut(low, high)
    kept = np.zeros(grid.shape, bool)
    kept[box] = True
    assert inside.any()
    assert not (inside & ~kept).any()
    np.testing.assert_array_equal(part.x, grid.x[box])


def test_displacement_has_the_spread_that_was_asked_for():
    axes = [np.arange(-150, 151, 10.0)] * 3
    spreads = [
        np.std(random_pose(np.random.default_rng(seed), 1.0).displacement(*axes), axis=(1, 2, 3)) for seed in range(12)
    ]
    # Coarse 5 mm and fine 1.5 mm add up to sqrt(25 + 2.25) = 5.2 mm.
    assert np.mean(spreads) == pytest.approx(5.2, rel=0.2)
