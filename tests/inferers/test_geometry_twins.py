"""The same body stored in five ways gets the same labels, through files: load, orient, infer, invert, save."""

import nibabel as nib
import numpy as np
import pytest
from monai.data import DataLoader, Dataset, decollate_batch
from monai.transforms import Compose, Invertd, Orientationd

from abdoseg.inferers import CoarseToFineInferer, PlanInferer
from abdoseg.networks import CoarseToFineNetwork
from abdoseg.transforms import CheckScand, LoadScand, SaveLabeld
from tests.inferers.stand_ins import Thresholds, blocks

SPACING = (1.5, 2.0, 3.0)
VOLUME = blocks(
    (30, 26, 20), [((slice(5, 14), slice(4, 18), slice(6, 15)), 300.0), ((slice(20, 25),) * 2 + (slice(4, 9),), 90.0)]
)
PLAN = {
    "spacing": [2.0, 2.0, 2.0],
    "patch_size": [16, 16, 16],
    "normalization": {"lower": -300.0, "upper": 300.0, "mean": 0.0, "std": 100.0},
}
NETWORK = Thresholds([(14, 0.5), (1, 2.6)])
INFERERS = {
    "coarse to fine": (
        CoarseToFineInferer((16, 16, 16), (20, 20, 20), 20.0, amp=False),
        CoarseToFineNetwork(NETWORK, NETWORK),
    ),
    "plan": (PlanInferer(PLAN, amp=False), NETWORK),
}


def ras_twin() -> nib.Nifti1Image:
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = [-20, 15, 700]
    return nib.Nifti1Image(VOLUME.astype(np.int16), affine)


def stored_as(axcodes: str) -> nib.Nifti1Image:
    scan = ras_twin()
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(scan.affine), nib.orientations.axcodes2ornt(tuple(axcodes))
    )
    return scan.as_reoriented(turn)


def oblique() -> nib.Nifti1Image:
    scan = stored_as("LAS")
    angle = np.deg2rad(12)
    turn = np.eye(4)
    turn[:3, :3] = [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    return nib.Nifti1Image(np.asarray(scan.dataobj), turn @ scan.affine)


def predict(scan: nib.Nifti1Image, folder, inferer, network) -> np.ndarray:
    """Run a scan through files, check its grid, give its labels in RAS."""
    folder.mkdir()
    nib.save(scan, folder / "body_0000.nii.gz")
    preprocessing = Compose(
        [
            LoadScand("image", image_only=True, ensure_channel_first=True),
            CheckScand(),
            Orientationd("image", axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
        ]
    )
    postprocessing = Compose(
        [
            Invertd("pred", transform=preprocessing, orig_keys="image", nearest_interp=True, to_tensor=True),
            SaveLabeld("pred", output_dir=folder),
        ]
    )
    for batch in DataLoader(Dataset([{"image": str(folder / "body_0000.nii.gz")}], preprocessing), batch_size=1):
        batch["pred"] = inferer(batch["image"], network)
        for case in decollate_batch(batch):
            postprocessing(case)
    saved = nib.load(folder / "body.nii.gz")
    assert saved.shape == scan.shape
    np.testing.assert_allclose(saved.affine, scan.affine, atol=1e-5)
    return np.asarray(nib.as_closest_canonical(saved).dataobj)


@pytest.mark.parametrize("name", INFERERS)
def test_twins_get_the_same_labels(tmp_path, name):
    expected = predict(ras_twin(), tmp_path / "RAS", *INFERERS[name])
    # The labels are the body's, not a coincidence of emptiness.
    assert (expected[7:12, 7:15, 8:13] == 1).all()
    assert (expected[21:24, 21:24, 5:8] == 14).all()
    twins = {axcodes: stored_as(axcodes) for axcodes in ("LAS", "LPS", "IPL")} | {"oblique": oblique()}
    for twin, scan in twins.items():
        assert np.array_equal(predict(scan, tmp_path / twin, *INFERERS[name]), expected), twin
