"""Small label maps for the tests of scoring: a liver, an aorta and a tumor."""

import nibabel as nib
import numpy as np

LIVER, SPLEEN, AORTA, TUMOR = 1, 3, 5, 14
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def save(path, labels, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels.astype(np.uint8), affine), path)
    return path


def scan(shift=0):
    """A liver of 10 x 10 x 6 voxels, an aorta in z 0..7 and a tumor in the liver, moved by ``shift`` along x."""
    labels = np.zeros((20, 16, 12))
    labels[2 + shift : 12 + shift, 2:12, 3:9] = LIVER
    labels[4 + shift : 6 + shift, 4:6, 4:6] = TUMOR
    labels[14:18, 8:12, 0:8] = AORTA
    return labels


def save_folders(tmp_path):
    """Three cases; case 3 has no tumor, its prediction is perfect; case 2 is moved by one voxel."""
    without_tumor = np.where(scan() == TUMOR, LIVER, scan())
    for name, true, predicted in (
        ("case_1", scan(), scan()),
        ("0002", scan(), scan(1)),
        ("case_3", without_tumor, without_tumor),
    ):
        save(tmp_path / "truth" / f"{name}.nii.gz", true)
        save(tmp_path / "predicted" / f"{name}.nii.gz", predicted)
    return tmp_path / "predicted", tmp_path / "truth"
