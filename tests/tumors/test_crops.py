"""Crops around host organs: boxes worked out by hand, at the volume's faces, and rules that hold for any mask."""

import numpy as np
import pytest

from abdoseg.transforms import foreground_box
from abdoseg.tumors import REST, CropRule, host_boxes, host_map, widen_box
from tests.tumors.random_cases import random_labels

# papers-spec.md 3.3: the notebook widens axis 0 of (x, y, z) by 5 voxels and the others by 10; the inference script
# widens (z, y, x) by (5, 20, 20).
PAPER_TRAINING = CropRule(margin=(5, 10, 10), unit="voxel", multiple=8)
PAPER_INFERENCE = CropRule(margin=(20, 20, 5), unit="voxel", multiple=8)


def box(*sides) -> tuple[slice, ...]:
    return tuple(slice(*side) for side in sides)


def mask_of(shape, *sides) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[box(*sides)] = True
    return mask


def widened(mask: np.ndarray, spacing, rule: CropRule) -> tuple[slice, ...]:
    return widen_box(foreground_box(mask), mask.shape, spacing, rule)


def test_default_margin_in_millimeters():
    mask = mask_of((64, 64, 20), (10, 20), (30, 40), (6, 8))
    # 16 mm are 20 voxels of 0.8 mm, 12.5 mm are 5 slices of 2.5 mm.
    assert widened(mask, (0.8, 0.8, 2.5), CropRule()) == box((0, 40), (10, 60), (1, 13))
    # 12.5 mm are 2.5 slices of 5 mm: three. 16 mm are 16 voxels of 1 mm, 8 of 2 mm.
    assert widened(mask, (1, 2, 5), CropRule()) == box((0, 36), (22, 48), (3, 11))


def test_a_spacing_rounded_to_float32_adds_no_voxel():
    spacing = np.float32([0.8, 0.8, 2.5]) * np.float32(0.99999)
    assert CropRule().margin_voxels(spacing) == (20, 20, 5)
    assert CropRule((16, 16, 12.5), "voxel").margin_voxels(spacing) == (16, 16, 13)


def test_the_papers_training_box():
    mask = mask_of((100, 100, 50), (40, 51), (30, 43), (20, 22))
    # x: 35..56, 21 long, to 24: one more below, two above. y: 20..53, 33 to 40: three and four. z: 10..32, 22 to 24.
    assert widened(mask, (0.8, 0.8, 2.5), PAPER_TRAINING) == box((34, 58), (17, 57), (9, 33))


def test_the_papers_inference_box():
    mask = mask_of((100, 100, 50), (40, 51), (30, 43), (20, 22))
    # x: 20..71, 51 to 56: two and three. y: 10..63, 53 to 56: one and two. z: 15..27, 12 to 16: two and two.
    assert widened(mask, (0.8, 0.8, 2.5), PAPER_INFERENCE) == box((18, 74), (9, 65), (13, 29))


def test_at_the_faces_the_box_is_shifted_inside():
    mask = mask_of((20, 20, 20), (0, 3), (0, 3), (17, 20))
    # x: 0..8 is 8 long. y: 0..13, to 16, would start at -1. z: 7..20, to 16, would be 6..22.
    assert widened(mask, (1, 1, 1), PAPER_TRAINING) == box((0, 8), (0, 16), (4, 20))


def test_a_volume_smaller_than_the_margin_is_taken_whole():
    mask = mask_of((5, 12, 1), (2, 3), (5, 6), (0, 1))
    assert widened(mask, (1, 1, 1), PAPER_TRAINING) == box((0, 5), (0, 12), (0, 1))
    assert widened(mask, (1, 1, 5), CropRule()) == box((0, 5), (0, 12), (0, 1))


def test_without_margin_a_voxel_is_its_own_box():
    mask = mask_of((5, 5, 5), (2, 3), (4, 5), (0, 1))
    assert widened(mask, (1, 1, 1), CropRule((0, 0, 0))) == box((2, 3), (4, 5), (0, 1))


@pytest.mark.parametrize("seed", range(20))
def test_any_box_holds_its_mask_and_lies_in_the_volume(seed):
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(1, 30, 3).tolist())
    mask = np.zeros(shape, dtype=np.uint8)
    mask[tuple(int(generator.integers(0, n)) for n in shape)] = 1
    mask[tuple(int(generator.integers(0, n)) for n in shape)] = 1
    rule = CropRule(tuple(generator.uniform(0, 9, 3).tolist()), ("mm", "voxel")[seed % 2], (1, 4, 8)[seed % 3])
    spacing = generator.uniform(0.5, 5, 3)
    steps = spacing if rule.unit == "mm" else np.ones(3)
    found = widened(mask, spacing, rule)
    for axis, side in enumerate(found):
        inside = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        assert 0 <= side.start <= inside[0] <= inside[-1] < side.stop <= shape[axis]
        length = side.stop - side.start
        assert length % rule.multiple == 0 or length == shape[axis]
        reach = rule.margin[axis] / steps[axis]
        assert side.start == 0 or inside[0] - side.start >= reach - 1e-2
        assert side.stop == shape[axis] or side.stop - 1 - inside[-1] >= reach - 1e-2
        # Not longer than asked for: the margins, less than a voxel of rounding each, less than a multiple more.
        assert length < inside[-1] + 1 - inside[0] + 2 * (reach + 1) + rule.multiple


