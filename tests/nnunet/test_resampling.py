"""nnU-Net's resampling as matrices: the numbers of the nnunetv2 package."""

import numpy as np
import pytest
import torch
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape, resample_data_or_seg_to_shape

from abdoseg.nnunet import resampling
from abdoseg.nnunet.resampling import labels_at, resample_image, resampled_shape, separate_axis

IMAGE = {"order": 3, "order_z": 0, "force_separate_z": None}
LOGITS = {"order": 1, "order_z": 0, "force_separate_z": None}
# Shape, spacing, wanted spacing (mm), and the axis that goes apart.
GRIDS = {
    "thick slices": ((20, 17, 6), (0.8, 0.8, 5.0), (1.5, 1.5, 1.5), 2),
    "isotropic": ((20, 17, 15), (0.8, 0.9, 1.0), (1.5, 1.5, 1.5), None),
    "larger": ((9, 8, 7), (3.0, 3.0, 3.0), (1.5, 2.0, 2.0), None),
    "first axis": ((8, 20, 18), (5.0, 0.7, 0.7), (3.0, 1.0, 1.2), 0),
    "second axis": ((16, 7, 20), (1.0, 6.0, 1.0), (1.0, 3.0, 0.7), 1),
    "thick plan": ((12, 12, 9), (1.0, 1.0, 1.0), (0.5, 0.5, 4.0), 2),
    "two thick axes": ((12, 6, 6), (0.7, 4.0, 4.0), (1.0, 3.0, 3.0), None),
    "one voxel": ((5, 1, 4), (1.0, 1.0, 1.0), (0.6, 0.5, 1.4), None),
    "one slice left": ((6, 7, 2), (0.8, 0.8, 2.5), (0.8, 0.9, 5.0), 2),
    "nothing to do": ((5, 6, 7), (1.0, 2.0, 3.0), (1.0, 2.0, 3.0), None),
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("order_z", [0, 1])
def test_images_and_labels_are_nnunets(grid, order_z):
    shape, spacing, target, apart = GRIDS[grid]
    random = np.random.default_rng(1)
    image = random.normal(size=(1, *shape)).astype(np.float32)
    wanted_shape = compute_new_shape(shape, spacing, target)
    logits = random.normal(size=(4, *wanted_shape)).astype(np.float32)
    image_settings, logit_settings = {**IMAGE, "order_z": order_z}, {**LOGITS, "order_z": order_z}
    wanted = resample_data_or_seg_to_shape(image, wanted_shape, spacing, target, **image_settings)
    channels = resample_data_or_seg_to_shape(logits, shape, target, spacing, **logit_settings).argmax(0)

    found = resample_image(torch.from_numpy(image), spacing, target, image_settings)
    labels = labels_at(torch.from_numpy(logits), shape, spacing, target, logit_settings)

    assert separate_axis(spacing, target, image_settings) == apart
    assert resampled_shape(shape, spacing, target) == tuple(wanted_shape)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-5)
    assert np.array_equal(labels.numpy(), channels)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_stored_scan_is_resampled_in_parts(grid, monkeypatch):
    shape, spacing, target, _ = GRIDS[grid]
    stored = torch.from_numpy(np.random.default_rng(1).integers(-1024, 3071, (1, *shape), dtype=np.int16))

    def clip(part):
        parts.append(part.numel())
        return part.float().clamp(-900, 900) / 100

    parts = []
    wanted = resample_image(clip(stored), spacing, target, IMAGE)
    monkeypatch.setattr(resampling, "PART_VOXELS", 1)
    parts.clear()
    found = resample_image(stored, spacing, target, IMAGE, before=clip)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert found.dtype == torch.float32
    assert sum(parts) == stored.numel()
    assert grid == "nothing to do" or max(parts) <= stored.numel() / min(shape)


def test_what_the_plans_force():
    shape, spacing, target, _ = GRIDS["thick slices"]
    image = np.random.default_rng(2).normal(size=(1, *shape)).astype(np.float32)
    for force in (True, False):
        settings = {**IMAGE, "force_separate_z": force}
        wanted = resample_data_or_seg_to_shape(
            image, compute_new_shape(shape, spacing, target), spacing, target, **settings
        )
        np.testing.assert_allclose(
            resample_image(torch.from_numpy(image), spacing, target, settings).numpy(), wanted, rtol=0, atol=1e-5
        )
    assert separate_axis(spacing, target, {**IMAGE, "force_separate_z": False}) is None
    assert separate_axis(spacing, target, {**IMAGE, "separate_z_anisotropy_threshold": 7}) is None
