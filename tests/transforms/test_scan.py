"""Bad scans get one sentence that names the file; good ones pass unchanged."""

import os
import resource
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, LoadImaged, Orientationd

from abdoseg.files import CaseError
from abdoseg.transforms import CheckScand, LoadScand
from abdoseg.transforms.scan import ScanReader


def load(tmp_path, label=None) -> dict:
    data = {"image": str(tmp_path / "A_0000.nii.gz")}
    if label is not None:
        data["label"] = label
    steps = Compose([LoadScand(list(data), image_only=True, ensure_channel_first=True), CheckScand()])
    try:
        return steps(data)
    except RuntimeError as error:
        raise error.__cause__ from None


def save(path, array, affine=None):
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return str(path)


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5, 1), (4, 5, 6, 1)])
def test_good_scans_pass(tmp_path, shape):
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    save(tmp_path / "A_0000.nii.gz", array)
    image = load(tmp_path)["image"]
    assert image.shape == (1, *shape[:3])
    assert np.array_equal(image[0].numpy(), array.reshape(shape[:3]))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_ct_stays_as_it_is_stored_where_no_type_is_wanted(tmp_path, ending):
    array = np.random.default_rng(0).integers(-1024, 3071, (6, 5, 4)).astype(np.int16)
    affine = np.diag([-0.8, -0.8, 2.5, 1.0])
    path = save(tmp_path / f"A_0000{ending}", array, affine)
    stored = LoadScand("image", dtype=None, image_only=True, ensure_channel_first=True)({"image": path})["image"]
    stock = LoadImaged("image", image_only=True, ensure_channel_first=True)({"image": path})["image"]
    floats = LoadScand("image", image_only=True, ensure_channel_first=True)({"image": path})["image"]
    assert stored.dtype == torch.int16
    assert floats.dtype == stock.dtype == torch.float32
    assert torch.equal(floats.as_tensor(), stock.as_tensor())
    assert torch.equal(stored.as_tensor().float(), stock.as_tensor())
    for image in (stored, floats):
        assert torch.equal(image.affine, stock.affine)
        assert set(image.meta) == set(stock.meta)
        assert image.meta["filename_or_obj"] == path
    assert Orientationd("image", axcodes="RAS", labels=None)({"image": stored})["image"].dtype == torch.int16


def test_a_loader_is_made_without_warnings(recwarn, caplog):
    LoadScand("image", image_only=True)
    assert not caplog.messages
    assert not [warning for warning in recwarn if "NvImgCodec" in str(warning.message)]


def test_missing_file(tmp_path):
    with pytest.raises(CaseError, match=r"A_0000.nii.gz: there is no such file"):
        load(tmp_path)


@pytest.mark.parametrize("cut", [0, 10, 300])
def test_truncated_file(tmp_path, cut):
    path = tmp_path / "A_0000.nii.gz"
    save(path, np.random.default_rng(0).integers(0, 99, (9, 9, 9)).astype(np.int16))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CaseError, match=r"A_0000.nii.gz: cannot be read .*; it must be an intact NIfTI file"):
        load(tmp_path)


