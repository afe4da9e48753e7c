"""Windows agree with MONAI's and nnU-Net's inferers; none is visited twice; what no window saw is background."""

from collections import Counter

import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import nn

from abdoseg.inferers.windows import Windows, _Sums, gaussian_weights, slide_windows, stepped_starts
from abdoseg.nnunet.inference import window_starts, window_weights
from abdoseg.transforms.resample import restore_labels

CPU = torch.device("cpu")
SIZE = (8, 6, 10)
# As large as the window, larger, smaller, and every mixture.
SHAPES = [(8, 6, 10), (20, 17, 33), (5, 20, 8), (9, 4, 41), (3, 2, 4)]


class Contextual(nn.Module):
    """A random network of 5 classes whose answer depends on the place in the window."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Sequential(nn.Conv3d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv3d(6, 5, 3, padding=1))

    def forward(self, image):
        return self.body(image)


def windows(overlap=0.5, batch_size=1, nnunet=False, size=SIZE) -> Windows:
    rules = (window_starts, window_weights) if nnunet else (stepped_starts, gaussian_weights)
    return Windows(size, overlap, *rules, batch_size)


def image_of(shape) -> torch.Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("overlap", [0.5, 0.7, 0.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_monai(shape, overlap, batch_size):
    network, image = Contextual(), image_of(shape)
    slide = SlidingWindowInferer(SIZE, batch_size, overlap, mode="gaussian", sigma_scale=0.125)
    with torch.no_grad():
        wanted = slide(image[None], network)[0]
        found = slide_windows(image, network, windows(overlap, batch_size), CPU).whole()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_nnunet(shape, monkeypatch):
    """nnU-Net's own predictor, gathering in single precision."""
    network, image = Contextual(), image_of(shape)
    predictor = nnUNetPredictor(device=CPU, allow_tqdm=False, use_mirroring=False, perform_everything_on_device=False)
    predictor.network = network
    predictor.configuration_manager = type("Configuration", (), {"patch_size": list(SIZE)})
    predictor.label_manager = type("Labels", (), {"num_segmentation_heads": 5})
    monkeypatch.setattr(torch, "half", torch.float32)
    monkeypatch.setattr(
        "nnunetv2.inference.predict_from_raw_data.compute_gaussian", lambda size, **_: window_weights(size)
    )
    wanted = predictor.predict_sliding_window_return_logits(image)
    with torch.no_grad():
        found = slide_windows(image, network, windows(nnunet=True), CPU).whole()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def corners_seen(image, lay: Windows, **options) -> tuple[list[tuple[int, ...]], list[int], torch.Tensor]:
    """Give where windows were, told from an image of voxel numbers, how many came at a time, and the logits."""
    numbers = torch.arange(image.numel(), dtype=torch.float64).reshape(1, *image.shape[1:])
    corners, batches = [], []

    def predictor(batch):
        batches.append(len(batch))
        corners.extend(np.unravel_index(int(window[0, 0, 0, 0]), image.shape[1:]) for window in batch)
        return torch.cat([batch * 0, batch * 0 + 1], dim=1).float()

    logits = slide_windows(numbers, predictor, lay, CPU, **options).whole()
    return [tuple(map(int, corner)) for corner in corners], batches, logits


@pytest.mark.parametrize("nnunet", [True, False])
@pytest.mark.parametrize("overlap", [0.5, 0.9])
def test_no_window_is_visited_twice(nnunet, overlap):
    # Evenly spread and rounded, nnU-Net's windows fall on each other where they overlap a lot.
    for shape in ((8, 6, 10), (11, 8, 13), (8, 13, 30)):
        corners, batches, logits = corners_seen(torch.empty(1, *shape), windows(overlap, 2, nnunet))
        assert max(Counter(corners).values()) == 1
        assert sum(batches) == len(corners)
        assert max(batches) <= 2
        assert logits.shape == (2, *shape)
        torch.testing.assert_close(logits[1], torch.ones(shape))


