"""Contrast: phases differ where physiology says so, and what takes up agent does it together."""

import numpy as np
import pytest

from abdoseg.phantom.contrast import MEANS
from abdoseg.synthesis import Contrast, draw_contrast, tissue_means
from abdoseg.synthesis.tissues import AORTA, FAT, GALLBLADDER, KIDNEYS, LIVER, OUTSIDE, TISSUE_NAMES


def drawn(phase, name, count=300):
    return np.array([draw_contrast(np.random.default_rng([seed, 5]), phase).hu[name] for seed in range(count)])


def test_phases_are_in_the_order_of_the_bolus():
    aorta = {phase: drawn(phase, "aorta").mean() for phase in ("plain", "portal", "arterial")}
    assert aorta["plain"] == pytest.approx(MEANS["aorta"][0], abs=12)
    assert aorta["plain"] + 60 < aorta["portal"] < aorta["arterial"] - 50
    assert drawn("portal", "liver").mean() > drawn("arterial", "liver").mean() + 15
    assert drawn("plain", "renal cortex").mean() < 60


def test_vessels_and_kidneys_are_enhanced_together_and_fat_is_not():
    aorta, kidney, fat = (drawn(None, name) for name in ("aorta", "renal cortex", "fat"))
    assert np.corrcoef(aorta, kidney)[0, 1] > 0.7
    assert abs(np.corrcoef(aorta, fat)[0, 1]) < 0.2


def test_a_third_of_the_scans_is_plain():
    phases = [draw_contrast(np.random.default_rng(seed)).phase for seed in range(600)]
    assert phases.count("plain") / 600 == pytest.approx(0.35, abs=0.07)


def test_the_table_has_the_drawn_values():
    contrast = draw_contrast(np.random.default_rng(1))
    table = tissue_means(contrast)
    for tissue, name in {
        LIVER: "liver",
        AORTA: "aorta",
        FAT: "fat",
        GALLBLADDER: "bile",
        KIDNEYS[0]: "renal cortex",
    }.items():
        assert table[tissue] == np.float32(contrast.hu[name])
    assert table[OUTSIDE] == -1000
    unset = [tissue for tissue in TISSUE_NAMES if table[tissue] == 0]
    assert [TISSUE_NAMES[tissue] for tissue in unset] == ["tumor", "arm"]  # painted by other rules
    assert isinstance(contrast, Contrast)
