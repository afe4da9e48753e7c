"""Connected components of tumor masks agree with SciPy, also where cc3d fails on bool volumes."""

import numpy as np
import pytest
from scipy import ndimage

from abdoseg.tumors.components import connected_foci


def assert_same_components(mask: np.ndarray) -> None:
    components, count = connected_foci(mask)
    expected, expected_count = ndimage.label(mask, np.ones((3, 3, 3)))
    assert count == expected_count
    # One to one: as many pairs of numbers as components, and the background.
    pairs = np.unique(np.stack([components.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == count + int(not mask.all())
    assert np.array_equal(components > 0, mask)


@pytest.mark.parametrize("shape", [(11, 1, 1), (1, 1, 3), (1, 9, 7), (3, 3, 3), (7, 5, 9), (64, 1, 63), (1, 1, 1)])
def test_as_many_foci_as_there_is_room_for(shape):
    mask = np.zeros(shape, dtype=bool)
    mask[::2, ::2, ::2] = True
    assert_same_components(mask)


@pytest.mark.parametrize("seed", range(8))
def test_random_masks(seed):
    generator = np.random.default_rng(seed)
    mask = generator.random(tuple(generator.integers(1, 20, 3))) < 0.15
    assert_same_components(np.asfortranarray(mask) if seed % 2 else mask[::-1])
