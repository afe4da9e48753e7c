"""Another contrast in a real CT: organs get the asked median, all else stays."""

import numpy as np
from scipy.ndimage import binary_erosion

from abdoseg.synthesis import draw_contrast, recontrast, tissue_means
from tests.synthesis.small import block_tissues

TISSUES = block_tissues()
DRAWN = np.where(TISSUES <= 13, TISSUES, 0)
IMAGE = np.where(TISSUES > 0, 40, -1000) + np.random.default_rng(0).normal(0, 8, TISSUES.shape)
CONTRAST = draw_contrast(np.random.default_rng(2), "arterial")


def test_drawn_organs_get_the_mean_of_the_phase_and_keep_their_texture():
    image = recontrast(IMAGE, DRAWN, CONTRAST)
    means = tissue_means(CONTRAST)
    for organ in (1, 2, 3, 13):
        mask = np.isin(DRAWN, organ)
        shift = means[organ] - np.median(IMAGE[mask])
        inner = binary_erosion(mask, iterations=2)
        np.testing.assert_allclose(image[inner] - IMAGE[inner], shift, atol=0.01)
        border = mask & ~binary_erosion(mask)
        change = (image - IMAGE)[border] / shift  # some of it, as in voxels that are partly something else
        assert 0.15 < change.min() < 0.95
        assert change.max() < 1.01


def test_what_nobody_drew_and_hollow_organs_stay():
    image = recontrast(IMAGE, DRAWN, CONTRAST)
    same = (DRAWN == 0) | (DRAWN == 11)
    np.testing.assert_array_equal(image[same], IMAGE.astype(np.float32)[same])


def test_only_the_asked_organs_change():
    image = recontrast(IMAGE, DRAWN, CONTRAST, organs=(3,))
    changed = image != IMAGE.astype(np.float32)
    assert set(np.unique(DRAWN[changed])) == {3}
