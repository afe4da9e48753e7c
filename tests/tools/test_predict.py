"""The predict command with tiny real networks: folders with faults, resuming, and what is refused."""

import json
import os
import shutil

import nibabel as nib
import numpy as np
import pytest

from abdoseg.files import CaseError, write_json
from tests.tools.small_data import (
    AFFINE,
    COARSE,
    FINE,
    SHAPE,
    STUDENT,
    TEACHER,
    TUMOR_CASCADE,
    save,
    save_scan,
    save_weights,
    truncate,
)
from tools.__main__ import main
from tools.chain import BUNDLES
from tools.predict import find_scans, predict
from tools.predictor import Predictor

FINE_SEG = str(BUNDLES / "fine_seg")
COARSE_SEG = str(BUNDLES / "coarse_seg")
TEACHER_NNUNET = str(BUNDLES / "teacher_nnunet")
TILTED = np.array([[0, -9.0, 1.5, 5], [8.0, 0, 0, 7], [0, 2.0, -14.0, 9], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    root = tmp_path_factory.mktemp("weights")
    architectures = {"student": STUDENT, "teacher": TEACHER, "coarse": COARSE}
    architectures |= {"cascade": TUMOR_CASCADE, "combination": {**TUMOR_CASCADE, "organs": STUDENT}}
    for name, architecture in architectures.items():
        save_weights(root / name, architecture)
    save_weights(root / "other", STUDENT, seed=1)
    return root


@pytest.fixture
def scans(tmp_path):
    """Two good scans, one of them tilted in another orientation."""
    save_scan(tmp_path / "scans" / "0001_0000.nii.gz")
    save_scan(tmp_path / "scans" / "0002_0000.nii", seed=1, affine=TILTED)
    return tmp_path / "scans"


def test_scans_in_which_nothing_was_found_are_named(weights, scans, tmp_path, capsys):
    out = tmp_path / "out"

    def empty(**options) -> list[str]:
        predict(FINE_SEG, str(scans), str(out), weights=str(weights / "student"), **options)
        return json.loads((out / "manifest.json").read_text())["empty"]

    assert empty(abdomen_min_ml=1e6) == ["0001", "0002"]
    assert not any(np.asarray(nib.load(path).dataobj).any() for path in out.glob("*.nii.gz"))
    printed = capsys.readouterr()
    assert f"2 of them without any label, named in {out / 'manifest.json'}: 0001, 0002" in printed.out
    assert "0001_0000.nii.gz: the coarse network finds" in printed.err
    assert empty(abdomen_min_ml=1e6) == ["0001", "0002"]  # nothing is labeled anew
    manifest = json.loads((out / "manifest.json").read_text())
    manifest |= {"seconds": {"0002": 1.0}, "empty": ["0002"]}  # killed before the first was noted
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert sorted(empty(abdomen_min_ml=1e6)) == ["0001", "0002"]
    assert empty(abdomen_min_ml=1e6, cases="0002", overwrite=True) == ["0001", "0002"]
    assert empty(abdomen_min_ml=0, overwrite=True) == []


@pytest.mark.parametrize(
    ("bundle", "name"),
    [
        (FINE_SEG, "student"),
        (TEACHER_NNUNET, "teacher"),
        (COARSE_SEG, "coarse"),
        (str(BUNDLES / "tumor_cascade"), "cascade"),
        (str(BUNDLES / "tumor_cascade"), "combination"),
    ],
)
def test_any_bundle_labels_a_folder_on_the_scans_own_grids(bundle, name, weights, scans, tmp_path, capsys):
    result = predict(bundle, str(scans), str(tmp_path / "out"), weights=str(weights / name))
    assert result == {"labeled": ["0001", "0002"], "failed": {}}
    for case, affine in (("0001", AFFINE), ("0002", TILTED)):
        label = nib.load(tmp_path / "out" / f"{case}.nii.gz")
        assert label.shape == SHAPE
        assert label.get_data_dtype() == np.uint8
        np.testing.assert_allclose(label.affine, affine, atol=1e-4)
        assert np.asarray(label.dataobj).max() <= 14
    assert sorted(os.listdir(tmp_path / "out")) == ["0001.nii.gz", "0002.nii.gz", "manifest.json"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["weights"] == str(weights / name / "model.pt")
    assert set(manifest["seconds"]) == {"0001", "0002"}
    assert f"weights: {weights / name / 'model.pt'} (sha256 {manifest['sha256'][:12]})" in capsys.readouterr().out


def test_bad_scans_are_set_aside_by_name_and_the_others_labeled(weights, scans, tmp_path, capsys):
    shutil.copy(scans / "0001_0000.nii.gz", scans / "cut_0000.nii.gz")
    truncate(scans / "cut_0000.nii.gz")
    save(scans / "four_0000.nii.gz", np.zeros((8, 8, 8, 2), np.int16))
    save(scans / "nan_0000.nii.gz", np.full(SHAPE, np.nan, np.float32))
    (scans / "text_0000.nii.gz").write_text("no scan")
    (scans / ".hidden_0000.nii.gz").write_text("of the system")
    (scans / "notes.txt").write_text("no scan either")
    options = ["--input", str(scans), "--output", str(tmp_path / "out"), "--weights", str(weights / "student")]
    assert main(["predict", "--bundle", FINE_SEG, *options]) == 1
    told = capsys.readouterr().out
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert set(manifest["failed"]) == {"cut", "four", "nan", "text"}
    for name, words in {
        "cut": "cannot be read",
        "four": "has the shape (8, 8, 8, 2); a scan must be one 3-D volume",
        "nan": "has voxels that are NaN or infinite",
        "text": "is not a gzip file",
    }.items():
        reason = manifest["failed"][name]
        assert reason.startswith(f"{scans / name}_0000.nii.gz: ")
        assert reason.count(f"{name}_0000.nii.gz: ") == 1
        assert words in reason
        assert f"set aside: {reason}" in told
    assert sorted(os.listdir(tmp_path / "out")) == ["0001.nii.gz", "0002.nii.gz", "manifest.json"]

    # Mended, it is labeled by the same command.
    for name in ("cut", "four", "nan", "text"):
        (scans / f"{name}_0000.nii.gz").unlink()
    save_scan(scans / "cut_0000.nii.gz", seed=2)
    assert main(["predict", "--bundle", FINE_SEG, *options]) == 0
    assert (tmp_path / "out" / "cut.nii.gz").exists()


def stamps(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.nii.gz")}


def test_a_second_call_labels_what_is_missing_and_nothing_else(weights, scans, tmp_path, capsys):
    arguments = (FINE_SEG, str(scans), str(tmp_path / "out"), str(weights / "student"))
    predict(*arguments)
    before = stamps(tmp_path / "out")
    capsys.readouterr()
    predict(*arguments)
    assert stamps(tmp_path / "out") == before
    assert "2 of 2 scans are labeled already." in capsys.readouterr().out
    (tmp_path / "out" / "0001.nii.gz").unlink()
    predict(*arguments)
    after = stamps(tmp_path / "out")
    assert after["0002.nii.gz"] == before["0002.nii.gz"]
    assert after["0001.nii.gz"] > before["0001.nii.gz"]


def test_labels_of_other_weights_or_settings_are_replaced_only_when_asked(weights, scans, tmp_path):
    out = tmp_path / "out"
    predict(FINE_SEG, str(scans), str(out), str(weights / "student"))
    before = stamps(out)
    for options in ({"weights": str(weights / "other")}, {"weights": str(weights / "student"), "margin_mm": 5}):
        with pytest.raises(CaseError, match=r"holds label maps of other weights or settings .*--overwrite"):
            predict(FINE_SEG, str(scans), str(out), **options)
        assert stamps(out) == before
    # All that the folder holds is of the new weights then: the other case's label is gone, not left to be mixed in.
    predict(FINE_SEG, str(scans), str(out), str(weights / "other"), cases="0002", overwrite=True)
    assert list(stamps(out)) == ["0002.nii.gz"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert list(manifest["seconds"]) == ["0002"]
    before = stamps(out)
    predict(FINE_SEG, str(scans), str(out), str(weights / "other"), overwrite=True)
    assert stamps(out)["0002.nii.gz"] > before["0002.nii.gz"]


def test_label_maps_of_unknown_origin_are_not_taken_for_done(weights, scans, tmp_path):
    drawn = save(tmp_path / "out" / "0001.nii.gz", np.ones(SHAPE, np.uint8))
    content = drawn.read_bytes()
    with pytest.raises(CaseError, match="of unknown origin"):
        predict(FINE_SEG, str(scans), str(tmp_path / "out"), str(weights / "student"))
    assert drawn.read_bytes() == content
    assert os.listdir(tmp_path / "out") == ["0001.nii.gz"]


def test_a_label_map_never_takes_the_place_of_its_scan(weights, tmp_path):
    scan = save_scan(tmp_path / "scans" / "0001.nii.gz")
    content = scan.read_bytes()
    with pytest.raises(CaseError, match="its label map would take its place"):
        predict(FINE_SEG, str(tmp_path / "scans"), str(tmp_path / "scans"), str(weights / "student"), overwrite=True)
    assert scan.read_bytes() == content


def test_overrides_reach_the_config(weights, tmp_path):
    def build(**overrides):
        return Predictor(BUNDLES / "fine_seg", tmp_path, weights / "student", overrides)

    plain, changed = build(), build(**{"inferer#margin_mm": 30, "device": "cpu"})
    assert (plain.inferer.margin_mm, changed.inferer.margin_mm) == (20, 30)
    assert changed.device.type == "cpu"
    assert plain.key != changed.key
    teacher = Predictor(BUNDLES / "teacher_nnunet", tmp_path, weights / "teacher", {"mirror_axes": []})
    assert teacher.inferer.mirror_axes == ()


def test_an_overlay_is_laid_over_the_config(weights, tmp_path):
    def build(overlay=None):
        return Predictor(BUNDLES / "tumor_cascade", tmp_path, weights / "cascade", {}, overlay)

    (tmp_path / "mine.yaml").write_text("contrast_threshold: null\n")
    plain, faithful, mine = build(), build("faithful.yaml"), build(str(tmp_path / "mine.yaml"))
    assert (plain.inferer.survival.adjacency, faithful.inferer.survival.adjacency) == (True, False)
    assert (plain.inferer.contrast_threshold, mine.inferer.contrast_threshold) == (89, None)
    assert len({plain.key, faithful.key, mine.key}) == 3
    with pytest.raises(CaseError, match=r"unfaithful.yaml: neither .*configs nor the current folder"):
        build("unfaithful.yaml")


def test_the_window_of_the_weights_reaches_the_inferer(weights, tmp_path):
    fine = {**FINE, "hu_window": [-160, 240]}
    save_weights(tmp_path / "narrow", {**STUDENT, "fine": fine})
    inferer = Predictor(BUNDLES / "fine_seg", tmp_path, tmp_path / "narrow", {}).inferer
    assert (inferer.hu_window, inferer.coarse_hu_window) == ((-160, 240), (-325, 325))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"wieghts": "x"}, r"no option --wieghts, .*Did you mean --weights\? Values of the config: .*margin_mm"),
        ({"inferer#margin": 3}, "no option --inferer#margin, and .*inference.yaml has no such value"),
        ({"mirror_axes": ["sideways"]}, r"does not work with --mirror_axes \['sideways'\]: Unknown mirror axis"),
    ],
)
def test_wrong_overrides_are_refused_with_what_there_is(overrides, words, weights, scans, tmp_path):
    name = ("teacher_nnunet", "teacher") if "mirror_axes" in overrides else ("fine_seg", "student")
    with pytest.raises(CaseError, match=words):
        predict(str(BUNDLES / name[0]), str(scans), str(tmp_path / "out"), str(weights / name[1]), **overrides)
    assert not (tmp_path / "out").exists()


def test_weights_that_do_not_fit_are_refused_before_anything_is_written(weights, scans, tmp_path, capsys):
    mixed, cut, broken, thin, bare = (tmp_path / name for name in ("mixed", "cut", "broken", "thin", "bare"))
    for folder in (mixed, cut, broken, thin):
        shutil.copytree(weights / "student", folder)
    write_json(mixed / "architecture.json", {**STUDENT, "fine": {**FINE, "channels": [4, 12]}})
    write_json(thin / "architecture.json", {**STUDENT, "fine": {**FINE, "channels": [4]}})
    (cut / "model.pt").write_bytes((cut / "model.pt").read_bytes()[:300])
    (broken / "architecture.json").write_text('{"kind": ')
    bare.mkdir()
    for folder, words in {
        weights / "coarse": "architecture.json describes a network of kind 'residual_unet'; fine_seg runs 'coarse_to_",
        mixed: "mixed/model.pt does not fit the network: ",
        cut: "cut/model.pt is not a checkpoint of tensors",
        broken: "broken/architecture.json is not valid JSON",
        thin: "thin/architecture.json describes a network that cannot be built: ",
        bare: "bare/model.pt does not exist; train the bundle, or name the folder of its weights by --weights.",
    }.items():
        options = ["--input", str(scans), "--output", str(tmp_path / "out"), "--weights", str(folder)]
        assert main(["predict", "--bundle", FINE_SEG, *options]) == 2
        told = capsys.readouterr().err
        assert words in told
        assert told.startswith("error: ")
        assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_bundle_is_named(weights, scans, tmp_path):
    with pytest.raises(CaseError, match=r"is no bundle that labels scans: .*inference\.yaml is missing"):
        predict(str(tmp_path), str(scans), str(tmp_path / "out"), str(weights / "student"))


def test_relative_paths_count_from_the_current_folder(weights, scans, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundle, folder = os.path.relpath(FINE_SEG), os.path.relpath(weights / "student")
    predict(bundle, "scans/0001_0000.nii.gz", "out", folder)
    assert (tmp_path / "out" / "0001.nii.gz").exists()
    # The same bundle and weights by another name are the same.
    monkeypatch.chdir(tmp_path / "out")
    predict(FINE_SEG, "../scans", ".", str(weights / "student"))
    assert (tmp_path / "out" / "0002.nii.gz").exists()


def test_scans_of_a_datalist_are_labeled_under_their_ids(weights, tmp_path):
    # As TotalSegmentator has them: the folder tells the case, all files have the same name.
    paths = [save_scan(tmp_path / f"s{n}" / "ct.nii.gz", n, affine) for n, affine in enumerate((AFFINE, TILTED))]
    testing = [{"id": f"ts_s{n}", "image": str(path), "kind": "test"} for n, path in enumerate(paths)]
    write_json(tmp_path / "list.json", {"testing": testing})
    result = predict(COARSE_SEG, str(tmp_path / "list.json"), str(tmp_path / "out"), weights=str(weights / "coarse"))
    assert result == {"labeled": ["ts_s0", "ts_s1"], "failed": {}}
    assert sorted(os.listdir(tmp_path / "out")) == ["manifest.json", "ts_s0.nii.gz", "ts_s1.nii.gz"]
    for name, affine in (("ts_s0", AFFINE), ("ts_s1", TILTED)):
        np.testing.assert_allclose(nib.load(tmp_path / "out" / f"{name}.nii.gz").affine, affine, atol=1e-4)


def test_scans_of_a_datalist(tmp_path, scans):
    images = [save_scan(tmp_path / f"{name}_0000.nii.gz") for name in ("0007", "0008", "0009")]
    kinds = ("weak", "strong", "weak")
    training = [
        {"id": path.name[:4], "image": str(path), "label": str(path), "kind": kind}
        for path, kind in zip(images, kinds, strict=True)
    ]
    write_json(tmp_path / "list.json", {"training": training, "testing": []})
    source = tmp_path / "list.json"
    assert list(find_scans(source, "training")) == ["0007", "0008", "0009"]
    assert list(find_scans(source, "training", kind="weak")) == ["0007", "0009"]
    assert list(find_scans(source, "training", cases="0009, 0008")) == ["0008", "0009"]
    for arguments, words in (
        ((source, "testing"), "holds no scan in section 'testing'"),
        ((source, "training", "unlabeled"), "no scan in section 'training' of kind 'unlabeled'"),
        ((source, "training", None, "7"), "holds no case 7; it holds 0007, 0008, 0009"),
        ((source, "validation"), "no section 'validation'; this datalist has training, testing"),
        ((tmp_path / "nowhere",), "nowhere does not exist; --input takes"),
        ((tmp_path / "out.txt",), r"out\.txt holds no scan"),
        ((tmp_path / "empty",), "empty holds no scan"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        (tmp_path / "out.txt").write_text("")
        with pytest.raises(CaseError, match=words):
            find_scans(*arguments)
    save_scan(scans / "0002_0000.nii.gz")
    with pytest.raises(CaseError, match="have the same id 0002; rename one of them"):
        find_scans(scans)
