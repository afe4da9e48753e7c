"""How tissues look: the HU of a drawn tissue have the drawn mean and deviation, layers lie at their depth."""

import numpy as np
import pytest

from abdoseg.synthesis import Content, Look, Painter, draw_contrast, draw_look
from abdoseg.synthesis.look import GAS
from abdoseg.synthesis.tissues import BONE, FAT, LIVER, MUSCLE, OUTSIDE, SPLEEN, STOMACH
from tests.synthesis.small import SPACING, block_patient, block_tissues

CONTRAST = draw_contrast(np.random.default_rng(0), "portal")
HU = CONTRAST.hu


def paint(look: Look, tissues=None):
    patient = block_patient()
    tissues = block_tissues() if tissues is None else tissues
    depth = patient.depth * np.float32(0.25)
    front = np.broadcast_to(np.arange(40, dtype=np.float32)[None, :, None] * SPACING, tissues.shape)
    return Painter(tissues, depth, front, (SPACING,) * 3, CONTRAST, look).paint(), depth


def test_without_texture_every_voxel_has_the_drawn_value():
    hu, _ = paint(Look(texture=0.0))
    tissues = block_tissues()
    for tissue, name in {LIVER: "liver", SPLEEN: "spleen", FAT: "fat", STOMACH: "wall"}.items():
        np.testing.assert_array_equal(hu[tissues == tissue], np.float32(HU[name]))


def test_texture_has_the_drawn_deviation_and_leaves_the_mean():
    hu, _ = paint(Look(texture=2.0, seed=3))
    liver = hu[block_tissues() == LIVER]
    # 4 HU of fine and 3 of coarse texture, times 2: 10 in all; coarse blotches are hardly smaller than the organ.
    assert liver.mean() == pytest.approx(HU["liver"], abs=5)
    assert 6 < liver.std() < 11
    again, _ = paint(Look(texture=2.0, seed=3))
    np.testing.assert_array_equal(hu, again)


def test_kidneys_have_a_cortex_and_bones_a_shell():
    hu, depth = paint(Look(texture=0.0, cortex_mm=6.0, bone_mm=2.0))
    tissues = block_tissues()
    kidney = (tissues == 2) & (depth < 4)
    np.testing.assert_allclose(hu[kidney], HU["renal cortex"], rtol=1e-6)
    inner = (tissues == 2) & (depth > 9)
    np.testing.assert_allclose(hu[inner], HU["renal medulla"], rtol=1e-6)
    # The outermost bone voxel reaches from 0 to 4 mm under the surface: half of it is within 2 mm.
    surface = (tissues == BONE) & (depth == 2.0)
    np.testing.assert_allclose(hu[surface], (HU["marrow"] + HU["cortical bone"]) / 2, rtol=1e-5)


def test_gas_lies_in_front_in_a_hollow_organ():
    look = Look(texture=0.0, contents={STOMACH: Content(wall_mm=2.0, hu=30.0, gas=0.4)})
    hu, depth = paint(look)
    lumen = (block_tissues() == STOMACH) & (depth > 5)
    gas = hu < GAS / 2
    assert np.count_nonzero(gas & lumen) / np.count_nonzero(lumen) == pytest.approx(0.4, abs=0.15)
    assert np.argwhere(gas & lumen)[:, 1].min() >= np.argwhere(lumen & ~gas)[:, 1].max()
    np.testing.assert_allclose(hu[lumen & (hu > -100)].max(), 30.0)


def test_vessels_and_strands_are_where_they_belong():
    plain, _ = paint(Look(texture=0.0))
    hu, _ = paint(Look(texture=0.0, vessels=4.0, vessel_mm=25.0, strands=0.3, seed=1))
    tissues = block_tissues()
    changed = hu != plain
    assert set(np.unique(tissues[changed])) <= {LIVER, FAT, 16}
    vessels = changed & (tissues == LIVER)
    assert 0.01 < np.count_nonzero(vessels) / np.count_nonzero(tissues == LIVER) < 0.5
    assert hu[vessels].max() > HU["liver"] + 0.5 * (HU["portal vein"] - HU["liver"])
    assert 0.02 < np.count_nonzero(changed & (tissues == FAT)) / np.count_nonzero(tissues == FAT) < 0.6


def test_fat_is_added_outside_and_the_abdominal_wall_lies_under_it():
    tissues = block_tissues()
    hu, _ = paint(Look(texture=0.0, fat_mm=8.0, wall=(4.0, 8.0)), tissues)
    before = block_tissues()
    assert (tissues[before > 0] == before[before > 0]).all()
    # Two voxels of air at the sides, 2 and 6 mm from the body: both became fat.
    assert (tissues[0, 10:30] == FAT).all()
    assert (before[0] == OUTSIDE).all()
    row = hu[:6, 8, 2]
    # Voxels 0 and 1 were added (8 mm), 2 is fat of the patient; from 4 to 12 mm under the old skin lies muscle.
    np.testing.assert_allclose(row[:3], HU["fat"], rtol=1e-5)
    np.testing.assert_allclose(row[3], HU["muscle"], rtol=1e-5)
    assert MUSCLE not in tissues  # only painted


def test_looks_are_drawn_differently():
    looks = [draw_look(np.random.default_rng(seed)) for seed in range(30)]
    assert len({look.seed for look in looks}) == 30
    assert {look.vessels > 0 for look in looks} == {True, False}
    assert draw_look(np.random.default_rng(4)) == looks[4]
