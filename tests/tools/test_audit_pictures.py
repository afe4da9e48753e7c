"""Pictures of slices: a mm is as long across as up, whatever the scan's form."""

import numpy as np
import pytest

from tools.audit_pictures import HEIGHT, WIDEST, plane_picture


@pytest.mark.parametrize(("length", "padded"), [(200, False), (40, True)])  # mm along z, of 300 mm along x
def test_short_scans_are_padded_not_stretched(length, padded):
    spacing = (3.0, 3.0, 5.0)
    gray = np.full((100, 20, length // 5), 0.5, np.float32)
    picture = plane_picture(gray, np.zeros(gray.shape, np.uint8), spacing, "coronal", 10)
    assert picture.shape[0] == HEIGHT
    assert picture.shape[1] <= WIDEST
    shown = np.flatnonzero(picture.any((1, 2)))
    assert np.isclose(picture.shape[1] / len(shown), 300 / length, rtol=0.02)
    assert np.isclose(shown.mean(), (HEIGHT - 1) / 2, atol=0.5)
    assert (len(shown) < HEIGHT) is padded
