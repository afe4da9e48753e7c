"""Slices in order, and what is no regular grid: gaps, missing and repeated slices, a tilted gantry."""

import numpy as np
import pytest

from abdoseg.dicom import find_series, stack_slices
from abdoseg.files import CaseError
from tests.dicom.written import GRIDS, change, volume, write_series


def stack(folder):
    (series,) = find_series(folder)
    return stack_slices(series)


@pytest.mark.parametrize("name", ["LPS", "LPI, feet first", "oblique"])
def test_slices_are_sorted_along_the_normal(name, tmp_path):
    paths = write_series(volume(name), tmp_path)
    slices, affine = stack(tmp_path)
    upwards = GRIDS[name][2, 2] > 0
    assert [part.path for part in slices] == (paths if upwards else paths[::-1])
    assert affine[2, 2] > 0
    # Where the slices ran downwards, the grid begins at what was their last one.
    first = GRIDS[name] @ [0, 0, 0 if upwards else 6, 1]
    np.testing.assert_allclose(affine[:3, 3], first[:3], atol=1e-6)


def test_rounded_positions_are_even(tmp_path):
    heights = np.round(0.625 * np.arange(7), 1)  # 0, 0.6, 1.2, 1.9, 2.5, 3.1, 3.8: gaps of 0.6 and 0.7
    write_series(volume(), tmp_path, positions=[[0.0, 0.0, height] for height in heights])
    affine = stack(tmp_path)[1]
    assert affine[2, 2] == pytest.approx(0.625, abs=0.02)
    np.testing.assert_allclose(affine[2, 2] * np.arange(7) + affine[2, 3], heights, atol=0.06)


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (
            (0, 1, 2, 4, 5, 6, 7),
            r"1 slice is missing, as between IM.+ and IM.+, which lie 5 mm apart instead",
        ),
        (
            (0, 1, 4, 5, 6, 8, 9),
            r"3 slices are missing, as between IM.+ and IM.+, which lie 7\.5 mm apart",
        ),
        ((0, 1, 2, 3, 4, 5, 90), r"84 slices are missing"),
        ((0, 1, 2.4, 3, 4, 5, 6), r"the gaps between slices vary from 1\.5 to 3\.5 mm"),
        ((0, 1, 2, 3, 4, 4, 5), r"1 slice lies where another one lies already, such as IM\d+ where IM\d+ is; export"),
        ((0, 0, 1, 1, 2, 2, 3), r"3 slices lie where another one lies already"),
        ((0, 0, 0, 0, 0, 0, 0), r"6 slices lie where another one lies already"),
    ],
)
def test_what_is_no_even_stack_is_refused(places, words, tmp_path):
    write_series(volume(), tmp_path, places=np.array(places))
    with pytest.raises(CaseError, match=rf"{tmp_path} \(series 3 'Abdomen'\): {words}"):
        stack(tmp_path)


def moved(shift, count=7):
    """Positions of axial slices 2.5 mm apart, each moved back by ``shift`` mm against the one below."""
    return [[0.0, shift * index, 2.5 * index] for index in range(count)]


def test_a_tilted_gantry_is_refused_with_its_angle(tmp_path):
    write_series(volume(), tmp_path, positions=moved(2.5 * np.tan(np.radians(18.5))))
    with pytest.raises(CaseError, match=r"the gantry was tilted by 18\.5 degrees, .*; export a reconstruction without"):
        stack(tmp_path)


def test_a_tilt_of_less_than_a_voxel_is_rounding(tmp_path):
    write_series(volume(), tmp_path, positions=moved(0.04))  # 0.9 degrees, but 0.24 mm from end to end
    affine = stack(tmp_path)[1]
    np.testing.assert_allclose(affine[:3, 2], [0, -0.04, 2.5])


def test_a_slice_beside_the_others_is_refused(tmp_path):
    positions = moved(0)
    positions[3][0] = 1.0
    path = write_series(volume(), tmp_path, positions=positions)[3]
    # The middle one of seven, so that the line through all of them lies 1 / 7 mm aside.
    with pytest.raises(CaseError, match=rf"the slice {path.name} lies 0\.857 mm beside its place in an even stack"):
        stack(tmp_path)


def test_directions_that_are_no_right_angle_are_refused(tmp_path):
    for path in write_series(volume(), tmp_path):
        change(path, ImageOrientationPatient=[1, 0, 0, 0.5, 0.5, 0])
    with pytest.raises(CaseError, match="must be two unit vectors at right angles"):
        stack(tmp_path)


def test_what_is_no_axial_ct_is_refused(tmp_path):
    write_series(volume(), tmp_path, Modality="MR")
    with pytest.raises(CaseError, match="modality MR, not CT; an axial CT series is needed"):
        stack(tmp_path)
