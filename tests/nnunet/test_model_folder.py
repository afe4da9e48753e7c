"""Model folders: what is read from nnU-Net's files, and what is refused in one sentence."""

import pytest

from abdoseg.files import CaseError
from abdoseg.nnunet.importing import import_model
from abdoseg.nnunet.model_folder import axes_of, check_orientation, find_model, plan_of
from tests.nnunet.tiny_folder import ARCHITECTURE, OLD, PLANS, RESIDUAL, write_model


def plan(folder, orientation="RAS", name="3d_fullres", mirrored=(0, 2)):
    return plan_of(find_model(folder, None, "checkpoint_final.pth"), name, orientation, mirrored)


def test_axes_turn_from_zyx_to_xyz(tmp_path):
    found = plan(write_model(tmp_path))
    assert found["spacing"] == [12, 24, 28]
    assert found["patch_size"] == [16, 16, 8]
    assert found["strides"] == [[1, 1, 1], [2, 2, 1], [2, 2, 2]]
    assert found["kernels"] == [[3, 3, 1], [3, 3, 3], [3, 3, 3]]
    assert found["normalization"] == {"lower": -100, "upper": 300, "mean": 90, "std": 80}
    assert found["imported"]["mirror_axes"] == ["left-right", "inferior-superior"]
    assert plan(tmp_path, mirrored=None)["imported"]["mirror_axes"] == []


def test_axes_that_nnunet_has_transposed(tmp_path):
    # transpose_forward (1, 0, 2): the network's axes are (y, z, x).
    found = plan(write_model(tmp_path, plans={"transpose_forward": [1, 0, 2]}))
    assert found["spacing"] == [12, 28, 24]
    assert found["imported"]["mirror_axes"] == ["left-right", "posterior-anterior"]


@pytest.mark.parametrize(
    ("transpose", "orientation", "axes"),
    [
        ([0, 1, 2], "RAS", [2, 1, 0]),
        ([0, 1, 2], "LPI", [2, 1, 0]),
        ([1, 0, 2], "RAS", [2, 0, 1]),
        ([2, 0, 1], "RAS", [0, 2, 1]),
        # Stored as (y, z, x): nnU-Net reads (x, z, y), so that x is its first axis.
        ([0, 1, 2], "PSR", [0, 2, 1]),
    ],
)
def test_axes_of(transpose, orientation, axes):
    assert axes_of(transpose, orientation) == axes


def test_lowres_inherits(tmp_path):
    found = plan(write_model(tmp_path), name="3d_lowres")
    assert found["spacing"] == [20, 30, 40]
    assert found["patch_size"] == [16, 16, 8]


def test_plans_of_before_nnunet_2_4(tmp_path):
    folder = write_model(tmp_path)
    found = plan_of(find_model(folder, None, "checkpoint_final.pth"), "3d_fullres", "RAS", None)
    settings = {**PLANS, "configurations": {"3d_fullres": OLD}}
    model = find_model(folder, None, "checkpoint_final.pth")
    old = plan_of(type(model)(model.path, settings, model.dataset, "0", model.checkpoint), "3d_fullres", "RAS", None)
    assert old == {**found, "features": [4, 6, 6]}


def test_the_orientation_must_be_known(tmp_path):
    folder = write_model(tmp_path)
    with pytest.raises(CaseError, match=r"read by SimpleITKIO, which keeps a file's orientation; .* --orientation LPS"):
        import_model(folder)
    reorient = {"image_reader_writer": "NibabelIOWithReorient"}
    assert check_orientation(reorient, None, folder) == check_orientation(reorient, "RAS", folder) == "RAS"
    with pytest.raises(CaseError, match="turns them to RAS; leave --orientation out"):
        check_orientation(reorient, "LPS", folder)
    assert check_orientation(PLANS, "las", folder) == "LAS"
    for wrong in ("LP", "RLS", "XYZ"):
        with pytest.raises(CaseError, match=f"Unknown orientation '{wrong}'"):
            check_orientation(PLANS, wrong, folder)


