"""Component rules on label maps whose components are counted by hand, and against SciPy."""

import numpy as np
from scipy import ndimage

from abdoseg.transforms import ComponentRules, keep_components
from abdoseg.transforms.components import fill_holes

EVERYTHING = ComponentRules(tumor_min_mm3=0)
PAPER_COARSE = ComponentRules(organ_min_mm3=1000, tumor_min_mm3=1000, tumor_largest_only=True)
PAPER_FINE = ComponentRules(organ_min_mm3=2000, tumor_min_mm3=2000, tumor_largest_only=True)


def example() -> np.ndarray:
    """Liver of 27 and 8 voxels, three tumors of 8, 1 and 2 voxels."""
    labels = np.zeros((20, 20, 20), dtype=np.uint8)
    labels[1:4, 1:4, 1:4] = 1
    labels[10:12, 1:3, 1:3] = 1
    labels[4:6, 1:3, 1:3] = 14  # touches the liver
    labels[15, 15, 15] = 14
    labels[15, 5, 5:7] = 14
    return labels


def volumes(labels: np.ndarray, value: int) -> list[int]:
    components, count = ndimage.label(labels == value, structure=np.ones((3, 3, 3)))
    return sorted(np.bincount(components.ravel())[1:].tolist()) if count else []


def test_organs_keep_the_largest_and_tumors_all():
    labels = example()
    kept = keep_components(labels, (1, 1, 1), EVERYTHING)
    assert volumes(kept, 1) == [27]
    assert volumes(kept, 14) == [1, 2, 8]
    assert kept.dtype == np.uint8
    assert ((kept == 0) | (kept == labels)).all()


def test_minimum_is_in_mm3():
    # Voxels of 6 mm^3: foci of 48, 6 and 12 mm^3, liver parts of 162 and 48 mm^3.
    spacing = (1.0, 2.0, 3.0)
    kept = keep_components(example(), spacing, ComponentRules(organ_min_mm3=162, tumor_min_mm3=12))
    assert volumes(kept, 1) == [27]
    assert volumes(kept, 14) == [2, 8]
    kept = keep_components(example(), spacing, ComponentRules(organ_min_mm3=162.5, tumor_min_mm3=12.5))
    assert volumes(kept, 1) == []
    assert volumes(kept, 14) == [8]


def test_paper_switch_keeps_one_tumor():
    kept = keep_components(example(), (1, 1, 1), ComponentRules(tumor_min_mm3=0, tumor_largest_only=True))
    assert volumes(kept, 14) == [8]


def test_the_papers_rules_delete_an_adrenal_gland_of_1_5_ml_and_the_default_does_not():
    labels = np.zeros((30, 30, 10), dtype=np.uint8)
    labels[5:15, 5:15, 2:5] = 7  # 300 voxels of 5 mm^3
    spacing = (1.0, 1.0, 5.0)
    assert volumes(keep_components(labels, spacing, PAPER_FINE), 7) == []
    assert volumes(keep_components(labels, spacing, PAPER_COARSE), 7) == [300]
    assert volumes(keep_components(labels, spacing, ComponentRules()), 7) == [300]


def test_corners_connect():
    labels = np.zeros((4, 4, 4), dtype=np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = labels[3, 3, 3] = 3
    assert keep_components(labels, (1, 1, 1), EVERYTHING).nonzero()[0].tolist() == [0, 1]


def test_empty_map_stays_empty():
    assert not keep_components(np.zeros((3, 4, 5), dtype=np.uint8), (1, 1, 1), ComponentRules()).any()


def test_agrees_with_scipy_on_noise():
    labels = np.random.default_rng(0).choice(15, (24, 20, 18), p=[0.3] + [0.05] * 14).astype(np.uint8)
    kept = keep_components(labels, (1, 1, 1), EVERYTHING)
    assert np.array_equal(kept == 14, labels == 14)
    for value in range(1, 14):
        assert volumes(kept, value) == volumes(labels, value)[-1:]


def test_a_hole_in_one_organ_is_filled_and_a_gap_between_two_stays():
    labels = np.zeros((12, 9, 9), dtype=np.uint8)
    labels[1:6, 1:6, 1:6] = 1
    labels[3, 3, 2:5] = 0  # a hole of 3 voxels
    labels[6:11, 1:6, 1:6] = 2
    labels[5:7, 3, 3] = 0  # a gap of 2 voxels between the two
    filled = fill_holes(labels)
    expected = labels.copy()
    expected[3, 3, 2:5] = 1
    assert np.array_equal(filled, expected)
    assert filled.dtype == np.uint8
    assert labels[3, 3, 3] == 0


def test_a_cavity_that_is_open_at_the_edge_of_the_scan_is_no_hole():
    labels = np.zeros((5, 5, 5), dtype=np.uint8)
    labels[:, :, 1:] = 1
    labels[2, 2, 3:] = 0  # reaches the last slice
    assert np.array_equal(fill_holes(labels), labels)


def test_an_island_of_another_organ_that_is_deleted_becomes_the_organ_around_it():
    labels = np.zeros((12, 9, 9), dtype=np.uint8)
    labels[1:6, 1:6, 1:6] = 1
    labels[3, 3, 3] = 6
    labels[8:10, 3:5, 3:5] = 6
    assert (keep_components(labels, (1, 1, 1), EVERYTHING) == 0)[3, 3, 3]
    kept = keep_components(labels, (1, 1, 1), ComponentRules(fill_holes=True))
    assert (volumes(kept, 1), volumes(kept, 6)) == ([125], [8])


def test_holes_of_each_class_alone_agree_with_scipy_on_noise():
    shape = (30, 28, 26)
    noise = np.random.default_rng(1).random(shape) < 0.6
    for value in (1, 14):
        labels = (noise * value).astype(np.uint8)
        assert np.array_equal(fill_holes(labels) == value, ndimage.binary_fill_holes(noise))
    assert not fill_holes(np.zeros(shape, dtype=np.uint8)).any()
