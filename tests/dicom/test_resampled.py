"""Uneven and tilted series on an even grid: every voxel has the HU of its place in the world."""

import nibabel as nib
import numpy as np
import pytest

from abdoseg.dicom import find_series, read_volume, resample_volume
from abdoseg.dicom.resampled import OUTSIDE_HU
from abdoseg.files import CaseError
from tests.dicom.written import GRIDS, RAS_TO_LPS, volume, write_series

SHAPE = (24, 20, 6)


def resampled(folder):
    (series,) = find_series(folder)
    return resample_volume(series)


@pytest.mark.parametrize("name", ["LPS", "LPI, feet first", "oblique"])
def test_an_even_stack_stays_as_it_is(name, tmp_path):
    write_series(volume(name), tmp_path)
    (series,) = find_series(tmp_path)
    found, plain = resample_volume(series), read_volume(series)
    np.testing.assert_allclose(found.affine, plain.affine, atol=1e-5)
    np.testing.assert_allclose(np.asarray(found.dataobj), np.asarray(plain.dataobj), atol=0.2)


@pytest.mark.parametrize(("name", "tilt"), [("LPS", 0.0), ("LPS", 0.4), ("oblique", -0.3)])
def test_uneven_and_tilted_slices_keep_what_lies_where(name, tilt, tmp_path):
    """HU that rise evenly through the world survive linear interpolation on any grid."""
    slope = np.array([3.0, -4.0, 5.0])
    affine = RAS_TO_LPS @ GRIDS[name]
    heights = np.array([0, 2.5, 7.5, 9.0, 11.5, 20.0])
    normal, down = affine[:3, 2] / 2.5, affine[:3, 1] / np.linalg.norm(affine[:3, 1])
    positions = affine[:3, 3] + np.outer(heights, normal + tilt * down)
    columns, rows = np.meshgrid(np.arange(SHAPE[0]), np.arange(SHAPE[1]), indexing="ij")
    planes = [
        (position + columns[..., None] * affine[:3, 0] + rows[..., None] * affine[:3, 1]) @ slope
        for position in positions
    ]
    image = nib.Nifti1Image(np.round(np.stack(planes, axis=2)).astype(np.int16), GRIDS[name])
    write_series(image, tmp_path, positions=positions)

    found = resampled(tmp_path)
    assert found.shape[2] == 9  # 20 mm in steps of the median gap, 2.5 mm
    values = np.asarray(found.dataobj)
    inside = values > OUTSIDE_HU + 600  # at the moved slices' borders there is nothing to interpolate
    assert inside.mean() > (0.6 if tilt else 0.99)
    places = np.argwhere(inside)
    world = places @ (RAS_TO_LPS @ found.affine)[:3, :3].T + (RAS_TO_LPS @ found.affine)[:3, 3]
    # Borders of a shifted slice mix with what lies outside.
    away = np.abs(values[inside] - world @ slope)
    assert np.quantile(away, 0.85 if tilt else 1.0) < 1.5


def test_two_slices_at_one_place_are_refused(tmp_path):
    write_series(volume(), tmp_path, places=np.array([0, 1, 2, 2, 3, 4, 5]))
    with pytest.raises(CaseError, match="each at a place of its own"):
        resampled(tmp_path)
