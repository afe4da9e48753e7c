"""Faults of label maps: values, sides told by hand-placed organs, volumes at their limits."""

import numpy as np
import pytest

from abdoseg.checks import VOLUME_LIMITS_CM3, FractionError, LabelTally, label_faults, place_faults, whole_values
from abdoseg.labels import CLASS_IDS, NAMES

SHAPE = (20, 12, 9)
AFFINE = np.diag([-10.0, 10, 10, 1])  # one voxel is 1 cm3; the first axis runs to the left


def tally_of(labels: np.ndarray, slices: int = 100) -> LabelTally:
    tally = LabelTally("label.nii", labels.shape)
    for start in range(0, labels.shape[2], slices):
        tally.add(start, labels[:, :, start : start + slices])
    return tally


def kinds(faults) -> list[str]:
    return [found.kind for found in faults]


def test_a_tally_is_what_the_whole_map_says():
    labels = np.random.default_rng(0).integers(0, 15, SHAPE).astype(np.uint8)
    labels[labels == 4] = 0
    labels[[0, -1]] = labels[:, [0, -1]] = labels[:, :, [0, -1]] = 0
    labels[0, 3, 3], labels[4, 11, 5], labels[4, 4, 8] = 1, 2, 3
    affine = np.array([[0.0, -2, 1, 7], [1, 0, 0, 0], [0, 1, 3, 0], [0, 0, 0, 1]])
    for tally in (tally_of(labels), tally_of(labels, 2)):
        assert tally.counts.tolist() == np.bincount(labels.ravel(), minlength=15).tolist()
        assert tally.present == [c for c in CLASS_IDS if c != 4]
        assert tally.at_edge == {1, 2, 3}
        for class_id, middle in tally.middles_mm(affine).items():
            expected = affine[:3, :3] @ np.argwhere(labels == class_id).mean(axis=0) + affine[:3, 3]
            assert middle == pytest.approx(expected)
        # The determinant of the matrix is 7: 7 mm3.
        assert tally.volumes_cm3(affine)[2] == pytest.approx((labels == 2).sum() * 0.007)


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        (np.array([0, 1, 14], np.uint8), None, None),
        (np.array([0, 1, 14], np.float32), None, None),
        (np.array([0, 1, 14 * (1 + 1e-7)]), None, None),
        (np.array([0, 1, 2.5]), "label_fraction", "label values such as 2.5 are not whole numbers (voxels: 1)"),
        (np.array([0, np.nan, 2]), "label_fraction", "label values such as nan"),
        (np.array([0, 15, 2], np.uint8), "label_value", "unknown label value 15"),
        (np.array([0, -1, 2], np.int16), "label_value", "unknown label value -1"),
        (np.array([0, 300, 2], np.int16), "label_value", "unknown label value 300"),
    ],
)
def test_values(values, kind, words):
    labels = np.zeros(SHAPE, values.dtype)
    labels[5, 5, [2, 4, 6]] = values
    found = label_faults("label.nii", tally_of(labels, 3), np.eye(4))
    values_at_fault = [one for one in found if one.kind.startswith("label_")]
    assert kinds(values_at_fault) == [kind] * (kind is not None)
    assert kind is None or values_at_fault[0].message.startswith(f"label.nii: {words}")


def test_whole_values():
    assert whole_values(np.array([0.9999, 2.0001]), "x").tolist() == [1, 2]
    counts = np.array([3, 4], np.uint16)
    assert whole_values(counts, "x") is counts
    with pytest.raises(FractionError, match="resampled by nearest neighbor"):
        whole_values(np.array([0.99]), "x")


# The patient's right has the larger x.
AT = {1: 60, 3: -70, 2: 50, 13: -50, 7: 25, 8: -25}


@pytest.mark.parametrize(
    ("places", "kind", "words"),
    [
        (AT, None, None),
        ({**AT, 2: -50, 13: 50}, "sides_swapped", "right kidney lies on the left of the left kidney; liver and spleen"),
        ({**AT, 7: -25, 8: 25}, "sides_swapped", "right adrenal gland lies on the left"),
        ({c: x for c, x in {**AT, 2: -50, 13: 50}.items() if c != 3}, "sides_swapped", "or correct the scan's affine"),
        ({2: -1, 13: 1}, None, None),
        ({2: -3, 13: 3}, "sides_swapped", "right kidney"),
        ({c: -x for c, x in AT.items()}, "mirrored", "the liver lies on the left of the spleen"),
        ({1: -60, 3: 70}, "mirrored", "unless the patient has situs inversus"),
        ({1: -60, 2: 50}, None, None),
        ({13: 90}, None, None),
        ({}, None, None),
    ],
)
def test_sides(places, kind, words):
    found = place_faults("label.nii", {class_id: (x, 0, 0) for class_id, x in places.items()})
    assert kinds(found) == [kind] * (kind is not None)
    assert kind is None or words in found[0].message


