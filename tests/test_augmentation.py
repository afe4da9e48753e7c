"""Tests of the spatial ranges, by hand, against nnunetv2, and through the MONAI transforms that they are made for."""

import numpy as np
import pytest
import torch
from monai.transforms import CenterSpatialCropd, Compose, RandRotated, RandZoomd
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size

from abdoseg.augmentation import spatial_ranges

CUBE = {"patch_size": [48, 48, 48], "spacing": [5.0, 5.0, 5.0]}
PAPER_A = {"patch_size": [192, 192, 48], "spacing": [0.8, 0.8, 2.5]}


def chain(plan, prob=1.0, seed=0):
    """Zoom, turn and cut the patch as the teacher's training does."""
    ranges = spatial_ranges(plan)
    zoom = {name: ranges[name] for name in ("min_zoom", "max_zoom")}
    turn = {name: ranges[name] for name in ("range_x", "range_y", "range_z")}
    keys = ["image", "label"]
    steps = Compose(
        [
            RandZoomd(keys, prob=prob, **zoom, mode=["trilinear", "nearest-exact"], padding_mode=["edge", "constant"]),
            RandRotated(keys, prob=prob, **turn, mode=["bilinear", "nearest"], padding_mode=["border", "zeros"]),
            CenterSpatialCropd(keys, roi_size=plan["patch_size"]),
        ]
    )
    return steps.set_random_state(seed)


def test_cube_by_hand():
    ranges = spatial_ranges(CUBE)
    # 48 x (cos 30 + sin 30) = 65.6, divided by the scale 0.85: 77.1
    assert ranges["crop_size"] == [77, 77, 77]
    assert [ranges[f"range_{axis}"] for axis in "xyz"] == pytest.approx([np.pi / 6] * 3)
    assert ranges["min_zoom"] == [0.7]
    assert ranges["max_zoom"] == [1.4]


def test_flat_patch_turns_in_its_plane():
    ranges = spatial_ranges(PAPER_A)
    # 192 > 3 x 48: half a turn about z only; 192 / 0.85 = 225.9.
    assert ranges["crop_size"] == [225, 225, 48]
    assert [ranges[f"range_{axis}"] for axis in "xyz"] == pytest.approx([0, 0, np.pi])
    assert ranges["min_zoom"] == [0.7, 1.0]
    assert ranges["max_zoom"] == [1.4, 1.0]


def test_flat_patch_of_coronal_slices():
    ranges = spatial_ranges({"patch_size": [192, 40, 160], "spacing": [1.0, 4.0, 1.0]})
    assert [ranges[f"range_{axis}"] for axis in "xyz"] == pytest.approx([0, np.pi, 0])
    assert ranges["min_zoom"] == [0.7, 1.0, 0.7]
    assert ranges["crop_size"] == [225, 40, 225]  # a quarter turn exchanges 192 and 160


def test_thin_patch_of_a_fine_axis_is_not_flat():
    # The coarsest axis is x; that z is thin does not make slices of the patch.
    ranges = spatial_ranges({"patch_size": [96, 160, 40], "spacing": [1.5, 1.0, 1.0]})
    assert ranges["range_x"] == ranges["range_z"] == pytest.approx(np.pi / 6)


@pytest.mark.parametrize("patch", [[48, 48, 48], [160, 160, 96], [128, 112, 160]])
def test_leaves_at_least_the_room_of_nnunetv2(patch):
    # nnU-Net follows one corner of the patch, here all count, so the room may be larger; for a cube it is the same.
    # A cube of the longest edge bounds it.
    angle = np.pi / 6
    theirs = get_patch_size(patch[::-1], angle, angle, angle, (0.85, 1.25))[::-1]
    ours = np.array(spatial_ranges({"patch_size": patch, "spacing": [1.0, 1.0, 1.0]})["crop_size"])
    assert (ours >= theirs).all()
    assert ours.max() <= max(patch) * (np.cos(angle) + np.sin(angle)) / 0.85


def test_a_turned_patch_holds_no_padding():
    data = {"image": torch.ones(1, 77, 77, 77), "label": torch.ones(1, 77, 77, 77)}
    turn = RandRotated("label", prob=1, range_x=(np.pi / 6,) * 2, mode="nearest", padding_mode="zeros")
    cut = CenterSpatialCropd("label", CUBE["patch_size"])
    assert cut(turn(data))["label"].min() == 1
    small = {"label": data["label"][:, :48, :48, :48]}  # what the room is for: without it corners are missing
    assert turn(small)["label"].min() == 0


def test_flat_patch_keeps_its_slices():
    # Each slice along z holds its own number: half turns and zooms in the plane leave it there.
    plan = {"patch_size": [32, 32, 8], "spacing": [1.0, 1.0, 4.0]}
    x, y, z = spatial_ranges(plan)["crop_size"]
    slices = torch.arange(1.0, z + 1).expand(1, x, y, z)
    for seed in range(5):
        turned = chain(plan, seed=seed)({"image": slices.clone(), "label": slices.clone()})
        middle = turned["image"][0, 12:20, 12:20]
        assert torch.allclose(middle, torch.arange(1.0, 9).expand_as(middle), atol=1e-3)
        assert set(turned["label"].unique().tolist()) <= set(range(9))


def test_image_and_label_stay_together():
    # Two half spaces, 0 and 13, in image and label: after turning and zooming, every voxel that the image gives
    # clearly to one of them has that label.
    side = spatial_ranges(CUBE)["crop_size"][0]
    label = torch.zeros(1, side, side, side)
    label[:, : side // 2] = 13
    moved = 0
    for seed in range(3):
        turned = chain(CUBE, seed=seed)({"image": label.clone(), "label": label.clone()})
        assert turned["label"].shape == (1, 48, 48, 48)
        assert set(turned["label"].unique().tolist()) == {0, 13}
        clear = (turned["image"] < 1) | (turned["image"] > 12)
        agreement = ((turned["image"] > 6.5) == (turned["label"] == 13))[clear].float().mean()
        assert agreement > 0.99
        still = label[:, 14 : 14 + 48, 14 : 14 + 48, 14 : 14 + 48]
        moved += int((turned["label"] != still).sum())
    assert moved > 1000


def test_nothing_drawn_is_the_middle():
    image = torch.rand(1, 77, 77, 77)
    kept = chain(CUBE, prob=0)({"image": image, "label": (image > 0.5).to(torch.uint8)})
    assert torch.equal(kept["image"].as_tensor(), image[:, 14:62, 14:62, 14:62])