def test_padding_is_zero_on_both_sides():
    seen = []
    lay = windows(size=(8, 8, 8))
    slide_windows(torch.ones(1, 3, 8, 8), lambda batch: seen.append(batch) or batch, lay, CPU).whole()
    assert [part[0, 0, :, 0, 0].tolist() for part in seen] == [[0, 0, 1, 1, 1, 0, 0, 0]]


def test_windows_without_a_cell_of_the_region_are_not_visited():
    # Windows of 4 at 0, 2, 4, 6, 8 along each axis of 12. Cells of 3 voxels: one of 6..8 along x, 0..2 along y and z.
    region = np.zeros((4, 4, 4), dtype=bool)
    region[2, 0, 0] = True
    lay = windows(size=(4, 4, 4))
    corners, _, logits = corners_seen(torch.empty(1, 12, 12, 12), lay, region=region)
    assert sorted(corners) == [(x, y, z) for x in (4, 6, 8) for y in (0, 2) for z in (0, 2)]
    visited = torch.zeros(12, 12, 12)
    visited[4:, :6, :6] = 1
    assert torch.equal(logits[1], visited)


def test_a_frame_is_covered_and_the_rest_is_background():
    frame = (slice(3, 11), slice(0, 8), slice(5, 14))
    corners, _, logits = corners_seen(torch.empty(1, 13, 9, 20), windows(size=(8, 4, 4)), frame=frame)
    assert {corner[0] for corner in corners} == {3}
    assert {corner[1] for corner in corners} == {0, 2, 4}
    assert {corner[2] for corner in corners} == {5, 7, 9, 10}
    inside = torch.zeros(13, 9, 20)
    inside[frame] = 1
    assert torch.equal(logits[1] > 0, inside > 0)
    assert torch.equal(logits[0], torch.zeros(13, 9, 20))


def test_without_any_window_all_is_background():
    region = np.zeros((2, 2, 2), dtype=bool)
    planes = slide_windows(image_of((9, 9, 12)), Contextual(), windows(), CPU, region=region)
    labels = restore_labels(planes, (5, 9, 14), align_corners=False)
    assert labels.shape == (5, 9, 14)
    assert not labels.any()


def test_planes_do_not_wait_for_the_last_window():
    """Nor does their memory grow with the scan, see the next test."""
    seen = []

    def predictor(batch):
        seen.append(len(batch))
        return batch

    planes = slide_windows(torch.ones(1, 8, 6, 200), predictor, windows(), CPU).planes
    counts = []
    for _ in planes:
        counts.append(len(seen))
    assert counts[0] == 2  # window 0 is complete where window 1 begins
    assert counts[100] < 25
    assert counts[-1] == len(seen) == 39


def test_no_more_planes_are_kept_than_a_window_is_deep():
    kept = []

    def visited():
        for z in range(0, 60, 5):
            yield (0, 0, z), torch.ones(2, *SIZE)
            kept.append(len(sums.open))

    sums = _Sums((8, 6, 65), gaussian_weights(SIZE))
    assert sum(1 for _ in sums.planes(visited())) == 65
    assert kept == [10] * 12
    assert not sums.open


@pytest.mark.parametrize("nearest", [(), (2,), (0,)])
@pytest.mark.parametrize("shape", [(13, 11, 40), (40, 30, 9), (20, 17, 33)])
def test_labels_from_planes_are_those_of_the_whole(shape, nearest):
    image, network = image_of((20, 17, 33)), Contextual()
    with torch.no_grad():
        whole = slide_windows(image, network, windows(), CPU).whole()
        planes = slide_windows(image, network, windows(), CPU)
        found = restore_labels(planes, shape, align_corners=False, nearest_axes=nearest)
    wanted = restore_labels(whole, shape, align_corners=False, nearest_axes=nearest)
    assert len(wanted.unique()) > 2
    # Interpolated in another order of axes: a tie may fall on either side.
    assert (found != wanted).sum() <= 1
