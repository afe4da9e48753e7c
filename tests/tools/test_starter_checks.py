"""What is told of the starter on real scans, by hand: sides, mL outside the abdomen, and the tables."""

import json

import nibabel as nib
import numpy as np

from abdoseg.datalist import write_datalist
from abdoseg.files import write_json, write_label_map
from tests.metrics.test_sides import SPACING, body
from tools.starter_checks import card_figures, starter_checks

# Left, posterior, superior: the plane must be found whatever the orientation.
LPS = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])


def write_case(folder, name, labels, image):
    """Write a scan, given in RAS, as LPS; give its image."""
    stored = nib.Nifti1Image(image[::-1, ::-1].astype(np.int16), LPS)
    nib.save(stored, folder / f"{name}_0000.nii.gz")
    write_label_map(folder / f"{name}_truth.nii.gz", labels[::-1, ::-1], stored)
    return stored


def test_sides_false_findings_and_their_tables(tmp_path):
    image = body()  # its spine is at x = 79.5
    truth = np.zeros(image.shape, np.uint8)
    truth[100:110, 40:50, 4:8] = 2
    truth[40:50, 40:50, 4:8] = 13
    stored = write_case(tmp_path, "scan", truth, image)
    predicted = truth.copy()
    predicted[40, 40, 4:8] = 2  # 4 voxels of the right kidney on the left: 400 of 404 on their own side
    root = tmp_path / "work"
    write_label_map(root / "predictions" / "teacher" / "scan.nii.gz", predicted[::-1, ::-1], stored)
    head = np.zeros((10, 10, 10), np.uint8)
    head[:5, 0, 0] = 1
    head[:2, 1, 0] = 14
    grid = nib.Nifti1Image(head, np.diag([5.0, 5, 10, 1]))  # 0.25 mL a voxel
    nib.save(grid, tmp_path / "head.nii.gz")
    write_label_map(root / "predictions" / "outside_teacher" / "head.nii.gz", head, grid)
    entry = {"id": "scan", "kind": "test", "image": str(tmp_path / "scan_0000.nii.gz")}
    entry |= {"label": str(tmp_path / "scan_truth.nii.gz"), "annotated_classes": [2, 13]}
    write_datalist(root / "scans.json", {"testing": [entry]})
    empty = {"id": "head", "kind": "test", "image": str(tmp_path / "head.nii.gz")}
    write_datalist(root / "outside.json", {"testing": [empty]})
    scores = {"right kidney": {"dsc": 0.875, "present": True}, "left kidney": {"dsc": 0.625, "present": True}}
    scores["liver"] = {"dsc": 0.0, "present": False}
    write_json(root / "scores" / "teacher.json", {"cases": {"scan": scores}})

    starter_checks(str(root), str(root / "scans.json"), str(root / "outside.json"))
    checks = json.loads((root / "scores" / "checks.json").read_text())
    sides = checks["sides"]["teacher"]["scan"]
    assert sides["right kidney"] == {"voxels": 404, "own_side": 400 / 404}
    assert sides["left kidney"] == {"voxels": 396, "own_side": 1.0}
    assert sides["left adrenal gland"]["own_side"] is None
    assert checks["sides"]["reference"]["scan"]["right kidney"]["own_side"] == 1.0
    outside = checks["outside"]["teacher"]["head"]
    assert (outside["ml"], outside["classes"]["liver"], outside["classes"]["tumor"]) == (1.75, 1.25, 0.5)
    assert checks["sides"]["student"] == checks["outside"]["student"] == {}

    told = (root / "starter.md").read_text()
    assert told.startswith("# Teacher\n\nDSC on real scans:")
    assert "| right kidney | 0.875 |" in told
    assert "| **mean of the organs** | **0.750** |" in told
    assert "| liver |" not in told
    assert "| right kidney | **99.01 %** (100.00 %) |" in told
    assert "| left kidney | 100.00 % (100.00 %) |" in told
    assert "| left adrenal gland | not found |" in told
    assert "In head, outside the abdomen, it finds 1.8 mL (liver 1.2, tumor 0.5); as asked" in told
    assert "# Student\n\nNot scored on any real scan." in told
    assert "Student less teacher" not in told
    assert "Not scored alone" in card_figures(root, None)
    checks["outside"]["teacher"]["head"]["ml"] = 5.0
    write_json(root / "scores" / "checks.json", checks)
    assert "it finds 5.0 mL (liver 1.2, tumor 0.5); **not** as asked" in card_figures(root, "teacher")

    write_json(root / "scores" / "student.json", {"cases": {"scan": {**scores, "left kidney": scores["right kidney"]}}})
    starter_checks(str(root))
    # (0.875 + 0.875) / 2 - (0.875 + 0.625) / 2
    assert "mean DSC of the organs of scan: +0.125" in (root / "starter.md").read_text()