def test_widen_box_alone():
    assert widen_box(box((4, 6), (4, 6), (4, 6)), (10, 10, 10), (1, 2, 4), CropRule((2, 2, 2))) == box(
        (2, 8), (3, 7), (3, 7)
    )


def case() -> np.ndarray:
    labels = np.zeros((40, 30, 20), dtype=np.uint8)
    labels[2:12, 5:15, 4:10] = 1
    labels[4:8, 20:26, 3:9] = 2
    labels[30:34, 20:26, 5:11] = 13
    labels[20:24, 10:13, 8:12] = 5
    return labels


NO_MARGIN = CropRule((0, 0, 0))


def test_each_kidney_has_its_own_box():
    right, left = box((4, 8), (20, 26), (3, 9)), box((30, 34), (20, 26), (5, 11))
    assert host_boxes(case(), "kidneys", (1, 1, 1), NO_MARGIN) == [(2, right), (13, left)]
    labels = case()
    labels[labels == 2] = 0
    assert host_boxes(labels, "kidneys", (1, 1, 1), NO_MARGIN) == [(13, left)]


def test_a_missing_organ_has_no_box():
    assert host_boxes(case(), "pancreas", (1, 1, 1)) == []
    assert host_boxes(np.zeros((3, 3, 3), dtype=np.uint8), REST, (1, 1, 1)) == []
    assert host_boxes(np.full((3, 3, 3), 14, dtype=np.uint8), REST, (1, 1, 1)) == []


def test_the_rest_has_one_box_around_all_organs():
    labels = case()
    labels[38, 28, 18] = 14  # a tumor is no organ
    assert host_boxes(labels, REST, (1, 1, 1), NO_MARGIN) == [(0, box((2, 34), (5, 26), (3, 12)))]


def test_tumors_join_the_box_of_their_host():
    labels = case()
    labels[11:16, 6:9, 5] = 14  # out of the liver
    labels[11, 6, 6] = 14  # makes room in its box for the liver
    labels[33:39, 22, 6] = 14  # out of the left kidney
    labels[36, 28:30, 0:2] = 14  # of no organ
    labels[10:14, 18, 19] = 14
    labels[11, 19, 19] = 11  # of the stomach, which is one voxel
    foci = host_map(labels)
    assert sorted(np.unique(foci).tolist()) == [0, 1, 11, 13, 14]
    assert host_boxes(labels, "liver", (1, 1, 1), NO_MARGIN, foci) == [(1, box((2, 16), (5, 15), (4, 10)))]
    assert host_boxes(labels, "kidneys", (1, 1, 1), NO_MARGIN, foci) == [
        (2, box((4, 8), (20, 26), (3, 9))),
        (13, box((30, 39), (20, 26), (5, 11))),
    ]
    # All organs reach from (2, 5, 3) to (34, 26, 20); the tumor of no organ adds x to 37, y to 30 and z from 0. That of
    # the left kidney, which reaches to 39, has its own network.
    assert host_boxes(labels, REST, (1, 1, 1), NO_MARGIN, foci) == [(0, box((2, 37), (5, 30), (0, 20)))]


def test_a_mask_that_does_not_name_hosts_is_refused():
    with pytest.raises(ValueError, match="host_map"):
        host_boxes(case(), "liver", (1, 1, 1), foci_mask=case() == 14)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("family", ["liver", "pancreas", "kidneys"])
def test_boxes_of_a_family_are_the_boxes_of_its_masks(seed, family):
    labels = random_labels(seed, organs=30)
    if seed % 2:
        labels = np.asfortranarray(labels.astype(np.int64))[:, ::-1]
    organs = {"liver": (1,), "pancreas": (4,), "kidneys": (2, 13)}[family]
    foci = host_map(labels)
    spacing = (0.9, 0.9, 3.0)
    rule = CropRule((2, 3, 4), multiple=4)
    expected = [(organ, widened(labels == organ, spacing, rule)) for organ in organs if (labels == organ).any()]
    assert host_boxes(labels, family, spacing, rule) == expected
    joined = {organ: (labels == organ) | (foci == organ) for organ in organs}
    expected = [(organ, widened(mask, spacing, rule)) for organ, mask in joined.items() if mask.any()]
    assert host_boxes(labels, family, spacing, rule, foci) == expected


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"unit": "cm"}, "'cm'.*'mm', 'voxel'"),
        ({"margin": (1, -1, 1)}, "none below 0"),
        ({"margin": (1, 1)}, "three numbers"),
        ({"multiple": 0}, "use 1 or more"),
    ],
)
def test_impossible_rules_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        CropRule(**arguments)
