"""The whole-volume inferer on scans whose answer is known."""

import numpy as np
import pytest
import torch

from abdoseg.inferers import WholeVolumeInferer
from abdoseg.transforms import ComponentRules
from tests.inferers.stand_ins import Thresholds, blocks, ras_scan

LIVER = ((slice(4, 12), slice(5, 13), slice(3, 9)), 300.0)
# 8 and 27 voxels.
TUMORS = [((slice(14, 16), slice(2, 4), slice(2, 4)), 100.0), ((slice(1, 4), slice(14, 17), slice(9, 12)), 100.0)]


def standardized(volume: np.ndarray, value: float) -> float:
    return float((value - volume.mean()) / (volume.std() + 1e-5))


def thresholds_for(volume: np.ndarray) -> Thresholds:
    """Network that calls more than 0 HU a tumor and more than 200 HU a liver."""
    return Thresholds([(14, standardized(volume, 0.0)), (1, standardized(volume, 200.0))])


@pytest.fixture
def volume() -> np.ndarray:
    return blocks((18, 20, 14), [LIVER, *TUMORS])


def expected(volume: np.ndarray) -> np.ndarray:
    return np.where(volume > 200, 1, np.where(volume > 0, 14, 0))


def test_on_its_own_grid_every_voxel_is_right(volume):
    infer = WholeVolumeInferer(volume.shape, components=None, amp=False)
    labels = infer(ras_scan(volume), thresholds_for(volume))
    assert np.array_equal(labels[0, 0].numpy(), expected(volume))


def test_other_grids_blur_the_borders_only(volume):
    infer = WholeVolumeInferer((27, 27, 27), components=None, amp=False)
    labels = infer(ras_scan(volume), thresholds_for(volume))[0, 0].numpy()
    assert labels.shape == volume.shape
    wanted = expected(volume) == 1
    found = labels == 1
    assert 2 * (wanted & found).sum() / (wanted.sum() + found.sum()) > 0.85
    assert found[6:10, 7:11, 5:7].all()


@pytest.mark.parametrize(
    ("spacing", "sizes"),
    [((1, 1, 1), [27]), ((1, 1, 2), [8, 27]), ((0.5, 0.5, 5), [27])],
    ids=["8 and 27 mm3", "16 and 54 mm3", "10 and 33.75 mm3"],
)
def test_tumors_survive_by_true_volume(volume, spacing, sizes):
    infer = WholeVolumeInferer(volume.shape, components=ComponentRules(tumor_min_mm3=12), amp=False)
    labels = infer(ras_scan(volume, spacing), thresholds_for(volume))[0, 0].numpy()
    assert (labels == 14).sum() == sum(sizes)
    assert (labels == 1).sum() == 8 * 8 * 6


def test_paper_rules_are_a_switch(volume):
    paper = ComponentRules(organ_min_mm3=2000, tumor_min_mm3=2000, tumor_largest_only=True)
    infer = WholeVolumeInferer(volume.shape, components=paper, amp=False)
    labels = infer(ras_scan(volume, (2, 2, 2)), thresholds_for(volume))[0, 0].numpy()
    # 384 voxels of 8 mm^3 are 3072 mm^3; the tumors have 64 and 216.
    assert np.unique(labels).tolist() == [0, 1]


def test_one_slice(volume):
    one = volume[:, :, 5:6]
    infer = WholeVolumeInferer((18, 20, 8), components=None, amp=False)
    labels = infer(ras_scan(one), thresholds_for(one))
    assert np.array_equal(labels[0, 0].numpy(), expected(one))


def test_no_gradient_is_kept(volume):
    labels = WholeVolumeInferer(volume.shape, amp=False)(ras_scan(volume), thresholds_for(volume))
    assert not labels.requires_grad
    assert labels.dtype == torch.uint8
