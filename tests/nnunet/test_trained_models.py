"""Models that nnunetv2 has planned, trained and saved, applied by nnunetv2 and by us; one of a real scan."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from abdoseg.labels import NAMES
from abdoseg.nnunet.importing import import_model
from tests.nnunet.models import ORGANS, describe, dice, imported_logits, make_models, write_data_set
from tools.chain import BUNDLES
from tools.import_ import import_
from tools.predict import predict

pytestmark = pytest.mark.slow

TEACHER = str(BUNDLES / "teacher_nnunet")
REAL = Path(__file__).parents[3] / "shared" / "data" / "ct_example_3mm"
REAL_ORGANS = (1, 2, 3, 11, 13)
SETTINGS = {"features": [8, 16], "steps": 10}
# Patches are in nnU-Net's order of axes, the coarsest first; "mirrored" are its numbers.
MODELS = {
    "thick": {"patch": [16, 32, 32], "mirrored": [0, 1, 2]},
    "coronal": {"patch": [16, 40, 32], "mirrored": [1, 2]},
    "residual": {"patch": [32, 32, 32], "mirrored": None, "residual": True},
}
# Shape (x, y, z) and spacing in RAS, how it is stored, nnU-Net's reader, and the names of the classes.
SCANS = {
    "thick": ((44, 38, 22), (1.1, 1.1, 4.0), "LAS", None, list(ORGANS)),
    "coronal": ((40, 26, 42), (1.2, 2.5, 1.0), "PSR", None, ["Liver", "r", "left kidney", "Spleen", "bone"]),
    "residual": (
        (40, 36, 44),
        (3.0, 3.0, 3.0),
        "LPS",
        "NibabelIOWithReorient",
        ["liver", "kidney_right", "kidney_left", "spleen", "vertebrae_L1"],
    ),
}
OURS = [1, 2, 13, 3, 0]


def check_patch(saved, **options) -> None:
    model = import_model(str(saved["model"]), **options)
    found, wanted = imported_logits(model, Path(str(saved["model"])), saved["patch"], saved["logits"])
    assert wanted.abs().max() > 0.5
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_a_phantom(name, tmp_path):
    shape, spacing, axcodes, reader, labels = SCANS[name]
    dataset, names = f"Dataset001_{name}", {label: value for value, label in enumerate(labels, 1)}
    write_data_set(tmp_path, dataset, names, shape, spacing, axcodes, reader)
    make_models(tmp_path, [{"dataset": dataset, **SETTINGS, **MODELS[name]}])
    options = {} if reader else {"orientation": axcodes}
    if name == "coronal":
        options["class_map"] = str(tmp_path / "classes.yaml")
        Path(options["class_map"]).write_text("Liver: liver\nr: right kidney\nleft kidney: 13\nSpleen: 3\n")
    raw, saved = tmp_path / "raw" / dataset, np.load(tmp_path / f"{dataset}.npz")
    check_patch(saved, **options)
    import_("nnunet", str(saved["model"]), str(tmp_path / "weights"), **options)

    out = str(tmp_path / "out")
    predict(TEACHER, str(raw / "imagesTs"), out, weights=str(tmp_path / "weights"), components=None, amp=False)

    found, theirs = (
        np.asarray(nib.load(folder / "case2.nii.gz").dataobj).astype(int)
        for folder in (tmp_path / "out", tmp_path / "predictions" / dataset)
    )
    assert np.unique(theirs).size > 1
    for value, ours in list(enumerate(OURS, 1))[:4]:
        print(name, NAMES[ours], dice(found == ours, theirs == value, True), (theirs == value).sum())
        assert dice(found == ours, theirs == value, True) >= 0.999
    assert set(np.unique(found)) <= set(OURS)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real CT is not there")
def test_a_real_scan(tmp_path):
    raw = tmp_path / "raw" / "Dataset001_real"
    label = nib.load(REAL / "label_flare.nii.gz")
    renumbered = np.zeros(15, np.uint8)
    renumbered[list(REAL_ORGANS)] = range(1, len(REAL_ORGANS) + 1)
    for part in ("Tr", "Ts"):
        for folder in (f"images{part}", f"labels{part}"):
            (raw / folder).mkdir(parents=True)
        (raw / f"images{part}" / "real_0000.nii.gz").symlink_to(REAL / "ct.nii.gz")
        drawn = renumbered[np.asarray(label.dataobj)]
        nib.save(nib.Nifti1Image(drawn, label.affine), raw / f"labels{part}" / "real.nii.gz")
    names = {NAMES[value]: index for index, value in enumerate(REAL_ORGANS, 1)}
    intensities = {"mean": 60, "std": 60, "percentile_00_5": -100, "percentile_99_5": 250}
    describe(tmp_path, "Dataset001_real", names, "NibabelIOWithReorient", intensities)
    settings = {"features": [8, 24], "patch": [64, 48, 64], "mirrored": None, "steps": 10}
    make_models(tmp_path, [{"dataset": "Dataset001_real", **settings}])
    saved = np.load(tmp_path / "Dataset001_real.npz")
    check_patch(saved)
    import_("nnunet", str(saved["model"]), str(tmp_path / "weights"))

    out = str(tmp_path / "out")
    predict(TEACHER, str(REAL / "ct.nii.gz"), out, weights=str(tmp_path / "weights"), components=None, amp=False)

    found = np.asarray(nib.load(tmp_path / "out" / "ct.nii.gz").dataobj)
    theirs = np.asarray(nib.load(tmp_path / "predictions" / "Dataset001_real" / "real.nii.gz").dataobj)
    assert np.unique(theirs).size > 1
    for value, ours in enumerate(REAL_ORGANS, 1):
        print(NAMES[ours], dice(found == ours, theirs == value, True), (theirs == value).sum())
        assert dice(found == ours, theirs == value, True) >= 0.999
