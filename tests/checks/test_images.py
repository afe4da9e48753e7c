"""Values that are no Hounsfield units, told from histograms made by hand; fingerprints that survive turning."""

import itertools

import numpy as np
import pytest

from abdoseg.checks import ImageTally, hu_faults, image_faults
from abdoseg.checks.images import HIGHEST_HU, LOWEST_HU

# Shares of a CT of the abdomen: air around it, fat, soft tissue, bone.
CT = {-1000: 40, -100: 25, 40: 30, 300: 5}


def faults_of(shares: dict[int, float]):
    histogram = np.zeros(HIGHEST_HU - LOWEST_HU + 1, np.int64)
    for value, share in shares.items():
        histogram[value - LOWEST_HU] = round(share * 1000)
    present = [value for value, share in shares.items() if share]
    return hu_faults("scan.nii", histogram, min(present), max(present))


def shifted(offset: int) -> dict[int, float]:
    return {value + offset: share for value, share in CT.items()}


@pytest.mark.parametrize(
    ("shares", "kind", "words"),
    [
        (CT, None, None),
        ({**CT, -3000: 30}, None, None),
        ({**CT, -1000: 0.2}, None, None),
        ({-1000: 0.04, -100: 25, 40: 75}, "no_air", "no air at -1000 HU"),
        ({-160: 60, 40: 30, 240: 10}, "no_air", "values from -160 to 240"),
        (shifted(1024), "hu_offset", "about 1024 instead of 0 HU"),
        ({**shifted(1024), -2000: 25}, "hu_offset", "about 1024 instead of 0 HU"),
        ({-1000: 970, -100: 10, 40: 20}, None, None),
        (shifted(1000), "hu_offset", "about 1024 instead of 0 HU"),
        (shifted(-1024), "hu_offset", "about -1024 instead of 0 HU"),
        ({0: 40, 60: 25, 128: 30, 255: 5}, "not_hu", "cut to a window or normalized"),
        ({0: 70, 1: 30}, "not_hu", "cut to a window or normalized"),
        ({-1: 70, 1: 20, 3: 10}, "not_hu", "cut to a window or normalized"),
        ({0: 40, 200: 20, 500: 20, 900: 15, 1200: 5}, "not_hu", "another modality such as MR"),
        ({-1000: 90, 1500: 10}, "not_hu", "no soft tissue at 0 HU"),
        ({7: 100}, "not_hu", "all voxels have the value 7"),
    ],
)
def test_what_is_not_hu(shares, kind, words):
    found = faults_of(shares)
    assert [one.kind for one in found] == [kind] * (kind is not None)
    assert kind is None or words in found[0].message


def tally_of(volume: np.ndarray, slices: int = 100) -> ImageTally:
    tally = ImageTally(volume.shape)
    for start in range(0, volume.shape[2], slices):
        tally.add(start, volume[:, :, start : start + slices])
    return tally


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(3).integers(-1024, 1500, (6, 8, 10)).astype(np.int16)


def test_slabs_add_up_to_the_whole(volume):
    whole, slabs = tally_of(volume), tally_of(volume, 3)
    assert np.array_equal(whole.histogram, slabs.histogram)
    expected = [np.count_nonzero(volume[::2, ::2] == value) for value in range(-1024, 1500)]
    assert whole.histogram[-1024 - LOWEST_HU : 1500 - LOWEST_HU].tolist() == expected
    assert (slabs.lowest, slabs.highest) == (volume.min(), volume.max())
    assert whole.fingerprint() == slabs.fingerprint()


def test_the_fingerprint_survives_every_turn_and_flip(volume):
    known = tally_of(volume).fingerprint()
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            turned = volume.transpose(order)[tuple(slice(None, None, step) for step in flips)]
            assert tally_of(turned, 4).fingerprint() == known
    cube = volume[:6, :6, :6]
    assert tally_of(cube.transpose(2, 0, 1)).fingerprint() == tally_of(cube).fingerprint()


def test_the_fingerprint_is_that_of_whole_hu_from_minus_1000_to_1000(volume):
    known = tally_of(volume).fingerprint()
    assert tally_of(volume.astype(np.float64) + 0.3).fingerprint() == known
    assert tally_of(volume.astype(np.int32).clip(-1000, 1000)).fingerprint() == known
    inside = np.argwhere(abs(volume) < 999)[:20]
    for place in map(tuple, inside):
        other = volume.copy()
        other[place] += 1
        assert tally_of(other).fingerprint() != known
    # Two voxels exchanged: the histogram stays, the sums do not.
    other = volume.copy()
    first, second = map(tuple, inside[[0, 5]])
    other[first], other[second] = volume[second], volume[first]
    assert tally_of(other).fingerprint() != known


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted(volume, value):
    image = volume.astype(np.float32)
    image[2, 3, 4] = image[5, 7, 9] = value
    found = image_faults("scan.nii", tally_of(image, 5))
    assert [one.kind for one in found] == ["not_finite"]
    assert "scan.nii: holds NaN or infinite values (voxels: 2)" in found[0].message
    assert [one.kind for one in image_faults("scan.nii", tally_of(np.full_like(image, value)))] == ["not_finite"]
