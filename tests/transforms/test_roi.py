"""Boxes against hand-worked indices."""

import numpy as np
import pytest
import torch

from abdoseg.transforms import box_extent_mm, box_on_source, expand_box, foreground_box, whole_box


def test_foreground_box_includes_the_last_voxel():
    mask = np.zeros((6, 7, 8), dtype=np.uint8)
    mask[2, 3, 4] = 1
    mask[4, 3, 7] = 14
    box = foreground_box(mask)
    assert box == (slice(2, 5), slice(3, 4), slice(4, 8))
    assert foreground_box(torch.from_numpy(mask)) == box
    assert (mask[box] > 0).sum() == 2


def test_empty_mask_has_no_box():
    assert foreground_box(np.zeros((3, 3, 3))) is None


def test_margin_is_in_mm_and_clamped():
    box = (slice(10, 12), slice(10, 12), slice(10, 12))
    # 20 mm: 25 voxels of 0.8 mm (clamped at both ends), 6 of 3 mm (18 mm), 4 of 5 mm.
    expanded = expand_box(box, 20, (0.8, 3.0, 5.0), (30, 30, 30))
    assert expanded == (slice(0, 30), slice(4, 18), slice(6, 16))


@pytest.mark.parametrize("spacing", [0.8, float(np.float32(0.8)), np.nextafter(0.8, 1)])
def test_rounding_of_the_affine_does_not_cost_a_voxel(spacing):
    box = (slice(50, 51),) * 3
    assert expand_box(box, 20, (spacing,) * 3, (100, 100, 100)) == (slice(25, 76),) * 3


def test_box_on_source_by_hand():
    # 4 coarse voxels over 10 raw ones: centers at 0, 3, 6, 9. Coarse voxel 1 reaches from 1.5 to 4.5: raw 1..5.
    assert box_on_source((slice(1, 2), slice(0, 4), slice(3, 4)), (4, 4, 4), (10, 10, 10)) == (
        slice(1, 6),
        slice(0, 10),
        slice(7, 10),
    )
    assert box_on_source((slice(0, 1),) * 3, (1, 1, 1), (7, 8, 9)) == whole_box((7, 8, 9))
    assert box_on_source((slice(1, 3), slice(0, 1), slice(0, 2)), (4, 2, 2), (1, 1, 5)) == whole_box((1, 1, 5))


def test_extent():
    assert box_extent_mm((slice(2, 5), slice(0, 1), slice(4, 8)), (1.0, 2.0, 2.5)).tolist() == [3.0, 2.0, 10.0]