# (right, front, head) mm; kidneys 2 and 13 lie behind and below liver 1, pancreas 4, esophagus 10, adrenal glands 7, 8.
BODY = {1: (60, 40, 40), 2: (50, -20, 0), 13: (-50, -20, 10), 4: (0, 30, 20), 10: (0, -10, 110), 7: (25, -15, 50)}


def changed(**values) -> dict[int, tuple]:
    return {class_id: values.get(f"c{class_id}", middle) for class_id, middle in BODY.items()}


@pytest.mark.parametrize(
    ("places", "at_edge", "told"),
    [
        (BODY, (), None),
        ({c: (r, -f, h) for c, (r, f, h) in BODY.items()}, (), "the liver lies behind the right kidney;"),
        ({c: (r, f, -h) for c, (r, f, h) in BODY.items()}, (), "the liver lies below the right kidney;"),
        # A rotation by 180 degrees, in which left and right stay consistent with each other.
        ({c: (r, -f, -h) for c, (r, f, h) in BODY.items()}, (), "behind the right kidney and the liver lies below"),
        # What the scan's edge cuts has its middle anywhere; without the liver, pancreas and gland there is one pair.
        ({c: (r, f, -h) for c, (r, f, h) in BODY.items()}, (1, 7, 10), None),
        # A kidney in the pelvis, and one before the liver: not all pairs are turned.
        (changed(c2=(50, -20, 200)), (), None),
        (changed(c2=(50, 90, 0)), (), None),
        # One pair alone says too little; two do.
        ({1: (60, -40, 0), 2: (50, 0, 0)}, (), None),
        ({1: (60, -40, 0), 2: (50, 0, 0), 13: (-50, 0, 0)}, (), "the liver lies behind the right kidney;"),
        # Less than 5 mm.
        ({1: (60, -4, 0), 2: (50, 0, 0), 13: (-50, 0, 0)}, (), None),
    ],
)
def test_turned_and_upside_down(places, at_edge, told):
    found = place_faults("label.nii", places, at_edge)
    assert kinds(found) == ["mirrored"] * (told is not None)
    assert told is None or told in found[0].message


def box(labels: np.ndarray, class_id: int, voxels: int, corner: tuple[int, int, int]) -> None:
    """Write a class in the first so many voxels, row by row, of a box that begins at the corner."""
    part = labels[tuple(slice(start, -1) for start in corner)]
    places = np.unravel_index(np.arange(voxels), part.shape)
    part[places] = class_id


@pytest.mark.parametrize(
    ("class_id", "voxels", "corner", "accused"),
    [
        (1, 199, (1, 1, 1), True),
        (1, 200, (1, 1, 1), False),
        (1, 5, (0, 1, 1), False),  # at the edge: the scan shows a part of it
        (14, 1, (1, 1, 1), False),
        (7, 100, (1, 1, 1), False),
        (7, 101, (1, 1, 1), True),
        (7, 101, (0, 1, 1), True),
        (13, 4, (5, 5, 5), True),
    ],
)
def test_volumes_at_the_limits(class_id, voxels, corner, accused):
    labels = np.zeros(SHAPE, np.uint8)
    box(labels, class_id, voxels, corner)
    found = label_faults("label.nii", tally_of(labels), AFFINE)
    assert kinds(found) == ["organ_volume"] * accused
    if accused:
        limits = VOLUME_LIMITS_CM3[class_id]
        named = f"{NAMES[class_id]} of {voxels} cm3 ({limits.lowest:g} to {limits.highest:g} are believed)"
        assert named in found[0].message


def test_the_limits_leave_room_around_the_medians():
    assert list(VOLUME_LIMITS_CM3) == list(CLASS_IDS)
    for limits in VOLUME_LIMITS_CM3.values():
        assert 5 * limits.lowest < limits.median < limits.highest / 5
        assert limits.reason


def test_a_stray_voxel_says_nothing_of_sides():
    labels = np.zeros(SHAPE, np.uint8)
    box(labels, 3, 60, (2, 2, 2))  # the spleen, on the right of the liver's one voxel
    labels[18, 5, 5] = 1
    assert kinds(label_faults("label.nii", tally_of(labels), AFFINE)) == ["organ_volume"]
    labels[16:19, 1:-1, 1:-1] = 1
    assert kinds(label_faults("label.nii", tally_of(labels), AFFINE)) == ["mirrored"]


def test_a_class_that_nobody_looked_for():
    labels = np.zeros(SHAPE, np.uint8)
    box(labels, 2, 60, (2, 2, 2))
    assert kinds(label_faults("label.nii", tally_of(labels), AFFINE, annotated=[2, 13])) == []
    (found,) = label_faults("label.nii", tally_of(labels), AFFINE, annotated=[1, 13])
    assert found.kind == "unannotated_class"
    assert "holds right kidney (2), declared not annotated" in found.message