def test_folds(tmp_path):
    folder = write_model(tmp_path, folds=("0", "3", "all"))
    with pytest.raises(CaseError, match="has the folds 0, 3, all; choose one by --fold 0"):
        import_model(folder, orientation="RAS")
    for fold in ("3", "all"):
        assert find_model(folder, fold, "checkpoint_final.pth").checkpoint.parent.name == f"fold_{fold}"
    with pytest.raises(CaseError, match=r"no fold_1/checkpoint_final.pth; --fold takes 0 or 3 or all"):
        find_model(folder, "1", "checkpoint_final.pth")
    with pytest.raises(CaseError, match=r"no fold_X/checkpoint_best.pth; --checkpoint takes checkpoint_final.pth"):
        find_model(folder, None, "checkpoint_best.pth")


def change(**details) -> dict:
    return {"architecture": {**ARCHITECTURE, "arch_kwargs": {**ARCHITECTURE["arch_kwargs"], **details}}}


BOTTLENECK = {**RESIDUAL, "arch_kwargs": {**RESIDUAL["arch_kwargs"], "bottleneck_channels": [2, 2, 2]}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"configuration": "2d"}, "is the two-dimensional configuration '2d'; import a 3d_fullres or 3d_lowres"),
        ({"configuration": "3d_cascade_fullres"}, "is the cascade's second stage '3d_cascade_fullres'"),
        ({"configuration": "mine"}, "has no configuration 'mine'; it has 2d, 3d_fullres"),
        ({"fullres": {"normalization_schemes": ["ZScoreNormalization"]}}, "was trained with ZScoreNormalization; only"),
        ({"fullres": {"preprocessor_name": "Mine"}}, "was trained with Mine; only DefaultPreprocessor"),
        ({"fullres": {"resampling_fn_data": "resample_torch"}}, "its resampling_fn_data is resample_torch"),
        (
            {"fullres": {"resampling_fn_probabilities_kwargs": {"order": 3}}},
            "its resampling_fn_probabilities is .* of order 3",
        ),
        ({"fullres": {"architecture": {**ARCHITECTURE, "network_class_name": "a.b.MedNeXt"}}}, "is a MedNeXt; only"),
        ({"fullres": {"architecture": BOTTLENECK}}, "other widths of stem or blocks than nnU-Net's defaults"),
        ({"fullres": change(nonlin="torch.nn.ReLU")}, "other activations than nnU-Net's defaults"),
        ({"fullres": change(norm_op="torch.nn.BatchNorm3d")}, "other norms than"),
        ({"fullres": change(n_conv_per_stage=[2, 3, 2])}, "other convolutions a stage than"),
        ({"fullres": change(features_per_stage=[4, 6])}, "2 features, 3 strides and 3 kernels"),
        ({"dataset": {"channel_names": {"0": "CT", "1": "PET"}}}, r"takes 2 channels \(CT, PET\); a teacher takes one"),
        ({"dataset": {"labels": {"background": 0, "liver": [1, 2], "x": 2}}}, "trained on regions"),
        ({"plans": {"foreground_intensity_properties_per_channel": {}}}, r"plans.json lacks .*'0'"),
    ],
)
def test_what_the_teacher_cannot_be_is_one_sentence(changes, words, tmp_path):
    folder = write_model(tmp_path / "model", **changes)
    with pytest.raises(CaseError, match=words) as caught:
        import_model(folder, orientation="RAS")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_broken_files_are_named(tmp_path):
    folder = write_model(tmp_path)
    (folder / "dataset.json").write_text("{")
    with pytest.raises(CaseError, match=r"dataset\.json is not JSON"):
        import_model(folder)
    (folder / "dataset.json").unlink()
    with pytest.raises(CaseError, match=r"dataset\.json does not exist; name the folder TRAINER__PLANS__CONFIGURATION"):
        import_model(folder)
