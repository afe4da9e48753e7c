"""Saved label maps have the scan's own shape, affine and orientation, whatever these are."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Orientationd, SaveImaged

from abdoseg.files import CaseError
from abdoseg.transforms import CheckScand, LoadScand, SaveLabeld

RAS_LABELS = (("L", "R"), ("P", "A"), ("I", "S"))


def oblique() -> np.ndarray:
    """Affine of an IPL-like storage, tilted by 15 degrees, with spacing 0.7, 2.5 and 0.9 mm."""
    angle = np.deg2rad(15)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    axes = np.array([[0, 0, -1], [0, -1, 0], [-1, 0, 0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes @ np.diag([0.7, 2.5, 0.9])
    affine[:3, 3] = [31.25, -17.5, 904.0]
    return affine


AFFINES = {
    "RAS": np.diag([0.8, 0.8, 2.5, 1.0]),
    "LAS": np.diag([-0.8, 0.8, 2.5, 1.0]),
    "LPS": np.diag([-1.0, -1.0, 5.0, 1.0]),
    "IPL": np.array([[0, 0, -0.7, 12], [0, -0.7, 0, 3], [-1.25, 0, 0, 7], [0, 0, 0, 1.0]]),
    "oblique": oblique(),
}


def label_by_threshold(path, output, gone: bool = False) -> None:
    """Load, orient, label by the HU themselves, un-orient, save: what a bundle does, without a network."""
    preprocessing = Compose(
        [
            LoadScand("image", image_only=True, ensure_channel_first=True),
            CheckScand(),
            Orientationd("image", axcodes="RAS", labels=RAS_LABELS),
        ]
    )
    postprocessing = Compose(
        [
            Invertd("pred", transform=preprocessing, orig_keys="image", nearest_interp=True, to_tensor=True),
            SaveLabeld("pred", output_dir=output),
        ]
    )
    data = preprocessing({"image": str(path)})
    assert nib.aff2axcodes(data["image"].affine.numpy()) == ("R", "A", "S")
    data["pred"] = MetaTensor(data["image"].as_tensor().clamp(0, 14).to(torch.uint8)).copy_meta_from(data["image"])
    if gone:
        path.unlink()
    postprocessing(data)


@pytest.mark.parametrize("shape", [(9, 7, 5), (6, 4, 1)])
@pytest.mark.parametrize("orientation", AFFINES)
def test_round_trip_lands_on_the_same_voxels(tmp_path, orientation, shape):
    array = np.random.default_rng(0).integers(-20, 15, shape).astype(np.int16)
    scan = nib.Nifti1Image(array, AFFINES[orientation])
    nib.save(scan, tmp_path / "0001_0000.nii.gz")
    scan = nib.load(tmp_path / "0001_0000.nii.gz")
    label_by_threshold(tmp_path / "0001_0000.nii.gz", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0001.nii.gz"]
    saved = nib.load(tmp_path / "out" / "0001.nii.gz")
    assert saved.get_data_dtype() == np.uint8
    assert np.array_equal(saved.affine, scan.affine)
    assert np.array_equal(np.asarray(saved.dataobj), array.clip(0))


@pytest.mark.parametrize(("sform", "qform"), [(1, 0), (0, 1), (2, 1)])
def test_codes_of_the_header_are_kept(tmp_path, sform, qform):
    scan = nib.Nifti1Image(np.ones((4, 5, 6), dtype=np.int16), None)
    scan.set_sform(AFFINES["LPS"], code=sform)
    scan.set_qform(AFFINES["LPS"], code=qform)
    nib.save(scan, tmp_path / "a.nii.gz")
    label_by_threshold(tmp_path / "a.nii.gz", tmp_path / "out")
    saved = nib.load(tmp_path / "out" / "a.nii.gz")
    np.testing.assert_allclose(saved.affine, AFFINES["LPS"], atol=1e-6)
    assert int(saved.header["qform_code"]) == qform


@pytest.mark.parametrize(("sform", "qform"), [(1, 0), (0, 1), (2, 1), (2, 3)])
@pytest.mark.parametrize("kind", ["<", ">"])
def test_a_scan_that_is_gone_gets_the_same_bytes(tmp_path, sform, qform, kind):
    """As a DICOM series, which becomes a file only for reading."""
    scan = nib.Nifti1Image(np.ones((4, 5, 6), dtype=f"{kind}i2"), None, nib.Nifti1Header(endianness=kind))
    scan.set_sform(AFFINES["oblique"], code=sform)
    away = np.eye(4)
    away[:3, 3] = 10 * qform
    scan.set_qform(away @ AFFINES["oblique"], code=qform)
    nib.save(scan, tmp_path / "a.nii")
    label_by_threshold(tmp_path / "a.nii", tmp_path / "there")
    label_by_threshold(tmp_path / "a.nii", tmp_path / "gone", gone=True)
    assert (tmp_path / "gone" / "a.nii.gz").read_bytes() == (tmp_path / "there" / "a.nii.gz").read_bytes()


def prediction(path, shape=(1, 3, 4, 5)) -> MetaTensor:
    meta = {"filename_or_obj": str(path), "original_affine": AFFINES["oblique"]}
    return MetaTensor(torch.ones(shape, dtype=torch.uint8), meta=meta)


def test_scan_that_is_gone_or_no_nifti(tmp_path):
    SaveLabeld("pred", output_dir=tmp_path)({"pred": prediction("/nowhere/series")})
    saved = nib.load(tmp_path / "series.nii.gz")
    np.testing.assert_allclose(saved.affine, AFFINES["oblique"], atol=1e-5)
    assert saved.shape == (3, 4, 5)


def test_forgotten_inversion_is_an_error_and_leaves_nothing(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((5, 4, 3), dtype=np.int16), AFFINES["oblique"]), tmp_path / "a.nii.gz")
    with pytest.raises(CaseError, match=r"a.nii.gz.*Invertd"):
        SaveLabeld("pred", output_dir=tmp_path / "out")({"pred": prediction(tmp_path / "a.nii.gz")})
    assert not list(tmp_path.glob("out/*"))


def test_one_hot_prediction_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"must be \(1, x, y, z\)"):
        SaveLabeld("pred", output_dir=tmp_path)({"pred": prediction("/nowhere/a", (2, 3, 4, 5))})


def test_monai_label_can_drop_it():
    assert issubclass(SaveLabeld, SaveImaged)
