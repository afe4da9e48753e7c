"""`tools starter`: lists of anatomies and scans, and the chain."""

import json
import shutil
import zipfile

import nibabel as nib
import numpy as np
import pytest
import yaml

from abdoseg.datalist import load_cases
from abdoseg.files import CaseError, write_label_map
from abdoseg.label_maps import grid_difference
from abdoseg.networks import read_architecture
from tests.bundles.tiny import TINY_PLAN
from tests.dicom.written import volume, write_series
from tests.synthesis.small import SPACING, block_tissues
from tests.tools.test_dicom_scans import real
from tools.lock import sole_user
from tools.pipeline import load_pipeline
from tools.starter import CHAIN, anatomy_list, starter
from tools.starter_scans import outside_list, scan_list

AFFINE = np.diag([SPACING, SPACING, SPACING, 1.0])
GRID = nib.Nifti1Image(np.zeros((48, 40, 44), np.uint8), AFFINE)


@pytest.fixture
def maps(tmp_path):
    folder = tmp_path / "maps"
    for name in ("one", "two", "tested"):
        write_label_map(folder / f"{name}.nii.gz", block_tissues(), GRID)
    return folder


def test_anatomies_have_weights_and_those_of_tests_are_left_out(maps, tmp_path):
    path = anatomy_list(tmp_path / "work", maps, ("tested",), phantoms=0, phantom_share=0.2)
    entries = load_cases(path, kind="strong", required=True)
    assert {entry["id"]: entry["weight"] for entry in entries} == {"one": 0.5, "two": 0.5}
    with pytest.raises(CaseError, match="holds no other to leave out"):
        anatomy_list(tmp_path / "work", maps, ("other",), 0, 0.2)
    with pytest.raises(CaseError, match="There is nothing to learn from"):
        anatomy_list(tmp_path / "work", None, (), 0, 0.2)


def test_the_lists_of_a_run_that_is_at_work_are_not_replaced(maps, tmp_path):
    path = anatomy_list(tmp_path / "work", maps, (), phantoms=0, phantom_share=0.2)
    before = path.read_bytes()
    with sole_user(tmp_path / "work"), pytest.raises(CaseError, match="is at work in this folder"):
        starter(str(tmp_path / "work"), anatomies=str(maps), leave_out="tested", phantoms=0)
    assert path.read_bytes() == before


def test_phantoms_share_their_part(maps, tmp_path):
    path = anatomy_list(tmp_path / "work", maps, ("tested", "two"), phantoms=1, phantom_share=0.2)
    weights = {entry["id"]: entry["weight"] for entry in load_cases(path)}
    assert weights == {"one": 0.8, "phantom_0_1": 0.2}
    made = tmp_path / "work" / "anatomies" / "phantom_0_1.nii.gz"
    before = made.stat().st_mtime_ns
    anatomy_list(tmp_path / "work", maps, ("tested", "two"), phantoms=1, phantom_share=0.2)
    assert made.stat().st_mtime_ns == before


def test_heads_take_their_part_from_all_others(maps, tmp_path):
    path = anatomy_list(tmp_path, maps, ("tested", "two"), phantoms=1, phantom_share=0.2, heads=2, head_share=0.1)
    entries = {entry["id"]: entry for entry in load_cases(path, kind="strong")}
    assert {name: entry["weight"] for name, entry in entries.items()} == pytest.approx(
        {"one": 0.72, "phantom_0_1": 0.18, "head_0_1": 0.05, "head_0_2": 0.05}
    )
    assert not set(range(1, 14)) & set(np.unique(nib.load(entries["head_0_1"]["label"]).dataobj).tolist())
    with pytest.raises(CaseError, match="head_share is 2; it must be a number from 0 to 1"):
        anatomy_list(tmp_path, maps, (), 0, 0.2, heads=1, head_share=2)
    assert {name: entry.get("procedural") for name, entry in entries.items()} == {
        "one": None,
        "phantom_0_1": "phantom",
        "head_0_1": "head",
        "head_0_2": "head",
    }
    shutil.copy(maps / "one.nii.gz", maps / "head_0_1.nii.gz")
    with pytest.raises(CaseError, match=r"head_0_1\.nii\.gz is called as one that is made here, head_0_1; give it an"):
        anatomy_list(tmp_path, maps, (), 0, 0.2, heads=1, head_share=0.1)
    with pytest.raises(CaseError, match="With a head_share of 1 no scan has an organ"):
        anatomy_list(tmp_path, maps, (), 0, 0.2, heads=1, head_share=1)
    with pytest.raises(CaseError, match="phantoms is 0, heads -1; neither can be less than 0"):
        anatomy_list(tmp_path, maps, (), 0, 0.2, heads=-1)


