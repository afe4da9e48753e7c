"""The winner's window skipping, level by level, on bodies whose windows are known."""

import numpy as np
import pytest
import torch

from abdoseg.inferers import CenterFirst, PlanInferer
from tests.inferers.stand_ins import Thresholds, ras_scan

PLAN = {
    "spacing": [2.0, 2.0, 2.0],
    "patch_size": [8, 8, 8],
    "normalization": {"lower": -300.0, "upper": 300.0, "mean": 0.0, "std": 100.0},
}
# 24 voxels: windows at 0, 8, 16 without overlap; the middle one holds 8 to 15.
SHAPE = (24, 24, 40)
LIVER, AORTA = 100.0, 250.0
RULE = CenterFirst(min_voxels=20, min_front_voxels=10, min_touching=3)


class Watched(Thresholds):
    """Liver above 50 HU, aorta above 200; remembers how often it was asked, and about how many windows."""

    def __init__(self) -> None:
        super().__init__([(1, 0.5), (5, 2.0)])
        self.windows = 0

    def forward(self, image):
        self.windows += len(image)
        return super().forward(image)


def labels_of(parts, rule) -> tuple[np.ndarray, int, np.ndarray]:
    """Labels with a rule, how many windows it took, and the true labels."""
    volume = np.full(SHAPE, -300, dtype=np.float32)
    truth = np.zeros(SHAPE, dtype=np.uint8)
    for box, hu in parts:
        volume[box] = hu
        truth[box] = 1 if hu == LIVER else 5
    network = Watched()
    inferer = PlanInferer(PLAN, overlap=0.0, components=None, amp=False, skip=rule)
    labels = inferer(ras_scan(volume, (2, 2, 2)), network)[0, 0].numpy()
    return labels, network.windows, truth


def box(x, y, z):
    return tuple(slice(*side) for side in (x, y, z))


def test_an_empty_level_lets_the_next_one_go():
    # Levels of 8 slices: 0 and 1 are empty, 2 to 4 hold a liver. Level 1 is not looked at; with it passed over, level 2
    # is the next.
    liver = box((2, 20), (2, 22), (16, 40)), LIVER
    labels, windows, truth = labels_of([liver], RULE)
    assert np.array_equal(labels, truth)
    assert windows == 1 + 3 * 9
    # A liver that begins in level 1 is cut there, as by the winner; not when no level is passed over.
    liver = box((2, 20), (2, 22), (8, 40)), LIVER
    labels, _, truth = labels_of([liver], RULE)
    assert not labels[..., :16].any()
    assert np.array_equal(labels[..., 16:], truth[..., 16:])
    labels, windows, truth = labels_of([liver], CenterFirst(20, 10, skip_next=False))
    assert np.array_equal(labels, truth)
    assert windows == 1 + 4 * 9


def test_a_tube_alone_needs_the_middle_window_only():
    aorta = box((11, 14), (9, 15), (0, 40)), AORTA
    labels, windows, truth = labels_of([aorta], RULE)
    assert np.array_equal(labels, truth)
    assert windows == 5


@pytest.mark.parametrize("rows", [(4, 14), (10, 20)])
def test_a_tube_is_followed_through_the_face_that_it_touches(rows):
    # In front and behind; what lies beside is not looked at.
    aorta, beside = (box((11, 14), rows, (0, 40)), AORTA), (box((0, 4), (8, 16), (0, 40)), AORTA)
    labels, windows, truth = labels_of([aorta, beside], RULE)
    assert np.array_equal(labels[8:], truth[8:])
    assert not labels[:8].any()
    assert windows == 5 * 2


def test_an_organ_beside_the_tube_brings_all_windows():
    aorta, liver = (box((11, 14), (9, 15), (0, 40)), AORTA), (box((14, 20), (8, 20), (0, 40)), LIVER)
    labels, windows, truth = labels_of([aorta, liver], RULE)
    assert np.array_equal(labels, truth)
    assert windows == 5 * 9


def test_too_little_to_the_front_is_nothing():
    # Y grows to the front: 0.6 of 8 rows are the upper 4.
    behind = box((8, 16), (8, 12), (0, 40)), LIVER
    labels, windows, _ = labels_of([behind], RULE)
    assert not labels.any()
    assert windows == 5
    in_front = box((8, 16), (12, 16), (0, 40)), LIVER
    for part, rule in ((in_front, RULE), (behind, CenterFirst(20, 0))):  # 0: the code as it runs
        labels, windows, truth = labels_of([part], rule)
        assert np.array_equal(labels, truth)
        assert windows == 5 * 9


def test_an_imported_plan_takes_none():
    imported = {**PLAN, "imported": {"orientation": "RAS", "mirror_axes": [], "class_ids": [0, 1], "resampling": {}}}
    with pytest.raises(ValueError, match=r"takes no CenterFirst\. Use 'air'"):
        PlanInferer(imported, skip=CenterFirst())
    with pytest.raises(ValueError, match=r"'bed'.*'air', 'body', 'nothing', or a CenterFirst"):
        PlanInferer(PLAN, skip="bed")


def test_a_level_is_visited_in_batches():
    network = Watched()
    liver = torch.full((1, 24, 24, 8), 100.0)
    sizes = []
    network.register_forward_pre_hook(lambda _, images: sizes.append(len(images[0])))
    PlanInferer(PLAN, overlap=0.0, window_batch_size=3, amp=False, skip=RULE).logits(liver, (2, 2, 2), network)
    assert sizes == [1, 3, 3, 2]
