"""The plane through the spine in made-up bodies, and the shares of paired organs beside it, by hand."""

import numpy as np
import pytest

from abdoseg.metrics.sides import SIDES, side_shares, spine_line

SPACING = (2.0, 2.0, 4.0)


def body(lean: float = 0.0, arm: bool = False) -> np.ndarray:
    """A body of 280 x 200 x 64 mm in air, HU; its spine leans by ``lean`` voxels a slice from x = 80.

    The spine is 32 x 32 mm, 10 mm from the back; a calcified vessel stands in front of the body's middle, and ribs of
    bone at both of its sides.
    """
    image = np.full((160, 120, 16), -1000.0)
    image[10:150, 10:110] = 40
    if arm:
        image[150:160, 40:60] = 40
        image[153:157, 45:55] = 900
    for z in range(16):
        middle = round(80 + lean * z)
        image[middle - 8 : middle + 8, 15:31, z] = 350
    image[60:75, 70:80] = 350  # in front
    image[12:16, 20:100] = image[144:148, 20:100] = 700
    return image


def test_the_sides_are_those_of_the_person():
    assert SIDES == {
        "right kidney": (2, 1),
        "right adrenal gland": (7, 1),
        "left adrenal gland": (8, -1),
        "left kidney": (13, -1),
    }


@pytest.mark.parametrize("arm", [False, True])
def test_the_spine_is_the_bone_behind_the_middle(arm):
    # Voxels 72 to 87: their median is 79.5.
    assert spine_line(body(arm=arm), SPACING) == pytest.approx((79.5, 0), abs=1e-6)


def test_a_spine_that_leans_is_followed():
    offset, slope = spine_line(body(lean=0.5), SPACING)
    assert slope == pytest.approx(0.5, abs=0.05)
    assert offset + 8 * slope == pytest.approx(79.5 + 4, abs=0.6)


def test_without_a_spine_there_is_no_plane():
    image = body()
    image[:, :, 4:] = np.minimum(image[:, :, 4:], 40)
    assert spine_line(image, SPACING) is None
    assert spine_line(np.full((20, 20, 20), -1000.0), SPACING) is None


def test_shares_by_hand():
    labels = np.zeros((20, 4, 3), dtype=np.uint8)
    labels[11:15, 0, 0] = 2  # right of x = 10: 4 voxels,
    labels[8, 0, 0] = 2  # and one on the left
    labels[2:4, 1, 0] = 13
    labels[12, 1, 2] = 8  # wholly on the wrong side of x = 10 + 0.5 * 2
    found = side_shares(labels, (10.0, 0.5))
    assert found["right kidney"] == {"voxels": 5, "own_side": 0.8}
    assert found["left kidney"] == {"voxels": 2, "own_side": 1.0}
    assert found["left adrenal gland"] == {"voxels": 1, "own_side": 0.0}
    assert found["right adrenal gland"] == {"voxels": 0, "own_side": None}
    # A leaning plane: x = 12 is right of 10.5 in slice 1, and left of 10 + 0.5 * 6 in slice 6.
    leaning = np.zeros((20, 1, 7), dtype=np.uint8)
    leaning[12, 0, [1, 6]] = 2
    assert side_shares(leaning, (10.0, 0.5))["right kidney"]["own_side"] == 0.5
