"""Windows, weights and crop of nnU-Net, and scans that are stored the other way round."""

import numpy as np
import pytest
import torch
from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window

from abdoseg.inferers import PlanInferer, mirrored_logits
from abdoseg.nnunet.inference import label_as_nnunet, nonzero_box, window_starts, window_weights
from tests.inferers.stand_ins import ras_scan

RESAMPLING = {"image": {"order": 3, "order_z": 0}, "logits": {"order": 1, "order_z": 0}}
PLAN = {
    "spacing": [2.0, 2.0, 2.0],
    "patch_size": [8, 8, 8],
    "normalization": {"lower": -1000.0, "upper": 1000.0, "mean": 0.0, "std": 1.0},
    "imported": {"orientation": "RAS", "mirror_axes": [], "class_ids": [0, 2, 13], "resampling": RESAMPLING},
}


def imported(**changes) -> dict:
    return {**PLAN, "imported": {**PLAN["imported"], **changes}}


@pytest.mark.parametrize("overlap", [0.5, 0.25])
@pytest.mark.parametrize(("length", "window"), [(8, 8), (9, 8), (40, 16), (41, 16), (47, 24), (100, 32), (33, 10)])
def test_windows_are_nnunets(length, window, overlap):
    wanted = compute_steps_for_sliding_window((length,), (window,), 1 - overlap)[0]
    assert window_starts(length, window, overlap) == wanted


@pytest.mark.parametrize("window", [(8, 8, 8), (16, 9, 4)])
def test_weights_are_nnunets(window):
    wanted = compute_gaussian(window, sigma_scale=1 / 8, dtype=torch.float32, device=torch.device("cpu"))
    torch.testing.assert_close(window_weights(window), wanted, rtol=1e-4, atol=1e-12)
    assert window_weights(window).min() > 0


def test_box_of_what_is_not_zero():
    volume = torch.zeros(6, 7, 8)
    assert nonzero_box(volume) == (slice(0, 6), slice(0, 7), slice(0, 8))
    volume[1, 2, 3] = volume[4, 2, 5] = -1
    assert nonzero_box(volume) == (slice(1, 5), slice(2, 3), slice(3, 6))


def test_padded_slices_are_background_and_channels_become_our_classes():
    volume = torch.full((1, 6, 6, 6), 50.0)
    volume[:, 3:] = 100
    volume[..., :2] = 0

    def logits_of(image, _scan):
        assert image.shape == (1, 6, 6, 4)
        return torch.cat([image * 0, 75 - image, image - 75])  # channel 1 below 75 HU, channel 2 above

    labels = label_as_nnunet(volume, (2, 2, 2), PLAN, logits_of)

    assert labels.dtype == torch.uint8
    assert labels[..., :2].unique().tolist() == [0]
    assert labels[:3, :, 2:].unique().tolist() == [2]
    assert labels[3:, :, 2:].unique().tolist() == [13]


@pytest.mark.parametrize(("orientation", "reverse"), [("RAS", []), ("LPS", [0, 1]), ("LAS", [0]), ("PSR", [1])])
def test_the_network_sees_the_scan_as_it_was_trained(orientation, reverse):
    volume = torch.arange(1.0, 61).reshape(1, 3, 4, 5)
    seen = []

    def logits_of(image, _scan):
        seen.append(image)
        return torch.cat([image * 0, image - 20, image - 30.5])

    labels = label_as_nnunet(volume, (2, 2, 2), imported(orientation=orientation), logits_of)

    torch.testing.assert_close(seen[0], volume.flip([axis + 1 for axis in reverse]))
    # Whatever way it was turned, the labels lie where the voxels lie: 2 above 20 HU; 13 never wins.
    assert torch.equal(labels, torch.where(volume[0] > 20, 2, 0).to(torch.uint8))


class Sided(torch.nn.Module):
    """Three channels that depend on the side."""

    def forward(self, image):
        ramp = torch.arange(image.shape[2], dtype=torch.float32).reshape(-1, 1, 1) * torch.ones_like(image)
        return torch.cat([image, ramp, image * 0], dim=1)


def test_mirrored_passes_keep_the_sides_and_only_the_axes_that_were_trained():
    image = torch.randn(1, 1, 6, 5, 4, generator=torch.Generator().manual_seed(0))
    network = Sided()
    expected = (network(image) + network(image.flip(2)).flip(2)) / 2
    torch.testing.assert_close(mirrored_logits(image, network, ["left-right"], swap_sides=False), expected)
    axes = ["left-right", "posterior-anterior", "inferior-superior"]
    trained = PlanInferer(imported(mirror_axes=["inferior-superior"]), mirror_axes=axes)
    assert trained.mirror_axes == ("inferior-superior",)
    assert PlanInferer(imported(), mirror_axes=axes).mirror_axes == ()


def test_the_inferer_follows_an_imported_plan():
    volume = np.full((10, 12, 9), 50, dtype=np.float32)
    volume[5:] = 100
    volume[..., :3] = 0

    class Thirds(torch.nn.Module):
        def forward(self, image):
            return torch.cat([image * 0, 75 - image, image - 75], dim=1)

    labels = PlanInferer(PLAN, components=None, amp=False)(ras_scan(volume, (2, 2, 2)), Thirds())[0, 0]

    assert labels[..., :3].unique().tolist() == [0]
    assert labels[:5, :, 3:].unique().tolist() == [2]
    assert labels[5:, :, 3:].unique().tolist() == [13]
