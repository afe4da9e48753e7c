"""Left and right by position: two kidneys, one, one in pieces, one across; the same body stored in any orientation."""

import nibabel as nib
import numpy as np
import pytest

from abdoseg.datasets.sides import right_side

# A body of 300 x 200 x 100 mm in voxels of 10 mm; in RAS the person's right has the greater x.
SHAPE = (30, 20, 10)
RAS = np.array([[10.0, 0, 0, -145], [0, 10, 0, -95], [0, 0, 10, -45], [0, 0, 0, 1]])
RIGHT, LEFT = (slice(19, 25), slice(5, 11), slice(2, 8)), (slice(5, 11), slice(5, 11), slice(2, 8))


def drawn(*boxes) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    for box in boxes:
        mask[box] = True
    return mask


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "LPS", "RPI", "IPL", "SRA"])
def test_two_kidneys_in_every_orientation(orientation):
    turn = nib.orientations.ornt_transform(nib.io_orientation(RAS), nib.orientations.axcodes2ornt(orientation))
    stored = nib.Nifti1Image(drawn(RIGHT, LEFT).astype(np.uint8), RAS).as_reoriented(turn)
    expected = nib.Nifti1Image(drawn(RIGHT).astype(np.uint8), RAS).as_reoriented(turn)
    assert nib.aff2axcodes(stored.affine) == tuple(orientation)
    right = right_side(np.asarray(stored.dataobj) > 0, stored.affine)
    np.testing.assert_array_equal(right, np.asarray(expected.dataobj) > 0)


def test_an_oblique_grid_counts_by_the_patient_not_by_the_voxel():
    # Turned by 30 degrees about z, so that the first voxel axis points to the right and the front, and the second to
    # the front and the left. The right organ is above the left one in voxel rows, and 5 columns behind.
    cosine, sine = np.cos(np.pi / 6), np.sin(np.pi / 6)
    affine = np.array([[10 * cosine, -10 * sine, 0, 0], [10 * sine, 10 * cosine, 0, 0], [0, 0, 10, 0], [0, 0, 0, 1]])
    # Voxels (12, 2): x = 120 cos 30 - 20 sin 30 = 94 mm. Voxels (14, 16): 121 - 80 = 41 mm, although 14 > 12.
    right, left = (slice(11, 14), slice(1, 4), slice(2, 8)), (slice(13, 16), slice(15, 18), slice(2, 8))
    np.testing.assert_array_equal(right_side(drawn(right, left), affine), drawn(right))


def test_both_kidneys_on_one_half_of_the_grid_are_still_two():
    # The patient lies 130 mm off: the gap between the organs counts, not the middle of the grid.
    right, left = (slice(10, 14), slice(5, 11), slice(2, 8)), (slice(0, 4), slice(5, 11), slice(2, 8))
    np.testing.assert_array_equal(right_side(drawn(right, left), RAS), drawn(right))


@pytest.mark.parametrize(("box", "is_right"), [(RIGHT, True), (LEFT, False)])
def test_a_single_kidney_goes_by_the_middle_of_the_grid_with_all_its_pieces(box, is_right):
    x, y, _ = box
    pieces = drawn((x, y, slice(2, 4)), (x, y, slice(5, 8)))
    assert right_side(pieces, RAS).sum() == (pieces.sum() if is_right else 0)


def test_a_far_speck_does_not_move_the_midline():
    # One kidney on the left and one voxel further left: without the rule of main pieces the kidney would become right.
    speck = (slice(0, 1), slice(0, 1), slice(0, 1))
    assert not right_side(drawn(LEFT, speck), RAS).any()


def test_pieces_about_a_tumor_are_one_kidney():
    # The right kidney is a rim on both sides of a tumor, with the middles -50 and 50 mm; the left one lies at -120 mm.
    other, inner, outer = (drawn((slice(x, x + 2), slice(5, 9), slice(2, 8))) for x in (2, 9, 19))
    tumor = drawn((slice(11, 19), slice(4, 10), slice(2, 8)))
    # Without the tumor the gap between the rims, at the middle of the grid, passes for the midline.
    np.testing.assert_array_equal(right_side(other | inner | outer, RAS), outer)
    np.testing.assert_array_equal(right_side(other | inner | outer, RAS, bridge=tumor), inner | outer)


def test_a_horseshoe_kidney_is_cut_at_its_own_middle():
    # From -110 to 90 mm with an isthmus: cut at -10 mm, which is between the columns 13 and 14 (x = -15 and -5).
    isthmus = (slice(9, 19), slice(7, 9), slice(2, 4))
    arms = [(slice(4, 9), slice(5, 11), slice(2, 8)), (slice(19, 24), slice(5, 11), slice(2, 8))]
    whole = drawn(isthmus, *arms)
    right = right_side(whole, RAS)
    expected = whole.copy()
    expected[:14] = False
    np.testing.assert_array_equal(right, expected)


def test_a_wide_kidney_that_barely_crosses_stays_whole():
    # 140 mm wide, of which 20 mm (a seventh) lie beyond the middle of the grid.
    assert not right_side(drawn((slice(3, 17), slice(5, 11), slice(2, 8))), RAS).any()


def test_nothing_drawn():
    assert not right_side(drawn(), RAS).any()