def test_scans_of_a_folder_of_folders_with_what_is_drawn_in_each(tmp_path):
    tissues = block_tissues()
    for name, classes in (("a", (1, 3)), ("b", None)):
        folder = tmp_path / "scans" / name
        folder.mkdir(parents=True)
        nib.save(nib.Nifti1Image(tissues.astype(np.int16), AFFINE), folder / "ct.nii.gz")
        if classes:
            drawn = np.where(np.isin(tissues, classes), tissues, 0).astype(np.uint8)
            write_label_map(folder / "label_flare_partial.nii.gz", drawn, GRID)
    entries = load_cases(scan_list(tmp_path / "work", tmp_path / "scans"), section="testing")
    assert [(entry["id"], entry.get("annotated_classes")) for entry in entries] == [("a", [1, 3]), ("b", None)]
    with pytest.raises(CaseError, match="to score with"):
        scan_list(tmp_path / "work", tmp_path)


def zipped_series(image, path, **options):
    """A zip of a CT series."""
    paths = write_series(image, path.parent / "series", **options)
    with zipfile.ZipFile(path, "w") as archive:
        for part in paths:
            archive.write(part, part.name)
    shutil.rmtree(path.parent / "series")
    return path


def test_a_zipped_series_is_a_scan_and_its_labels_are_turned_to_it(tmp_path):
    folder = tmp_path / "scans" / "a"
    folder.mkdir(parents=True)
    image = volume("LPS", (13, 11, 7))
    zipped_series(image, folder / "dicom.zip")
    drawn = np.zeros(image.shape, np.uint8)
    drawn[2:5, 3, 6] = 5
    ras = nib.as_closest_canonical(nib.Nifti1Image(drawn, image.affine))
    write_label_map(folder / "label_flare.nii.gz", np.asarray(ras.dataobj), ras)
    (entry,) = load_cases(scan_list(tmp_path / "work", tmp_path / "scans"), section="testing")
    assert (entry["id"], entry["annotated_classes"]) == ("a", [5])
    for name, expected in (("image", image.dataobj), ("label", drawn)):
        found = nib.load(entry[name])
        np.testing.assert_allclose(found.affine, image.affine, atol=1e-5)
        np.testing.assert_array_equal(np.asarray(found.dataobj), expected)


def test_scans_outside_the_abdomen_may_be_uneven(tmp_path):
    source = tmp_path / "outside"
    source.mkdir()
    nib.save(volume(), source / "knee.nii.gz")
    zipped_series(volume(shape=(13, 11, 5)), source / "head.zip", places=np.array([0, 1, 3, 4, 5]))
    entries = load_cases(outside_list(tmp_path / "work", source), section="testing")
    assert {entry["id"]: nib.load(entry["image"]).shape for entry in entries} == {
        "knee": (13, 11, 7),
        "head": (13, 11, 6),  # 5 steps of 2.5 mm
    }
    with pytest.raises(CaseError, match="for --outside"):
        outside_list(tmp_path / "work", tmp_path)
    with pytest.raises(CaseError, match=r"nowhere does not exist; --outside takes a scan"):
        outside_list(tmp_path / "work", tmp_path / "nowhere")


@pytest.mark.slow
def test_the_real_scans_lie_beside_their_labels(tmp_path):
    source = real("ct_example_dicom20/dicom.zip").parents[1]
    entries = {entry["id"]: entry for entry in load_cases(scan_list(tmp_path, source), section="testing")}
    assert set(entries) >= {"ct_example_3mm", "ct_chaos03", "ct_example_dicom20"}
    assert entries["ct_example_dicom20"]["annotated_classes"] == [1, 3, 4, 5, 6, 7, 11]
    for entry in entries.values():
        assert grid_difference(nib.load(entry["label"]), nib.load(entry["image"])) is None
    # Livers have the HU of livers.
    scan, labels = (np.asarray(nib.load(entries["ct_example_dicom20"][key]).dataobj) for key in ("image", "label"))
    assert 60 < np.median(scan[labels == 1]) < 200
    head = source / "geometry" / "ge_head_gantry_tilt_variable_spacing_dicom.zip"
    (entry,) = load_cases(outside_list(tmp_path, head), section="testing")
    image = nib.load(entry["image"])
    assert image.shape == (512, 512, 37)  # slices of 4 mm
    # A brain: a liter and more of 20 to 50 HU.
    volume = np.asarray(image.dataobj)
    assert 700 < ((volume > 20) & (volume < 50)).sum() * np.abs(np.linalg.det(image.affine)) / 1000 < 2500


