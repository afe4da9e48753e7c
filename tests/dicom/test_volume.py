"""A NIfTI volume written as a DICOM series and read back: geometry, HU, compression, and broken files."""

import itertools

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from abdoseg.dicom import find_series, read_volume
from abdoseg.files import CaseError
from tests.dicom.written import GRIDS, RAS_TO_LPS, change, same_in_place, save, volume, write_series


def read(folder) -> nib.Nifti1Image:
    (series,) = find_series(folder)
    return read_volume(series)


@pytest.mark.parametrize("name", GRIDS)
def test_geometry_and_hu_come_back_in_every_orientation(name, tmp_path):
    image = volume(name)
    write_series(image, tmp_path, PatientPosition="FFS" if "feet" in name else "HFS")
    found = read(tmp_path)
    assert found.get_data_dtype() == np.int16
    assert np.linalg.det(RAS_TO_LPS @ found.affine) > 0
    same_in_place(found, image)


@pytest.mark.parametrize("name", ["LPI, feet first", "oblique and reversed"])
def test_highdicom_reads_the_same_voxels_at_the_same_places(name, tmp_path):
    import highdicom

    paths = write_series(volume(name), tmp_path)
    theirs = highdicom.get_volume_from_series([pydicom.dcmread(path) for path in paths], dtype=np.int32)
    same_in_place(read(tmp_path), nib.Nifti1Image(theirs.array, RAS_TO_LPS @ theirs.affine))


def test_a_known_voxel_lies_where_its_header_says(tmp_path):
    # Rows run to the left, columns to the back, 2 mm between columns and 3 mm between rows; z is 50 and 54 mm.
    image = nib.Nifti1Image(np.zeros((4, 3, 2), np.int16), np.diag([-2.0, -3.0, 4.0, 1.0]))
    image.dataobj[3, 1, 1] = 700
    write_series(image, tmp_path, positions=np.array([[10.0, 20.0, 50.0], [10.0, 20.0, 54.0]]))
    found = read(tmp_path)
    (voxel,) = np.argwhere(np.asarray(found.dataobj) == 700)
    # Three columns to the left of x = 10 (left is positive in DICOM) and one row behind y = 20; RAS changes both signs.
    np.testing.assert_allclose(found.affine @ [*voxel, 1], [-(10 + 3 * 2), -(20 + 1 * 3), 54, 1], atol=1e-6)


def test_every_slice_has_its_own_slope_and_intercept(tmp_path):
    image = volume()
    image = nib.Nifti1Image((np.asarray(image.dataobj) // 2 * 2).astype(np.int16), image.affine)
    slopes, intercepts = [1, 2, 1, 2, 1, 2, 1], [-1024, -2000, 0, 0, -8192, 10, -1024]
    write_series(image, tmp_path, slopes, intercepts)
    same_in_place(read(tmp_path), image)


def test_fractions_of_hu_and_large_values_are_kept(tmp_path):
    small, large = volume(seed=1), volume(seed=2)
    halves = nib.Nifti1Image(np.asarray(small.dataobj) * np.float32(0.25), small.affine)
    write_series(halves, tmp_path / "halves", slopes=0.25, intercepts=-256.5 + 0.5)
    found = read(tmp_path / "halves")
    assert found.get_data_dtype() == np.float32
    same_in_place(found, halves)
    wide = nib.Nifti1Image(np.asarray(large.dataobj).astype(np.int32) * 16, large.affine)
    write_series(wide, tmp_path / "wide", slopes=16, intercepts=0)
    found = read(tmp_path / "wide")
    assert found.get_data_dtype() == np.int32
    same_in_place(found, wide)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_lossless_compression_changes_nothing(syntax, tmp_path):
    image = volume()
    for path in write_series(image, tmp_path):
        dataset = pydicom.dcmread(path)
        dataset.compress(syntax)
        save(dataset, path)
    same_in_place(read(tmp_path), image)


def encode_as(path, syntax):
    """Claim that a file is compressed so; what it holds is no image."""
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
    dataset["PixelData"].VR = "OB"
    save(dataset, path)


def test_a_missing_decoder_is_named_with_what_to_install(tmp_path):
    path = write_series(volume(), tmp_path)[0]
    encode_as(path, JPEGLosslessSV1)
    words = rf"{path}: is compressed as JPEG Lossless.* reads with python-gdcm>=.* or .*pylibjpeg-libjpeg>=.*; install"
    with pytest.raises(CaseError, match=words):
        read(tmp_path)


def test_a_compressed_slice_that_is_no_image_is_named(tmp_path):
    path = write_series(volume(), tmp_path)[0]
    encode_as(path, JPEG2000Lossless)
    with pytest.raises(CaseError, match=rf"{path}: the voxels cannot be read"):
        read(tmp_path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


FAULTS = {
    "the voxels cannot be read": cut,
    "RescaleSlope or RescaleIntercept is missing": lambda path: change(path, RescaleIntercept=None),
    "voxels cannot be read .*; send the file anew": lambda path: change(path, PixelData=None),
}


@pytest.mark.parametrize("words", FAULTS)
def test_a_broken_file_is_named(words, tmp_path):
    path = write_series(volume(), tmp_path)[2]
    FAULTS[words](path)
    with pytest.raises(CaseError, match=rf"{path}: .*{words}"):
        read(tmp_path)


def test_the_order_of_the_files_does_not_matter(tmp_path):
    image = volume("oblique")
    paths = write_series(image, tmp_path)
    for index, path in enumerate(itertools.chain(reversed(paths[:3]), paths[3:])):
        path.rename(tmp_path / f"{index}.dcm")
    same_in_place(read(tmp_path), image)


def test_programs_that_know_right_angles_alone_read_a_grid_that_rounding_has_bent(tmp_path):
    import SimpleITK

    image = volume()
    positions = np.array([[10, 20 + 0.01 * index, 50 + 2.5 * index] for index in range(7)])  # 0.2 degrees
    write_series(image, tmp_path / "ct", positions=positions)
    found = read(tmp_path / "ct")
    nib.save(found, tmp_path / "ct.nii.gz")
    theirs = SimpleITK.ReadImage(str(tmp_path / "ct.nii.gz"))
    for voxel in np.ndindex(2, 2, 2):
        corner = (np.array(found.shape) - 1) * voxel
        place = np.array(theirs.TransformIndexToPhysicalPoint(corner.tolist()))  # left, posterior, superior
        np.testing.assert_allclose(place * [-1, -1, 1], (found.affine @ [*corner, 1])[:3], atol=0.1)
