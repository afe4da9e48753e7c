"""Implicit shapes: distances worked out by hand; evaluation on a grid agrees with evaluation at points."""

import numpy as np
import pytest

from abdoseg.phantom.grid import Grid, random_pose
from abdoseg.phantom.shapes import Difference, Ellipsoid, Tube, Union, rotation, smooth_union


def at(shape, *point):
    return float(shape(*(np.array([c], np.float32) for c in point))[0])


def test_a_ball_gives_the_true_distance():
    ball = Ellipsoid((10, 0, -5), (20, 20, 20))
    # 3-4-5: the point (10 + 30, 40, -5) is 50 mm from the center, 30 mm outside.
    assert at(ball, 40, 40, -5) == pytest.approx(30, abs=1e-3)
    assert at(ball, 10, 15, -5) == pytest.approx(-5, abs=1e-3)


def test_an_ellipsoid_turns_about_z_from_right_to_front():
    # The long axis (30 mm) points to +x; a quarter turn brings it to +y.
    turned = Ellipsoid((0, 0, 0), (30, 10, 10), (0, 0, 90))
    assert at(turned, 0, 29, 0) < 0 < at(turned, 29, 0, 0)
    np.testing.assert_allclose(rotation((0, 0, 90)) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(turned.high, [10, 30, 10], atol=1e-9)


def test_bumps_move_the_surface_by_their_height_at_most():
    bumps = np.array([[0.2, 0.1, 0.3, 1.0, 2.0]])
    smooth, bumpy = Ellipsoid((0, 0, 0), (20, 20, 20)), Ellipsoid((0, 0, 0), (20, 20, 20), bumps=bumps)
    points = np.random.default_rng(0).uniform(-30, 30, (3, 500)).astype(np.float32)
    change = bumpy(*points) - smooth(*points)
    assert 1.5 < np.abs(change).max() <= 2.0 + 1e-4
    assert (bumpy.high >= smooth.high + 2).all()


def test_a_straight_tube_is_a_cone_with_round_ends():
    tube = Tube([(0, 0, 0), (0, 0, 50), (0, 0, 100)], [10, 15, 20])
    assert at(tube, 25, 0, 50) == pytest.approx(10, abs=1e-3)
    assert at(tube, 0, 0, -14) == pytest.approx(4, abs=1e-3)
    assert at(tube, 0, 18, 100) == pytest.approx(-2, abs=1e-3)


def test_union_and_difference_by_hand():
    left, right = Ellipsoid((-30, 0, 0), (10, 10, 10)), Ellipsoid((30, 0, 0), (10, 10, 10))
    both, without = Union([left, right], 4.0), Difference(left, [Ellipsoid((-38, 0, 0), (5, 5, 5))])
    assert at(both, -30, 0, 0) == pytest.approx(-10, abs=1e-3)
    assert at(both, 30, 0, 0) == pytest.approx(-10, abs=1e-3)
    assert at(without, -38, 0, 0) == pytest.approx(5, abs=1e-3)
    # Where both distances are equal the joint is rounded by a quarter of the radius: min - 8 / 4 = 3 - 2.
    assert smooth_union(np.array(3.0), np.array(3.0), 8.0) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["tube", "union", "difference"])
def test_the_grid_sees_the_same_shape_as_single_points(kind):
    tube = Tube([(-40, 0, -30), (0, 30, 0), (50, 10, 40)], [9, 14, 8])
    ball = Ellipsoid((0, 25, 0), (22, 18, 20), (10, 20, 30))
    shape = {"tube": tube, "union": Union([ball, tube], 6.0), "difference": Difference(ball, [tube])}[kind]
    axes = [np.arange(-90, 91, 6.0)] * 3
    grid = Grid.of(random_pose(np.random.default_rng(1), 1.0), axes)
    part, _ = grid.cut(shape.low, shape.high)
    on_grid, at_points = shape.on(part), shape(part.x, part.y, part.z)
    near = np.abs(at_points) < 4
    assert near.sum() > 50
    np.testing.assert_array_equal(on_grid < 0, at_points < 0)
    np.testing.assert_allclose(on_grid[near], at_points[near], atol=1e-3)
