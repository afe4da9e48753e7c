"""The synthetic scanner: identity by default, noise and blur of the asked strength, table, arms and circle."""

import numpy as np
import pytest

from abdoseg.synthesis import Frame, Scanner, Streaks, acquire, add_surroundings, draw_scanner
from abdoseg.synthesis.scanner import AIR, hide_unseen
from abdoseg.synthesis.tissues import ARM, FAT, TABLE
from tests.synthesis.small import block_tissues

FRAME = Frame((40, 40, 40), (3.0, 3.0, 3.0), (0, 0, 0))
RAMP = np.random.default_rng(0).uniform(-100, 200, FRAME.size).astype(np.float32)


def test_nothing_happens_by_default():
    np.testing.assert_array_equal(acquire(RAMP, FRAME, Scanner()), RAMP)


@pytest.mark.parametrize("grain", [0.0, 0.6])
def test_noise_has_the_asked_deviation_and_the_input_stays(grain):
    flat = np.full(FRAME.size, 50, np.float32)
    scanner = Scanner(noise=12.0, grain=grain, grain_mm=9.0, seed=4)
    image = acquire(flat, FRAME, scanner)
    assert image.dtype == np.float32
    assert image.mean() == pytest.approx(50, abs=1)
    assert image.std() == pytest.approx(12, rel=0.15)
    assert (np.corrcoef(image[1:].ravel(), image[:-1].ravel())[0, 1] > 0.2) == (grain > 0)
    assert (flat == 50).all()
    np.testing.assert_array_equal(image, acquire(flat, FRAME, scanner))


def test_blur_spreads_a_point_by_its_deviation():
    point = np.zeros(FRAME.size, np.float32)
    point[20, 20, 20] = 1000
    image = acquire(point, FRAME, Scanner(blur_mm=(3.0, 0.0, 6.0)))
    assert image.sum() == pytest.approx(1000, rel=1e-3)
    for axis, expected in ((0, 1.0), (1, 0.0), (2, 2.0)):
        profile = image.sum(tuple(other for other in range(3) if other != axis))
        assert np.sqrt((profile * (np.arange(40) - 20) ** 2).sum() / 1000) == pytest.approx(expected, abs=0.1)


def test_thick_slices_are_averages():
    steps = np.zeros(FRAME.size, np.float32)
    steps[:, :, 20:] = 100
    image = acquire(steps, FRAME, Scanner(thickness_mm=12.0))
    profile = image[5, 5]
    assert (np.diff(profile) >= 0).all()
    assert profile[10] == 0
    assert profile[30] == 100
    assert 3 <= np.count_nonzero((profile > 1) & (profile < 99)) <= 8


@pytest.mark.parametrize("thickness", [6.0, 9.0, 12.0])
def test_thick_slices_stay_in_their_place(thickness):
    ramp = np.broadcast_to(np.arange(40, dtype=np.float32), FRAME.size)
    image = acquire(ramp, FRAME, Scanner(thickness_mm=thickness))
    np.testing.assert_allclose(image[:, :, 8:-8], ramp[:, :, 8:-8], atol=1e-4)


def test_streaks_are_constant_along_their_angle_and_differ_from_slice_to_slice():
    image = acquire(np.zeros(FRAME.size, np.float32), FRAME, Scanner(streaks=Streaks(0.0, 10.0, 1)))
    assert (image == image[:1]).all()
    assert image.std() == pytest.approx(10, rel=0.1)
    assert not np.array_equal(image[:, :, 0], image[:, :, 1])


def test_the_circle_cuts_what_lies_outside():
    image = acquire(RAMP, FRAME, Scanner(circle=30.0))
    # 3 mm voxels: along the middle row, centers at +-1.5, ..., +-28.5 mm lie inside, that is 20.
    assert (image[:, 20, 0] > AIR).sum() == 20
    label = np.ones(FRAME.size, np.uint8)
    hide_unseen(label, FRAME, Scanner(circle=30.0))
    assert label[:, 20, 0].sum() == 20


def test_beyond_the_ends_of_a_scan_is_padding_and_background():
    scanner = Scanner(noise=5.0, unscanned=(6, 10), unscanned_hu=77.0)
    image, label = acquire(RAMP, FRAME, scanner), np.ones(FRAME.size, np.uint8)
    hide_unseen(label, FRAME, scanner)
    unscanned = np.r_[0:6, 30:40]
    assert (image[:, :, unscanned] == 77).all()
    assert (label[:, :, unscanned] == 0).all()
    assert (label[:, :, 6:30] == 1).all()
    assert not (image[:, :, 6:30] == 77).any()
    drawn = [draw_scanner(np.random.default_rng(seed), FRAME, 300.0, 77.0).unscanned for seed in range(200)]
    assert np.mean([sum(ends) > 0 for ends in drawn]) == pytest.approx(0.3, abs=0.1)
    assert max(sum(ends) for ends in drawn) <= 24
    assert draw_scanner(np.random.default_rng(0), FRAME, 300.0).unscanned == (0, 0)


def test_table_and_arms_take_up_air_alone():
    tissues = np.pad(block_tissues(), ((20, 20), (10, 6), (0, 0)))
    before = tissues.copy()
    hu = np.where(tissues > 0, 0, -1000).astype(np.float32)
    frame = Frame(tissues.shape, (4.0, 4.0, 4.0), (0, 0, 0))
    add_surroundings(tissues, hu, frame, Scanner(table_mm=2.0, arms=(1,)))
    added = tissues != before
    assert (before[added] == 0).all()
    assert set(np.unique(tissues[added])) == {TABLE, ARM}
    table = tissues[40:48] == TABLE  # its middle: to the sides it rises
    assert 10 <= np.argwhere(table)[:, 1].max() <= 11  # behind the back, which begins at row 12
    assert np.argwhere(tissues == ARM)[:, 0].min() >= 20 + 46  # beside the right side
    assert (hu[before == FAT] == 0).all()
    assert hu[tissues == ARM].max() > 300  # bone


def test_drawn_scanners_blur_by_at_least_a_fifth_of_a_voxel():
    scanners = [draw_scanner(np.random.default_rng(seed), FRAME, 300.0) for seed in range(200)]
    assert min(min(scanner.blur_mm) for scanner in scanners) >= 0.2 * 3.0
    assert np.mean([scanner.table_mm is not None for scanner in scanners]) == pytest.approx(0.85, abs=0.1)
    assert 7 < np.median([scanner.noise for scanner in scanners]) < 14
