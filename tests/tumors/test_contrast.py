"""The aorta's median by hand, which opens the contrast gate."""

import numpy as np
import pytest

from abdoseg.tumors import aorta_median_hu


def case(*values: float) -> tuple[np.ndarray, np.ndarray]:
    image = np.full((6, 3, 2), 1000.0, dtype=np.float32)
    labels = np.ones((6, 3, 2), dtype=np.uint8)
    image[: len(values), 1, 1] = values
    labels[: len(values), 1, 1] = 5
    return image, labels


def test_median_of_the_aorta_alone():
    # The mean is 140; one calcification does not decide.
    assert aorta_median_hu(*case(60, 70, 80, 350)) == 75
    assert aorta_median_hu(*case(40)) == 40


def test_whole_numbers_do_not_overflow():
    image, labels = case(30000, 32000)
    assert aorta_median_hu(image.astype(np.int16), labels) == 31000


def test_without_aorta_it_is_unknown():
    assert aorta_median_hu(*case()) is None


def test_shapes_must_agree():
    image, labels = case(1)
    with pytest.raises(ValueError, match="must agree"):
        aorta_median_hu(image[None], labels)
