"""Whole synthetic scans: pure, seeded, and their labels untouched by all that only changes intensities."""

from dataclasses import replace

import numpy as np
import pytest

from abdoseg.synthesis import Look, Parameters, Scanner, Tumor, apply, draw, labels_of, positions, sample, told
from abdoseg.synthesis.tissues import FAT
from tests.synthesis.small import block_patient, block_tissues

PATIENT = block_patient()


def parameters(seed: int, view="scan", **options) -> Parameters:
    return draw(np.random.default_rng(seed), PATIENT, view, (40, 32, 40), **options)


def test_the_same_draw_gives_the_same_bytes_and_the_anatomy_stays():
    first, again = (apply(PATIENT, parameters(3)) for _ in range(2))
    for name in ("image", "label", "organs", "tissues"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.image, apply(PATIENT, parameters(4)).image)
    np.testing.assert_array_equal(PATIENT.tissues, block_tissues())
    assert first.image.dtype == np.float32
    assert first.label.dtype == np.uint8
    assert first.image.min() >= -1024


def test_intensity_steps_leave_the_label():
    drawn = replace(parameters(5, tumor_share=0.0), removed=frozenset())
    drawn = replace(drawn, scanner=replace(drawn.scanner, circle=None))
    tissues, _ = sample(PATIENT, positions(drawn.shape, drawn.frame))
    case, bare = apply(PATIENT, drawn), apply(PATIENT, replace(drawn, look=Look(), scanner=Scanner()))
    np.testing.assert_array_equal(case.label, labels_of(tissues))
    np.testing.assert_array_equal(case.label, bare.label)
    assert not np.array_equal(case.image, bare.image)


def test_a_missing_organ_is_gone_and_its_place_looks_like_fat():
    drawn = replace(parameters(6, tumor_share=0.0), look=Look(texture=0.0), scanner=Scanner(), removed=frozenset())
    whole, less = apply(PATIENT, drawn), apply(PATIENT, replace(drawn, removed=frozenset({3})))
    spleen = whole.label == 3
    assert spleen.sum() > 50
    assert not (less.label == 3).any()
    np.testing.assert_allclose(less.image[spleen], drawn.contrast.hu["fat"], rtol=1e-5)
    np.testing.assert_array_equal(less.label[~spleen], whole.label[~spleen])


def test_tumors_are_14_in_one_label_and_their_organ_in_the_other():
    drawn = replace(parameters(7), removed=frozenset(), tumors=(Tumor(1, 0.5, 18.0),))
    drawn = replace(drawn, scanner=replace(drawn.scanner, circle=None))
    case = apply(PATIENT, drawn)
    tumor = case.label == 14
    assert tumor.any()
    assert (case.organs[tumor] == 1).all()
    np.testing.assert_array_equal(case.organs[~tumor], case.label[~tumor])
    assert told(case, drawn)["tumor_hosts"] == [1]


def test_hosts_are_told_of_tumors_that_are_there():
    """The spleen (3) was removed, and the patient of blocks has no pancreas (4); fat is no organ, but a host."""
    drawn = replace(parameters(7), removed=frozenset({3}))
    drawn = replace(drawn, scanner=replace(drawn.scanner, circle=None))
    for hosts, expected in (((3, 1, 4, FAT), [1, FAT]), ((1, 1), [1, 1]), ((3, 4), []), ((), [])):
        with_tumors = replace(drawn, tumors=tuple(Tumor(host, 0.5, 12.0) for host in hosts))
        assert told(apply(PATIENT, with_tumors), with_tumors)["tumor_hosts"] == expected


@pytest.mark.parametrize("view", ["patch", "organs", "scan"])
def test_every_view_shows_organs(view):
    for seed in range(5):
        drawn = parameters(seed, view, spacing=(4.0, 4.0, 4.0))
        case = apply(PATIENT, drawn)
        assert case.image.shape == case.label.shape == (40, 32, 40)
        assert (case.label > 0).any()
        assert np.isfinite(case.image).all()
