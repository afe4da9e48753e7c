"""`tools synthesize`: a data set of the house's layout, same bytes, resumed; and real scans in another phase."""

import json

import nibabel as nib
import numpy as np
import pytest

from abdoseg.files import CaseError, write_label_map
from tests.synthesis.small import SPACING, block_tissues
from tests.tools.small_data import truncate
from tools.__main__ import main
from tools.layout import find_cases
from tools.synthesize import synthesize

AFFINE = np.diag([-SPACING, SPACING, SPACING, 1.0])  # LAS: the maps may be stored in any orientation


def save(path, volume, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    if volume.dtype == np.uint8:
        write_label_map(path, volume, nib.Nifti1Image(volume, affine))
    else:
        nib.save(nib.Nifti1Image(volume, affine), path)
    return path


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    save(folder / "one.nii.gz", block_tissues()[::-1])
    return folder


OPTIONS = {"cases": 2, "seed": 3, "spacing": (5.0, 5.0, 6.0), "tumor_share": 1.0}


def content(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_scans_with_labels_that_the_audit_takes(maps, tmp_path):
    out = tmp_path / "out"
    result = synthesize(str(out), str(maps), **OPTIONS)
    assert result["images"] == [str(out / "images" / f"synthetic_000{n}_0000.nii.gz") for n in (1, 2)]
    candidates, excluded = find_cases(out)
    assert [case["id"] for case in candidates] == ["synthetic_0001", "synthetic_0002"]
    assert excluded == []
    told = json.loads((out / "synthetic.json").read_text())
    for case in candidates:
        image, label = nib.load(case["image"]), nib.load(case["label"])
        assert image.get_data_dtype() == np.int16
        assert label.get_data_dtype() == np.uint8
        np.testing.assert_allclose(image.header.get_zooms(), (5, 5, 6))
        np.testing.assert_array_equal(image.affine, label.affine)
        drawn = np.asarray(label.dataobj)
        assert image.shape == drawn.shape
        assert sorted(set(np.unique(drawn).tolist()) - {0}) == told["cases"][case["id"]]["classes"]
        # The map was stored from right to left, the scan is RAS: liver right of the spleen.
        x = {organ: np.argwhere(drawn == organ)[:, 0].mean() for organ in (1, 3)}
        assert x[1] > x[3]
    assert (out / "overview.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_options_give_the_same_bytes_and_what_is_there_stays(maps, tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    synthesize(str(first), str(maps), **OPTIONS)
    synthesize(str(again), str(maps), **{**OPTIONS, "cases": 1})
    kept = (again / "images" / "synthetic_0001_0000.nii.gz").stat().st_mtime_ns
    synthesize(str(again), str(maps), **OPTIONS)
    assert (again / "images" / "synthetic_0001_0000.nii.gz").stat().st_mtime_ns == kept
    assert content(first) == content(again)
    with pytest.raises(CaseError, match="made with other options"):
        synthesize(str(again), str(maps), **{**OPTIONS, "seed": 4})


def test_real_scans_get_another_phase(tmp_path):
    tissues = block_tissues()
    label = np.where(tissues <= 13, tissues, 0).astype(np.uint8)
    scan = np.where(tissues > 0, 50, -1000).astype(np.int16)
    save(tmp_path / "labels" / "a.nii.gz", label)
    save(tmp_path / "scans" / "a_0000.nii.gz", scan)
    out = tmp_path / "out"
    synthesize(str(out), str(tmp_path / "labels"), cases=1, phase="arterial", scans=str(tmp_path / "scans"))
    image = np.asarray(nib.load(out / "images" / "synthetic_0001_0000.nii.gz").dataobj)
    kept = np.asarray(nib.load(out / "labels" / "synthetic_0001.nii.gz").dataobj)
    np.testing.assert_array_equal(kept, label)
    np.testing.assert_array_equal(image[label == 0], scan[label == 0])
    assert np.median(image[label == 2]) > 100  # a kidney in the arterial phase
    assert json.loads((out / "synthetic.json").read_text())["cases"]["synthetic_0001"]["phase"] == "arterial"


def test_a_broken_scan_is_set_aside_and_the_others_are_made(tmp_path, capsys):
    tissues = block_tissues()
    for name in "abc":
        save(tmp_path / "labels" / f"{name}.nii.gz", np.where(tissues <= 13, tissues, 0).astype(np.uint8))
        save(tmp_path / "scans" / f"{name}_0000.nii.gz", np.where(tissues > 0, 50, -1000).astype(np.int16))
    (tmp_path / "scans" / "a_0000.nii.gz").write_bytes(b"no scan")
    truncate(tmp_path / "scans" / "c_0000.nii.gz")
    options = [f"--scans={tmp_path / 'scans'}", "--cases=3"]
    assert main(["synthesize", str(tmp_path / "out"), str(tmp_path / "labels"), *options]) == 1
    told = capsys.readouterr().out
    assert "a_0000.nii.gz: cannot be read" in told
    assert "set aside: c: " in told
    assert [path.name for path in (tmp_path / "out" / "images").iterdir()] == ["synthetic_0002_0000.nii.gz"]
    (tmp_path / "scans" / "b_0000.nii.gz").write_bytes(b"no scan")
    with pytest.raises(CaseError, match=r"Not one scan could be made; the first reason: .*a_0000"):
        synthesize(str(tmp_path / "none"), str(tmp_path / "labels"), cases=2, scans=str(tmp_path / "scans"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"phase": "venous"}, r"Unknown phase 'venous'\. Use one of: plain, arterial, portal, late"),
        ({"input": None}, "There is nothing to render; give --input"),
        ({"spacing": (1.0, 2.0)}, "give one number above 0, or three"),
        ({"spacing": "2 2 2.5"}, "spacing is 2 2 2.5; give one number above 0, or three"),
        ({"tumor_share": 2}, "tumor_share is 2; it must be a number from 0 to 1"),
        ({"cases": 0}, "cases is 0"),
        ({"input": None, "scans": "x"}, "--scans needs --input"),
    ],
)
def test_wrong_options_are_refused(maps, tmp_path, options, words):
    with pytest.raises(CaseError, match=words):
        synthesize(**({"output_dir": str(tmp_path / "out"), "input": str(maps)} | options))


def test_a_label_map_alone_is_refused(tmp_path):
    tissues = block_tissues()
    path = save(tmp_path / "labels" / "a.nii.gz", np.where(tissues <= 13, tissues, 0).astype(np.uint8))
    with pytest.raises(CaseError, match=rf"{path.name}: is a label map of organs.*synthesize --scans"):
        synthesize(str(tmp_path / "out"), str(path.parent))