def test_the_chain_is_sound_and_scores_only_where_there_are_scans():
    places = {"work_dir": "/work", "anatomies": "/a.json"}
    names = [stage.name for stage in load_pipeline(str(CHAIN), None, places)]
    assert names == ["teacher", "coarse", "fine"]
    stages = load_pipeline(str(CHAIN), None, {**places, "scans": "/s.json", "teacher_steps": 5})
    assert [stage.name for stage in stages if stage.tool] == [
        "predict_teacher",
        "score_teacher",
        "predict_student",
        "score_student",
    ]
    assert stages[0].arguments["budget_steps"] == 5
    stages = load_pipeline(str(CHAIN), None, {**places, "outside": "/o.json", "checked": True})
    assert [stage.name for stage in stages if stage.tool] == ["outside_teacher", "outside_student", "checks"]
    assert stages[-1].after == ("outside_teacher", "outside_student")


def tiny_overlays(folder):
    """Overlays that make the starter's networks tiny: stage -> path."""
    student = {"image_size": [16, 16, 16], "anatomy_spacing": 4.0, "stages": []}
    channels = {"channels": [2, 3, 4], "out_channels": 14, "image_size": [16, 16, 16]}
    fine = {"_target_": "abdoseg.networks.coarse_to_fine_architecture", "coarse_dir": "@coarse_dir"}
    overlays = {
        "teacher": {"default_plan": {**TINY_PLAN, "mirror_axes": []}, "anatomy_spacing": 4.0, "stages": []},
        "coarse": {**student, "architecture": {"kind": "residual_unet", **channels}},
        "fine": {**student, "architecture": {**fine, "fine": {"kind": "efficient_segnet", **channels}}},
    }
    for stage, overlay in overlays.items():
        (folder / f"{stage}.yaml").write_text(yaml.safe_dump(overlay))
    return {f"{stage}_overlay": str(folder / f"{stage}.yaml") for stage in overlays}


@pytest.mark.slow
def test_all_stages_train_label_and_are_scored(maps, tmp_path):
    tissues = block_tissues()
    folder = tmp_path / "scans" / "a"
    folder.mkdir(parents=True)
    nib.save(nib.Nifti1Image((tissues * 10.0).astype(np.int16), AFFINE), folder / "ct.nii.gz")
    write_label_map(folder / "label_flare.nii.gz", np.where(tissues <= 13, tissues, 0).astype(np.uint8), GRID)
    head = zipped_series(volume(shape=(40, 40, 7)), tmp_path / "head.zip", places=np.array([0, 1, 2, 4, 5, 6, 7]))
    options = {"anatomies": str(maps), "scans": str(tmp_path / "scans"), "phantoms": 0, **tiny_overlays(tmp_path)}
    options["outside"] = str(head)
    options |= {f"{stage}_steps": 1 for stage in ("teacher", "coarse", "fine")}
    assert starter(str(tmp_path / "work"), trust=True, **options) == {"failed": {}}
    for arm in ("teacher", "student"):
        assert set(json.loads((tmp_path / "work" / "scores" / f"{arm}.json").read_text())["cases"]) == {"a"}
        checks = json.loads((tmp_path / "work" / "scores" / "checks.json").read_text())
        found = nib.load(tmp_path / "work" / "predictions" / f"outside_{arm}" / "head.nii.gz")
        expected = np.count_nonzero(found.dataobj) * np.prod(found.header.get_zooms()) / 1000
        assert checks["outside"][arm]["head"]["ml"] == pytest.approx(expected, abs=1e-3)
    assert "In head, outside the abdomen" in (tmp_path / "work" / "starter.md").read_text()
    trained = read_architecture(tmp_path / "work" / "teacher" / "weights" / "architecture.json", {})
    assert trained["plan"]["mirror_axes"] == []
    before = (tmp_path / "work" / "teacher" / "weights" / "model.pt").stat().st_mtime_ns
    starter(str(tmp_path / "work"), trust=True, **options)
    assert (tmp_path / "work" / "teacher" / "weights" / "model.pt").stat().st_mtime_ns == before
