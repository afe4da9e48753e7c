"""Scores of one case from its files: what the official script reads, and how a scan may be stored."""

import nibabel as nib
import numpy as np
import pytest

from abdoseg.files import CaseError
from tests.tools.score_data import AFFINE, LIVER, save, scan
from tools.case_scores import score_case


def stored_twice(folder, axes):
    """Prediction and reference as RAS, and both stored otherwise; the aorta's highest slice is missed."""
    true, predicted = scan(), scan(1)
    predicted[14:18, 8:12, 7] = 0
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes))
    files = []
    for name, labels in (("p", predicted), ("t", true)):
        twin = nib.Nifti1Image(labels.astype(np.uint8), AFFINE).as_reoriented(turn)
        assert "".join(nib.aff2axcodes(twin.affine)) == axes
        nib.save(twin, folder / f"{name}_{axes}.nii.gz")
        files.append((save(folder / f"{name}.nii.gz", labels), folder / f"{name}_{axes}.nii.gz"))
    return zip(*files, strict=True)


@pytest.mark.parametrize("axes", ["LPS", "SAR", "PIR", "RAI"])
def test_a_scan_stored_in_another_orientation_scores_the_same(tmp_path, axes):
    """The official rules leave out the aorta's highest slice, which is missed; a note where their script would not."""
    upright, turned = (score_case(*files, annotated=range(1, 15)) for files in stored_twice(tmp_path, axes))
    assert turned["scores"] == upright["scores"]
    assert upright["scores"]["aorta"]["dsc"] == 1
    assert upright["notes"] == []
    assert [f"Stored as {axes}" in note for note in turned["notes"]] == [True] * (axes != "LPS")
    assert turned["strict"] == upright["strict"]
    assert turned["lesions"] == upright["lesions"]
    assert turned["tumor_by_host"] == upright["tumor_by_host"]
    assert upright["strict"]["aorta"]["dsc"] == pytest.approx(2 * 7 / (7 + 8), abs=1e-6)


def test_spacing_is_that_of_the_references_header(tmp_path):
    """The official script takes the header's voxel sizes, which here say 9 mm along x where the affine says 1."""
    true, predicted = scan(), scan(1)
    for name, labels in (("p", predicted), ("t", true)):
        image = nib.Nifti1Image(labels.astype(np.uint8), AFFINE)
        image.set_sform(AFFINE, code=1)
        image.set_qform(np.diag([9.0, 1, 2, 1]), code=0, update_affine=False)
        nib.save(image, tmp_path / f"{name}.nii.gz")
    assert nib.load(tmp_path / "t.nii.gz").header.get_zooms()[0] == 9
    result = score_case(tmp_path / "p.nii.gz", tmp_path / "t.nii.gz", annotated=[LIVER])
    assert result["strict"]["liver"]["nsd"] == 1
    assert result["scores"]["liver"]["nsd"] < 1


@pytest.mark.parametrize("size", [np.inf, np.nan])
def test_a_header_without_voxel_sizes_is_named(tmp_path, size):
    for name in ("p", "t"):
        image = nib.Nifti1Image(scan().astype(np.uint8), AFFINE)
        image.set_sform(AFFINE, code=1)
        image.header["pixdim"][2] = size
        nib.save(image, tmp_path / f"{name}.nii")
    with pytest.raises(CaseError, match=rf"t\.nii: its header \(pixdim\) gives voxels of 1, {size:g}, 2 mm"):
        score_case(tmp_path / "p.nii", tmp_path / "t.nii")
