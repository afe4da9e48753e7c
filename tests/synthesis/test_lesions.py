"""Tumors lie in or at their host and spare other organs; removed organs are gone."""

import numpy as np
import pytest

from abdoseg.synthesis import Tumor, draw_removed, draw_tumors, grow, labels_of, remove_organs
from abdoseg.synthesis.tissues import FAT, LIVER, SPLEEN, STOMACH, TUMOR
from tests.synthesis.small import SPACING, block_patient, block_tissues

ORGANS = (1, 2, 3, 9, 11, 13)


def grown(tumor: Tumor):
    tissues = block_tissues()
    organs, hu = labels_of(tissues), np.full(tissues.shape, 100, np.float32)
    found = grow(tissues, hu, organs, tumor, (SPACING,) * 3)
    return found, tissues, organs, hu


def test_a_sphere_in_the_liver_has_its_volume_and_contrast():
    # The liver has 12 x 16 x 14 voxels; 6, 8, 7 is its middle.
    place = (((6 * 16) + 8) * 14 + 7.5) / (12 * 16 * 14)
    found, tissues, organs, hu = grown(Tumor(LIVER, place, radius=16.0, step=-40.0))
    assert found
    tumor = tissues == TUMOR
    assert np.count_nonzero(tumor) * SPACING**3 == pytest.approx(4 / 3 * np.pi * 16**3, rel=0.1)
    assert (block_tissues()[tumor] == LIVER).all()
    assert (organs[tumor] == LIVER).all()
    assert hu[tumor].min() == 60.0
    # Half a voxel about the surface is mixed; beyond, nothing changed.
    assert (hu[~tumor] >= 80).all()
    assert hu[block_tissues() != LIVER].min() == 100


@pytest.mark.parametrize("host", [SPLEEN, STOMACH, 2, FAT])
def test_tumors_touch_their_host_and_spare_other_organs(host):
    before = block_tissues()
    for number in range(12):
        tumor = Tumor(host, number / 12, 20.0, (0.7, 1.0, 1.5), (30, 50, -20), roughness=0.2, seed=number, rim=9.0)
        found, tissues, organs, hu = grown(tumor)
        assert found
        mask = tissues == TUMOR
        assert (before[mask] == host).any()
        for organ in set(ORGANS) - {host}:
            np.testing.assert_array_equal(tissues == organ, before == organ)
        assert set(np.unique(organs[mask])) == {host if host != FAT else 0}
        assert np.isfinite(hu).all()


def test_without_its_host_in_view_there_is_no_tumor():
    found, tissues, _, hu = grown(Tumor(4, 0.5, 10.0))
    assert not found
    assert TUMOR not in tissues
    assert (hu == 100).all()


def test_rim_and_necrosis():
    _, tissues, _, hu = grown(Tumor(LIVER, 0.5, 20.0, step=0.0, necrosis=30.0, rim=20.0))
    inside = hu[tissues == TUMOR]
    assert inside.min() < 80
    assert inside.max() > 110


def test_removed_organs_are_fat():
    tissues = block_tissues()
    depth = block_patient().depth * np.float32(0.25)
    gallbladder = tissues == 9
    remove_organs(tissues, depth, frozenset({9}))
    assert not (tissues == 9).any()
    assert (tissues[gallbladder] == FAT).all()
    assert (depth[gallbladder] >= 30).all()


def test_draws_have_their_shares():
    counts = [len(draw_tumors(np.random.default_rng(seed), 0.6)) for seed in range(400)]
    assert np.mean(np.array(counts) > 0) == pytest.approx(0.6, abs=0.07)
    assert draw_tumors(np.random.default_rng(0), 0.0) == ()
    hosts = {t.host for seed in range(200) for t in draw_tumors(np.random.default_rng(seed), 1.0)}
    assert hosts >= {1, 2, 3, 4, 11, 13}
    removed = [draw_removed(np.random.default_rng(seed)) for seed in range(600)]
    assert np.mean([9 in organs for organs in removed]) == pytest.approx(0.15, abs=0.05)
