"""Coarse to fine on scans whose region of interest and labels are known."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

from abdoseg.files import CaseError
from abdoseg.inferers import CoarseToFineInferer
from abdoseg.networks import CoarseToFineNetwork
from abdoseg.transforms import ComponentRules
from tests.inferers.stand_ins import Nothing, Thresholds, blocks, ras_scan

SHAPE = (40, 36, 30)
LIVER = ((slice(12, 22), slice(14, 24), slice(10, 20)), 300.0)
# Beyond 4 voxels from the liver: outside the region of interest of a margin of 8 mm at 2 mm.
STRAY = ((slice(34, 37), slice(30, 33), slice(24, 27)), 300.0)
SPACING = (2.0, 2.0, 2.0)
# Between 0 and 1 of a standardized image: above the blocks' background, below the blocks, in the whole and in the crop.
LABELS = [(1, 0.5)]


def infer(volume, network, coarse_size=SHAPE, fine_size=(18, 18, 18), margin_mm=8.0, **options) -> np.ndarray:
    inferer = CoarseToFineInferer(coarse_size, fine_size, margin_mm, amp=False, **options)
    return inferer(ras_scan(volume, SPACING), network)[0, 0].numpy()


class Recorder(Thresholds):
    """Remembers the images that it was given."""

    def __init__(self, thresholds) -> None:
        super().__init__(thresholds)
        self.seen = []

    def forward(self, image):
        self.seen.append(image)
        return super().forward(image)


def test_roi_is_the_box_and_its_margin():
    volume = blocks(SHAPE, [LIVER])
    inferer = CoarseToFineInferer(SHAPE, (18, 18, 18), margin_mm=8.0, amp=False)
    raw = torch.as_tensor(volume)[None]
    box = inferer.region_of_interest(raw, SPACING, Thresholds(LABELS), "scan")
    # On its own grid a voxel reaches half a voxel further, rounded outwards: 1 voxel; 8 mm are 4 more.
    assert box == (slice(7, 27), slice(9, 29), slice(5, 25))


@pytest.mark.parametrize("coarse_size", [(20, 20, 20), (13, 40, 9)])
def test_roi_of_a_coarse_grid_misses_nothing(coarse_size):
    volume = blocks(SHAPE, [LIVER])
    inferer = CoarseToFineInferer(coarse_size, (18, 18, 18), 0.0, coarse_components=None, amp=False)
    box = inferer.region_of_interest(torch.as_tensor(volume)[None], SPACING, Thresholds(LABELS), "scan")
    assert (volume[box] > 0).sum() == (volume > 0).sum()
    widest = [side.stop - side.start for side in box]
    # The blur of the coarse grid and rounding add at most two coarse voxels on each side.
    limits = [10 + 4 * (n / m) + 2 for n, m in zip(SHAPE, coarse_size, strict=True)]
    assert all(width <= limit for width, limit in zip(widest, limits, strict=True))


def test_fine_labels_are_pasted_where_they_belong():
    volume = blocks(SHAPE, [LIVER])
    labels = infer(volume, CoarseToFineNetwork(Thresholds(LABELS), Thresholds(LABELS)), fine_size=(20, 20, 20))
    assert np.array_equal(labels, volume > 0)


def test_outside_the_roi_is_background():
    # The stray block would be labelled by the fine network; the coarse components drop it from the box.
    volume = blocks(SHAPE, [LIVER, STRAY])
    network = CoarseToFineNetwork(Thresholds(LABELS), Thresholds(LABELS))
    labels = infer(volume, network, fine_size=(20, 20, 20))
    assert not labels[STRAY[0]].any()
    assert (labels[LIVER[0]] == 1).all()
    # Without component rules the box reaches the stray block.
    labels = infer(volume, network, fine_size=SHAPE, coarse_components=None, components=None)
    assert (labels[STRAY[0]] == 1).any()


def test_coarse_minimum_is_in_mm3_of_the_coarse_grid():
    # The liver has 10^3 voxels of 8 mm^3 on the scan's grid: 8000 mm^3, also where the coarse grid has fewer voxels.
    volume = torch.as_tensor(blocks(SHAPE, [LIVER]))[None]
    for minimum, whole in ((6000.0, False), (10500.0, True)):
        inferer = CoarseToFineInferer(
            (20, 18, 15), (8, 8, 8), coarse_components=ComponentRules(organ_min_mm3=minimum), amp=False
        )
        box = inferer.region_of_interest(volume, SPACING, Thresholds(LABELS), "scan")
        assert (box == tuple(slice(0, n) for n in SHAPE)) is whole


def test_empty_coarse_mask_falls_back_to_the_whole_volume(caplog):
    volume = blocks(SHAPE, [LIVER])
    with caplog.at_level(logging.WARNING):
        labels = infer(volume, CoarseToFineNetwork(Nothing(), Thresholds(LABELS)), fine_size=SHAPE)
    assert "scan_0000.nii.gz: the coarse network found nothing" in caplog.text
    assert np.array_equal(labels, volume > 0)


def test_a_scan_without_enough_of_an_abdomen_is_not_labeled(caplog):
    volume = blocks(SHAPE, [LIVER])  # 10^3 voxels of 8 mm^3: 8 mL
    network = CoarseToFineNetwork(Thresholds(LABELS), Thresholds(LABELS))
    assert np.array_equal(infer(volume, network, fine_size=(20, 20, 20), abdomen_min_ml=7.9), volume > 0)
    with caplog.at_level(logging.WARNING):
        assert not infer(volume, network, fine_size=(20, 20, 20), abdomen_min_ml=8.1).any()
        assert not infer(volume, CoarseToFineNetwork(Nothing(), Thresholds(LABELS)), abdomen_min_ml=8.1).any()
    assert "scan_0000.nii.gz: the coarse network finds 8.0 mL of organs, less than 8.1: no abdomen" in caplog.text
    assert "finds 0.0 mL" in caplog.text
    for wrong in (-5, float("nan"), "much", None):
        with pytest.raises(CaseError, match=f"abdomen_min_ml is {wrong}; give a volume in mL"):
            CoarseToFineInferer(abdomen_min_ml=wrong)


def test_without_a_coarse_network_the_roi_is_the_whole_volume():
    fine = Recorder(LABELS)
    volume = blocks(SHAPE, [LIVER, STRAY])
    labels = infer(volume, CoarseToFineNetwork(None, fine), fine_size=SHAPE, components=None)
    assert np.array_equal(labels, volume > 0)
    assert fine.seen[0].shape == (1, 1, *SHAPE)


def test_fine_network_sees_the_standardized_crop():
    fine = Recorder(LABELS)
    volume = blocks(SHAPE, [LIVER])
    infer(volume, CoarseToFineNetwork(Thresholds(LABELS), fine), fine_size=(20, 20, 20))
    crop = torch.as_tensor(volume[7:27, 9:29, 5:25])
    expected = (crop - crop.mean()) / crop.std(correction=0)
    torch.testing.assert_close(fine.seen[0][0, 0], expected, atol=1e-4, rtol=1e-4)


def test_each_network_has_its_own_window():
    """Clipped to 0..100, 300 HU and 100 HU look alike; clipped to 0..400 they do not."""
    bright, dim = LIVER, (STRAY[0], 100.0)
    coarse, fine = Recorder(LABELS), Recorder(LABELS)
    infer(
        blocks(SHAPE, [bright, dim]),
        CoarseToFineNetwork(coarse, fine),
        coarse_size=SHAPE,
        fine_size=SHAPE,
        margin_mm=1000.0,
        hu_window=(0, 400),
        coarse_hu_window=(0, 100),
    )
    assert [len(network.seen[0].unique()) for network in (coarse, fine)] == [2, 3]


def test_several_tumors_survive():
    first = ((slice(12, 16), slice(14, 18), slice(10, 14)), 300.0)
    second = ((slice(24, 27), slice(20, 23), slice(10, 13)), 300.0)
    volume = blocks(SHAPE, [first, second])
    tumor = [(14, 0.5)]
    network = CoarseToFineNetwork(None, Thresholds(tumor))
    kept = infer(volume, network, fine_size=SHAPE)
    assert (kept == 14).sum() == 64 + 27
    one = infer(volume, network, fine_size=SHAPE, components=ComponentRules(tumor_largest_only=True))
    assert (one == 14).sum() == 64


def test_long_roi_is_logged(caplog):
    volume = torch.as_tensor(blocks(SHAPE, [((slice(12, 22), slice(14, 24), slice(2, 28)), 300.0)]))[None]
    inferer = CoarseToFineInferer(SHAPE, (8, 8, 8), amp=False)
    with caplog.at_level(logging.INFO):
        inferer.region_of_interest(volume, (2.0, 2.0, 20.0), Thresholds(LABELS), "long.nii.gz")
    assert "long.nii.gz: the region of interest has 32x32x30 voxels (x, y, z) and is 600 mm long." in caplog.text
    assert "long.nii.gz: that is long" in caplog.text


def test_sees_through_the_wrapper_of_distributed_training(tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        network = CoarseToFineNetwork(Thresholds(LABELS), Thresholds(LABELS))
        wrapped = nn.parallel.DistributedDataParallel(network)
        volume = blocks(SHAPE, [LIVER])
        assert np.array_equal(infer(volume, wrapped), infer(volume, network))
    finally:
        torch.distributed.destroy_process_group()
