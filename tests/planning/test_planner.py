"""Tests of nnU-Net's planning rules: against the nnunetv2 package and against published networks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from abdoseg.planning import feature_map_size, make_plan, target_spacing, topology

FOREGROUND = {
    "mean": 79.43,
    "std": 142.0,
    "median": 95.0,
    "percentile_00_5": -972.0,
    "percentile_99_5": 294.0,
    "min": -1024.0,
    "max": 3071.0,
}


def varied(shape, spacing, cases):
    """Give a fingerprint, axes (x, y, z), whose cases scatter around a shape and a spacing."""
    random = np.random.default_rng(0)
    shapes = [[int(n) for n in shape * random.uniform(0.85, 1.15, 3)] for _ in range(cases)]
    spacings = [[float(s) for s in spacing * random.uniform(0.85, 1.15, 3)] for _ in range(cases)]
    return {"shapes": shapes, "spacings": spacings, "foreground": FOREGROUND}


def equal(shape, spacing, cases):
    """Give a fingerprint, axes (x, y, z), of equal cases."""
    return {"shapes": [shape] * cases, "spacings": [spacing] * cases, "foreground": FOREGROUND}


FINGERPRINTS = {
    "isotropic": varied(np.array([310, 250, 280]), np.array([1.0, 1.0, 1.0]), 20),
    "flare": equal([512, 512, 114], [0.8, 0.8, 2.5], 222),
    "flare_varied": varied(np.array([512, 500, 134]), np.array([0.82, 0.82, 2.5]), 222),
    "thick": varied(np.array([512, 490, 40]), np.array([0.7, 0.7, 5.0]), 30),
    "few_thick": equal([400, 380, 24], [0.5, 0.6, 8.0], 1),
    "demo": varied(np.array([90, 80, 60]), np.array([4.0, 4.0, 5.0]), 12),
    "tiny": equal([40, 36, 30], [5.0, 5.0, 5.0], 4),
    "coronal": varied(np.array([300, 60, 320]), np.array([0.9, 4.0, 1.1]), 15),
    "sagittal": varied(np.array([48, 256, 230]), np.array([3.0, 0.9, 0.8]), 15),
}


@pytest.fixture(scope="module")
def nnunet_plans(tmp_path_factory):
    """Plan every fingerprint with the nnunetv2 package; its axes are (z, y, x)."""
    folder = tmp_path_factory.mktemp("nnunet")
    for number, (name, fingerprint) in enumerate(FINGERPRINTS.items(), start=1):
        dataset = f"Dataset{number:03d}_{name}"
        raw, preprocessed = folder / "raw" / dataset, folder / "preprocessed" / dataset
        raw.mkdir(parents=True)
        preprocessed.mkdir(parents=True)
        cases = len(fingerprint["shapes"])
        description = {
            "channel_names": {"0": "CT"},
            "labels": {"background": 0, **{f"organ {label}": label for label in range(1, 14)}},
            "numTraining": cases,
            "file_ending": ".nii.gz",
            "overwrite_image_reader_writer": "SimpleITKIO",
            "dataset": {str(case): {"images": [f"{case}_0000.nii.gz"], "label": "x.nii.gz"} for case in range(cases)},
        }
        (raw / "dataset.json").write_text(json.dumps(description))
        (preprocessed / "dataset_fingerprint.json").write_text(
            json.dumps(
                {
                    "shapes_after_crop": [shape[::-1] for shape in fingerprint["shapes"]],
                    "spacings": [spacing[::-1] for spacing in fingerprint["spacings"]],
                    "foreground_intensity_properties_per_channel": {"0": FOREGROUND},
                    "median_relative_size_after_cropping": 1.0,
                }
            )
        )
    folders = {f"nnUNet_{part}": str(folder / part) for part in ("raw", "preprocessed", "results")}
    program = Path(__file__).with_name("nnunet_reference.py")
    done = subprocess.run(
        [sys.executable, program, folder], env=os.environ | folders, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = sorted((folder / "preprocessed").glob("*/nnUNetPlans.json"))
    return dict(zip(FINGERPRINTS, [json.loads(path.read_text()) for path in found], strict=True))


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_agrees_with_nnunetv2(nnunet_plans, name):
    theirs = nnunet_plans[name]["configurations"]["3d_fullres"]
    network = theirs["architecture"]["arch_kwargs"]
    # nnU-Net's plan has the coarsest axis first: undo that, then (z, y, x) -> (x, y, z).
    to_xyz = np.array(nnunet_plans[name]["transpose_backward"])[::-1]

    ours = make_plan(FINGERPRINTS[name], classes=14)

    assert ours["spacing"] == pytest.approx(np.array(theirs["spacing"])[to_xyz])
    assert ours["patch_size"] == np.array(theirs["patch_size"])[to_xyz].tolist()
    assert ours["strides"] == np.array(network["strides"])[:, to_xyz].tolist()
    assert ours["kernels"] == np.array(network["kernel_sizes"])[:, to_xyz].tolist()
    assert ours["features"] == network["features_per_stage"]
    assert ours["batch_size"] == theirs["batch_size"]
    assert ours["median_shape"] == np.array(theirs["median_image_size_in_voxels"])[to_xyz].tolist()


def test_published_tumor_network():
    # Paper B's tumor network: patch 56 x 112 x 176 as (z, y, x) at about 2.5 x 0.8 x 0.8 mm (papers-spec 3.5).
    plan = make_plan(FINGERPRINTS["flare"], spacing=(0.8, 0.8, 2.5), patch_size=(176, 112, 56))
    assert plan["strides"] == [[1, 1, 1], [2, 2, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]]
    assert plan["kernels"] == [[3, 3, 1], *[[3, 3, 3]] * 4]
    assert plan["features"] == [32, 64, 128, 256, 320]
    assert plan["patch_size"] == [176, 112, 56]


def test_published_organ_network():
    # Paper B's organ network: patch 96 x 160 x 160 as (z, y, x), about isotropic: six stages, kernels all 3.
    plan = make_plan(FINGERPRINTS["isotropic"], spacing=(1.0, 1.0, 1.2), patch_size=(160, 160, 96))
    assert plan["strides"] == [[1, 1, 1], *[[2, 2, 2]] * 4, [2, 2, 1]]
    assert plan["kernels"] == [[3, 3, 3]] * 6
    assert plan["features"] == [32, 64, 128, 256, 320, 320]


def test_paper_a_preset_is_what_the_rules_give_for_its_data():
    # FLARE23's median spacing and shape (papers-spec 1.4): the rules arrive at paper A's 48 x 192 x 192 by themselves.
    data = equal([512, 512, 134], [0.82, 0.82, 2.5], 222)
    automatic, preset = make_plan(data), make_plan(data, preset="paper_a")
    assert preset["patch_size"] == [192, 192, 48]
    assert preset["batch_size"] == 2
    assert automatic == preset


def test_small_machine():
    plan = make_plan(
        FINGERPRINTS["demo"],
        spacing=(5, 5, 5),
        patch_size=(48, 48, 48),
        batch_size=1,
        base_features=12,
        max_features=96,
    )
    assert plan["spacing"] == [5, 5, 5]
    assert plan["features"] == [12, 24, 48, 96]  # 48 -> 24 -> 12 -> 6: three halvings
    assert plan["strides"] == [[1, 1, 1], *[[2, 2, 2]] * 3]
    assert plan["batch_size"] == 1
    assert plan["normalization"] == {"lower": -972.0, "upper": 294.0, "mean": 79.43, "std": 142.0}


def test_max_patch_voxels_bounds_the_patch():
    free = make_plan(FINGERPRINTS["flare"])
    bounded = make_plan(FINGERPRINTS["flare"], max_patch_voxels=300_000)
    assert np.prod(free["patch_size"]) > 300_000 >= np.prod(bounded["patch_size"]) > 100_000


def test_more_memory_gives_a_larger_patch():
    small, large = (np.prod(make_plan(FINGERPRINTS["flare"], gpu_memory_gb=gb)["patch_size"]) for gb in (8, 24))
    assert large > 2 * small


def test_target_spacing_takes_the_finer_decile_of_a_coarse_axis():
    # 11 scans, sorted slices of 3, 4, 5, 5, ... mm: the 10th percentile of 11 is the second.
    spacings = [[0.8, 0.8, z] for z in [3.0, 4.0] + [5.0] * 9]
    assert target_spacing([[512, 512, 100]] * 11, spacings) == pytest.approx([0.8, 0.8, 4.0])
    # With 200 slices 3 x 200 > 512: the axis is not short, so the median stays.
    assert target_spacing([[512, 512, 200]] * 11, spacings) == pytest.approx([0.8, 0.8, 5.0])


def test_target_spacing_keeps_the_coarse_axis_coarsest():
    # The decile, 0.5 mm, is finer than the other axes: it becomes theirs, plus a hair.
    spacings = [[0.8, 0.8, z] for z in [0.5, 0.5] + [5.0] * 9]
    assert target_spacing([[512, 512, 100]] * 11, spacings) == pytest.approx([0.8, 0.8, 0.80001])


def test_feature_map_size_by_hand():
    # Two stages on 4 x 4 x 2. Stage 0: 32 voxels x 3 channels x (2 down + 1 up + 2 joined) = 480. Bottleneck, stride
    # (2, 2, 1): 2 x 2 x 2 = 8 voxels x 5 channels x 2 = 80. Head: 32 voxels x 7 classes = 224.
    assert feature_map_size([4, 4, 2], [[1, 1, 1], [2, 2, 1]], [3, 5], classes=7) == 480 + 80 + 224


def test_topology_of_a_patch_too_small_to_halve():
    net = topology((1.0, 1.0, 1.0), (7, 7, 7))
    assert net.strides == ((1, 1, 1),)
    assert net.kernels == ((3, 3, 3),)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "paper_z"}, "Use one of automatic, paper_a"),
        ({"patch_size": (50, 48, 48)}, r"use \[56, 48, 48\]"),
        ({"patch_size": (48, 48)}, "three positive numbers"),
        ({"spacing": (1.0, 1.0, 0.0)}, "three positive numbers"),
        ({"base_features": 0}, "base_features is 0"),
        ({"gpu_memory_gb": 1e-6}, "raise gpu_memory_gb"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_plan(FINGERPRINTS["tiny"], **arguments)