def test_an_intact_file_for_which_there_is_no_memory(tmp_path):
    path = tmp_path / "A_0000.nii"
    header = nib.Nifti1Image(np.zeros((1, 1, 1), np.int16), np.eye(4)).header
    header.set_data_shape((1024, 1024, 512))  # 1 GiB, none of it on the disk
    path.write_bytes(header.binaryblock + bytes(4))
    os.truncate(path, 352 + 2**30)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + 2**29, limits[1]))
    try:
        with pytest.raises(CaseError, match=r"A_0000.nii: needs more memory than there is"):
            LoadScand("image", dtype=None, image_only=True)({"image": str(path)})
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_time_series(tmp_path):
    save(tmp_path / "A_0000.nii.gz", np.zeros((4, 5, 6, 2), dtype=np.int16))
    with pytest.raises(CaseError, match=r"A_0000.nii.gz: has the shape \(4, 5, 6, 2\)"):
        load(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(tmp_path, value):
    array = np.zeros((4, 5, 6), dtype=np.float32)
    array[1, 1, 1] = value
    save(tmp_path / "A_0000.nii.gz", array)
    with pytest.raises(CaseError, match=r"A_0000.nii.gz: has voxels that are NaN or infinite"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("array", "affine", "message"),
    [
        (np.zeros((4, 5, 7), dtype=np.uint8), None, "shape"),
        (np.zeros((4, 5, 6), dtype=np.uint8), np.diag([1.0, 1.0, 1.5, 1.0]), "affine"),
        (np.zeros((4, 5, 6, 2), dtype=np.uint8), None, "one 3-D volume"),
        (np.full((4, 5, 6), 15, dtype=np.uint8), None, "unknown label value 15"),
        (np.full((4, 5, 6), 0.5, dtype=np.float32), None, "unknown label value 0.5"),
    ],
)
def test_labels_that_do_not_fit(tmp_path, array, affine, message):
    save(tmp_path / "A_0000.nii.gz", np.zeros((4, 5, 6), dtype=np.int16))
    label = save(tmp_path / "A.nii.gz", array, affine)
    with pytest.raises(CaseError, match=rf"A.nii.gz: .*{message}"):
        load(tmp_path, label)


def test_label_that_fits(tmp_path):
    save(tmp_path / "A_0000.nii.gz", np.zeros((4, 5, 6), dtype=np.int16))
    label = save(tmp_path / "A.nii.gz", np.full((4, 5, 6), 14, dtype=np.uint8))
    assert torch.equal(load(tmp_path, label)["label"].as_tensor(), torch.full((1, 4, 5, 6), 14.0))


def test_an_affine_without_meaning_is_refused(tmp_path):
    path = tmp_path / "A_0000.nii.gz"
    image = nib.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4))
    image.header["pixdim"][1:4] = 1
    image.header.set_sform(np.diag([1.0, 1, 0, 1]), code=1)
    image.header.set_qform(None, code=0)
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6), np.int16), None, image.header), path)
    with pytest.raises(CaseError, match=r"A_0000.nii.gz: its affine has no meaning; its header must tell voxel size"):
        load(tmp_path)


def test_voxels_of_metres_are_refused(tmp_path):
    """One flipped bit of a header makes 3072 mm of 12; a network's windows would be thousands."""
    save(tmp_path / "A_0000.nii.gz", np.zeros((4, 5, 6), dtype=np.int16), np.diag([12.0, 3072.0, 14.0, 1.0]))
    words = r"A_0000.nii.gz: by its header it is 15.4 m long; mend the voxel size there, 12 x 3072 x 14 mm"
    with pytest.raises(CaseError, match=words):
        load(tmp_path)
    save(tmp_path / "A_0000.nii.gz", np.zeros((4, 5, 6), dtype=np.int16), np.diag([12.0, 1999.0, 14.0, 1.0]))
    load(tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_plain_file_is_not_opened(tmp_path, kind):
    path = tmp_path / "A_0000.nii.gz"
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    with pytest.raises(CaseError, match=r"A_0000.nii.gz: there is no such file; the image must be an existing NIfTI"):
        load(tmp_path)


def test_the_affine_is_the_files_own_whatever_voxel_size_its_header_tells(tmp_path):
    """MONAI's reader takes the qform here, which is declared unknown, and so turns left into right."""
    affine = np.array([[-0.8, 0, 0, 100], [0, -0.8, 0, 90], [0, 0, 2.5, -300], [0, 0, 0, 1]])
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), affine)
    image.header.set_qform(np.eye(4), 0)
    path = tmp_path / "A_0000.nii"
    nib.save(image, path)
    header = np.frombuffer(path.read_bytes()[:348], nib.nifti1.header_dtype).copy()
    header["pixdim"][0, 1:4] = 1
    path.write_bytes(header.tobytes() + path.read_bytes()[348:])
    assert nib.load(path).header.get_zooms() == (1, 1, 1)
    loaded = LoadScand("image", image_only=True, ensure_channel_first=True)({"image": str(path)})["image"]
    np.testing.assert_allclose(loaded.affine.numpy(), affine, atol=1e-6)


def test_voxels_are_those_of_the_opened_file(tmp_path):
    """Threads of a ``CacheDataset`` share one reader: another file may be opened before the voxels are read."""
    one, other = (save(tmp_path / f"{value}.nii.gz", np.full((4, 5, 6), value, np.int16)) for value in (1, 2))
    reader = ScanReader()
    opened = reader.read(one)
    reader.read(other)
    assert (reader.get_data(opened)[0] == 1).all()
