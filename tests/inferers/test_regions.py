"""The body on a coarse grid, the neighborhood of an organ, and boxes over them."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from abdoseg.inferers.regions import body_region, frame_of, region_holds, region_near


def trunk(shape, spacing) -> np.ndarray:
    """Give HU of an elliptic trunk (280 x 200 mm) with a lung, on a table, with a wire in the air around; x, y, z."""
    lines = [(np.arange(n) + 0.5 - n / 2) * step for n, step in zip(shape, spacing, strict=True)]
    x, y, _ = np.meshgrid(*lines, indexing="ij")
    volume = np.full(shape, -1000, dtype=np.int16)
    volume[(x / 140) ** 2 + (y / 100) ** 2 < 1] = 40
    volume[((x - 60) / 40) ** 2 + (y / 60) ** 2 < 1] = -850
    volume[(abs(x) < 180) & (y < -105) & (y > -125)] = -750
    volume[(abs(x + 180) < 8) & (abs(y - 120) < 8)] = 1000
    return volume


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 4.0), (0.9, 1.1, 9.0), (3.1, 3.1, 1.0)])
def test_the_body_is_found_with_its_lungs_and_without_table_and_wire(spacing):
    shape = tuple(round(edge / step) for edge, step in zip((400, 320, 90), spacing, strict=True))
    volume = trunk(shape, spacing)
    region = body_region(torch.from_numpy(volume)[None], spacing)
    cells = np.array(region.shape)
    at = [np.minimum((np.arange(n) * m // n), m - 1) for n, m in zip(shape, cells, strict=True)]
    fine = region[np.ix_(*at)]
    body = (volume == 40) | (volume == -850)
    assert fine[body].all()
    edges = np.array(shape) * spacing / cells
    away = distance_transform_edt(~body, sampling=spacing)
    assert not fine[away > 2.5 * np.linalg.norm(edges[:2])].any()
    assert not fine[volume == 1000].any()
    assert not fine[: shape[0] // 12].any()


def test_a_scan_that_is_not_in_hu_or_empty_has_no_or_a_whole_body():
    assert body_region(torch.full((1, 20, 20, 20), -1000), (2, 2, 2)) is None
    assert body_region(torch.zeros(1, 20, 20, 20), (2, 2, 2)).all()


def test_one_slice_has_a_body():
    volume = np.repeat(trunk((100, 80, 1), (4, 4, 5)), 1, axis=2)
    region = body_region(torch.from_numpy(volume)[None], (4, 4, 5))
    assert region.shape[2] == 1
    assert 0 < region.mean() < 1


def test_as_many_pieces_as_there_is_room_for_are_a_body():
    volume = torch.full((1, 11, 9, 1), -1000)
    volume[:, ::2, ::2] = 0
    assert body_region(volume, (8, 8, 8)).all()


def test_cells_near_a_mask():
    # 40 x 40 x 20 voxels of 2 x 2 x 4 mm are 10 cells of 8 mm along each axis: of 4 x 4 x 2 voxels.
    mask = np.zeros((40, 40, 20), dtype=bool)
    mask[19:21, 8, 10] = True  # cells 4 and 5 along x, 2 along y, 5 along z
    region = region_near(mask, (2, 2, 4), (16, 9, 0))
    wanted = np.zeros((10, 10, 10), dtype=bool)
    wanted[2:8, 0:5, 5] = True
    np.testing.assert_array_equal(region, wanted)
    assert region_near(np.zeros((4, 4, 4), dtype=bool), (2, 2, 2), (8, 8, 8)) is None


def test_no_voxel_of_a_mask_is_lost_whatever_the_grid():
    generator = np.random.default_rng(0)
    for _ in range(20):
        shape, spacing = generator.integers(1, 30, 3), generator.uniform(0.5, 9, 3)
        mask = np.zeros(shape, dtype=bool)
        corner = tuple(generator.integers(0, shape))
        mask[corner] = True
        region = region_near(mask, spacing, (0, 0, 0))
        assert region_holds(region, tuple(slice(c, c + 1) for c in corner), mask.shape)
        frame = frame_of(region, mask.shape, (1, 1, 1))
        assert mask[frame].any()


def test_a_frame_holds_a_window_where_there_is_room():
    region = np.zeros((10, 10, 10), dtype=bool)
    region[4, 0, 2:9] = True
    # 100, 50 and 12 voxels: cell 4 is 40..49, cell 0 is 0..4, cells 2 to 8 are 2.4 to 10.8.
    assert frame_of(region, (100, 50, 12), (4, 4, 4)) == (slice(40, 50), slice(0, 5), slice(2, 11))
    assert frame_of(region, (100, 50, 12), (20, 20, 20)) == (slice(35, 55), slice(0, 20), slice(0, 12))
    region[9, 9] = True
    assert frame_of(region, (100, 50, 12), (20, 20, 4))[:2] == (slice(40, 100), slice(0, 50))


def test_a_window_may_reach_beyond_the_volume():
    region = np.zeros((5, 5, 5), dtype=bool)
    region[0, 0, 0] = True
    assert region_holds(region, (slice(-4, 1), slice(-4, 1), slice(0, 30)), (20, 20, 20))
    assert not region_holds(region, (slice(4, 30), slice(-4, 30), slice(-4, 30)), (20, 20, 20))
