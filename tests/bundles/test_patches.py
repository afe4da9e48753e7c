"""What the patches of the plans' trainings show: the scan up to its border, image and label in the same place."""

import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import CenterSpatialCropd, Compose

from abdoseg.augmentation import spatial_ranges
from tests.bundles.tiny import NETWORK_BUNDLES, TINY_PLAN, raw

PATCHES = [bundle for bundle in NETWORK_BUNDLES if bundle.name in ("teacher_nnunet", "tumor_cascade")]


def steps_of(bundle, name, **settings):
    """Transforms of a list in train.yaml, or the one of it that is called ``name``, with other settings."""
    plan = {**TINY_PLAN, "classes": 2}
    train = raw(bundle, "train")["train"]
    if name in train:
        config = {"steps": train[name], "plan": plan, "spatial": spatial_ranges(plan), "foreground_share": 0.333}
        return Compose(ConfigParser(config).get_parsed_content("steps"))
    (step,) = (step for step in train["random_transforms"] if step["_target_"] == name)
    return ConfigParser({"step": {**step, **settings}}).get_parsed_content("step")


@pytest.mark.parametrize("bundle", PATCHES, ids=lambda bundle: bundle.name)
def test_patches_reach_the_border_of_a_scan(bundle):
    length = 30  # more than the crop of 25 around a patch of 16
    place = torch.arange(length**3).reshape(1, length, length, length)
    crop = steps_of(bundle, "crop_transforms").set_random_state(0)
    middle = CenterSpatialCropd("image", TINY_PLAN["patch_size"])
    seen = torch.zeros(length**3, dtype=torch.bool)
    for _ in range(60):
        (patch,) = crop({"image": place + 1, "label": (place == 0).to(torch.uint8)})
        shown = middle(patch)["image"].as_tensor()
        assert shown.min() > 0, "padding in the patch"
        seen[shown.flatten() - 1] = True
    seen = seen.reshape(length, length, length)
    assert seen[[0, -1]].any(dim=(1, 2)).all()
    assert seen[:, [0, -1]].any(dim=(0, 2)).all()
    assert seen[:, :, [0, -1]].any(dim=(0, 1)).all()


@pytest.mark.parametrize("bundle", PATCHES, ids=lambda bundle: bundle.name)
def test_low_resolution_leaves_the_image_in_its_place(bundle):
    ramp = torch.arange(64.0).reshape(1, 64, 1, 1).expand(1, 64, 4, 4)
    coarse = steps_of(bundle, "RandSimulateLowResolutiond", prob=1).set_random_state(0)
    moved = [(coarse({"image": ramp})["image"].as_tensor() - ramp)[:, 8:-8].mean() for _ in range(20)]
    assert abs(sum(moved) / len(moved)) < 0.1  # voxels


def test_a_zoom_keeps_image_and_label_together():
    (bundle,) = (bundle for bundle in NETWORK_BUNDLES if bundle.name == "fine_seg")
    ramp = torch.arange(64.0).reshape(1, 64, 1, 1).expand(1, 64, 8, 8)
    zoom = steps_of(bundle, "RandZoomd", prob=1).set_random_state(0)
    for _ in range(10):
        zoomed = zoom({"image": ramp, "label": ramp})
        apart = (zoomed["image"] - zoomed["label"])[:, 12:-12, 3:5, 3:5].as_tensor()
        assert abs(apart.mean()) < 0.1  # voxels
