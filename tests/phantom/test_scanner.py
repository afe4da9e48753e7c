"""The scanner: stored orientation, noise of the asked size, the reconstructed circle and the table by hand."""

import numpy as np
import pytest

from abdoseg.phantom.scanner import Scan, acquire, paint_table


def scan(**changes):
    values = {
        "shape": (40, 40, 12),
        "spacing": (4.0, 4.0, 5.0),
        "low": np.array([-78.0, -78, -30]),
        "isocenter": np.array([3.0, -100, 500]),
        "noise": 0.0,
        "blur": (0.0, 0.0, 0.0),
        "circle": None,
        "orientation": "LPS",
    }
    return Scan(**(values | changes))


def test_the_stored_affine_leads_to_the_same_world_point():
    volume = np.zeros((40, 40, 12), np.int16)
    volume[30, 5, 2] = 7
    stored, affine = scan().stored(volume)
    index = np.argwhere(stored == 7)[0]
    assert index.tolist() == [39 - 30, 39 - 5, 2]
    # low + index * spacing + isocenter
    np.testing.assert_allclose(affine @ [*index, 1], [-78 + 120 + 3, -78 + 20 - 100, -30 + 10 + 500, 1])


@pytest.mark.parametrize("pixel", [4.0, 0.7])
def test_noise_has_the_asked_spread_on_coarse_and_fine_grids(pixel):
    setting = scan(noise=20.0, spacing=(pixel, pixel, 5.0), shape=(160, 160, 12))
    image = acquire(np.full(setting.shape, 40, np.float32), setting, np.random.default_rng(0))
    assert image.dtype == np.int16
    assert image.mean() == pytest.approx(40, abs=1)
    assert image.std() == pytest.approx(20, rel=0.05)
    neighbors = np.corrcoef(image[1:].ravel(), image[:-1].ravel())[0, 1]
    assert (neighbors > 0.5) == (pixel < 1)  # a fine grid resolves the grain


def test_outside_the_circle_nothing_is_measured_and_values_are_limited():
    image = acquire(np.full((40, 40, 12), 9999, np.float32), scan(circle=80.0), np.random.default_rng(0))
    assert (image[0, 0] == -1024).all()
    assert (image[20, 20] == 3071).all()
    # 80 mm at 4 mm: along the middle row the voxel centers at +-2, ..., +-38 mm lie inside, that is 20 voxels.
    assert (image[:, 20, 0] == 3071).sum() == 20


def test_the_table_lies_in_the_air_below_its_surface():
    setting = scan()
    hu, tissues = np.full(setting.shape, -1000, np.float32), np.zeros(setting.shape, np.uint8)
    tissues[20, :, :] = 24
    paint_table(hu, tissues, setting.axes(), -51.0, 25)
    y = setting.axes()[1]
    middle = tissues[19, :, 0] == 25  # x = -2: the surface is at -51 mm, the table 32 mm thick
    assert y[middle].max() == -54
    assert middle.sum() == 7  # -54, -58, ..., -78
    assert hu[19, y == -58, 0].item() == -910
    assert (tissues[20] == 24).all()
    assert (hu[20] == -1000).all()
