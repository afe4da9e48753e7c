"""Resizing agrees with PyTorch and SciPy; labels restored slab by slab agree with the full interpolation."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from scipy.ndimage import zoom
from torch.utils._python_dispatch import TorchDispatchMode

from abdoseg.transforms import resample
from abdoseg.transforms.resample import best_channel, linear_taps, resize_labels, resize_volume, restore_labels


def test_resize_volume_by_hand():
    line = torch.tensor([0.0, 10.0, 20.0]).reshape(1, 3, 1, 1)
    # Aligned corners: positions 0, 0.5, 1, 1.5, 2. Aligned edges, 3 -> 6: positions -0.25 (clamped), 0.25, 0.75, ...
    assert resize_volume(line, (5, 1, 1)).flatten().tolist() == [0, 5, 10, 15, 20]
    halves = resize_volume(line, (6, 1, 1), align_corners=False).flatten()
    torch.testing.assert_close(halves, torch.tensor([0, 2.5, 7.5, 12.5, 17.5, 20]))


def test_resize_volume_takes_batches_and_integers():
    volume = torch.arange(24, dtype=torch.int16).reshape(1, 2, 3, 4)
    resized = resize_volume(volume, (3, 3, 3))
    assert resized.dtype == torch.float32
    torch.testing.assert_close(resize_volume(volume[None], (3, 3, 3))[0], resized)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1, [20]),
        (2, [5, 35]),
        (3, [5, 15, 35]),  # they reach over 0..1.33, 1.33..2.67 and 2.67..4: two source voxels each
        (4, [0, 10, 20, 50]),
        (5, [0, 5, 15, 35, 50]),
        (8, [0, 0, 10, 10, 20, 20, 50, 50]),
    ],
)
def test_area_mode_by_hand(size, expected, align_corners):
    line = torch.tensor([0, 10, 20, 50], dtype=torch.int16).reshape(1, 1, 4, 1)
    assert resize_volume(line, (1, size, 1), align_corners, "area").flatten().tolist() == expected


@pytest.mark.parametrize("size", [(3, 4, 2), (7, 9, 5), (14, 3, 10), (1, 1, 1)])
def test_area_mode_is_the_mean_of_the_voxels_touched(size):
    volume = np.random.default_rng(0).normal(size=(7, 9, 5)).astype(np.float32)
    expected = np.empty(size)
    for index in np.ndindex(size):
        # In whole numbers: voxel i of m reaches from i * n / m to (i + 1) * n / m.
        touched = [slice(i * n // m, -(-(i + 1) * n // m)) for i, n, m in zip(index, volume.shape, size, strict=True)]
        expected[index] = volume[tuple(touched)].mean()
    found = resize_volume(torch.from_numpy(volume)[None], size, mode="area")[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("slab_bytes", [1, 1 << 22])
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("size", [(7, 4, 3), (2, 11, 9), (1, 6, 1), (5, 6, 7)])
def test_trilinear_is_the_default(size, align_corners, slab_bytes, monkeypatch):
    monkeypatch.setitem(resample.SLAB_BYTES, "cpu", slab_bytes)
    batch = 100 * torch.randn(2, 3, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(batch, size=size, mode="trilinear", align_corners=align_corners)
    torch.testing.assert_close(resize_volume(batch, size, align_corners), expected, rtol=1e-5, atol=1e-4)
    if size != (5, 6, 7):
        assert not torch.allclose(resize_volume(batch, size, align_corners, "area"), expected)


@pytest.mark.parametrize("mode", ["trilinear", "area"])
def test_stored_integers_are_resized_as_their_floats(mode):
    volume = torch.randint(-1024, 3071, (1, 9, 40, 30), generator=torch.Generator().manual_seed(0), dtype=torch.int16)
    expected = resize_volume(volume.float(), (6, 19, 33), mode=mode)
    assert torch.equal(resize_volume(volume, (6, 19, 33), mode=mode), expected)
    # The order in memory does not matter either.
    turned = volume.permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1)
    assert torch.equal(resize_volume(turned, (6, 19, 33), mode=mode), expected)


@pytest.mark.parametrize("mode", ["trilinear", "area"])
def test_intensities_are_changed_before_they_are_interpolated(mode):
    line = torch.tensor([-50, 100, 900], dtype=torch.int16).reshape(1, 1, 3, 1)
    resized = resize_volume(line, (1, 5, 1), mode=mode, before=lambda part: part.clamp(0, 200))
    clipped = torch.tensor([0.0, 100.0, 200.0]).reshape(1, 1, 3, 1)
    assert torch.equal(resized, resize_volume(clipped, (1, 5, 1), mode=mode))


def test_unknown_mode_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'nearest'.*'trilinear', 'area'"):
        resize_volume(torch.zeros(1, 2, 2, 2), (1, 1, 1), mode="nearest")


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(("source", "target"), [(5, 9), (9, 5), (1, 4), (4, 1), (7, 7)])
def test_linear_taps_are_the_rule_of_interpolate(source, target, align_corners):
    line = torch.rand(source, generator=torch.Generator().manual_seed(0))
    lower, upper, weight = linear_taps(source, target, align_corners)
    expected = F.interpolate(line[None, None], size=target, mode="linear", align_corners=align_corners)[0, 0]
    torch.testing.assert_close(torch.lerp(line[lower], line[upper], weight), expected)


def per_class_zoom(labels: np.ndarray, size) -> np.ndarray:
    """Paper A's rule, class after class over full-size masks."""
    result = np.zeros(size, dtype=np.uint8)
    factors = [m / n for m, n in zip(size, labels.shape, strict=True)]
    for value in range(1, 15):
        mask = zoom((labels == value).astype(np.float64), factors, order=1)
        result[mask > 0.5] = value
    return result


@pytest.mark.parametrize("size", [(7, 6, 5), (19, 23, 14), (11, 13, 3)])
def test_resize_labels_is_the_linear_zoom_of_each_mask(size):
    generator = np.random.default_rng(3)
    blocks = generator.integers(0, 15, (4, 5, 3)).astype(np.uint8)
    labels = np.kron(blocks, np.ones((3, 3, 3), dtype=np.uint8))[:11, :13, :9]
    resized = resize_labels(torch.from_numpy(labels)[None], size)[0].numpy()
    expected = per_class_zoom(labels, size)
    # SciPy weighs in float64, we in float32: masks of exactly 0.5 may fall on either side.
    differs = resized != expected
    assert differs.mean() < 0.01
    assert expected.any()
    nudged = [zoom((labels == value).astype(float), np.array(size) / labels.shape, order=1) for value in range(1, 15)]
    assert np.isclose(np.stack(nudged).max(0)[differs], 0.5, atol=1e-5).all()


def test_resize_labels_never_invents_an_id():
    # Between 0 and 13 a linear resize of the ids would pass through every organ.
    labels = torch.zeros(1, 4, 4, 4)
    labels[:, 2:] = 13
    assert resize_labels(labels, (9, 9, 9)).unique().tolist() == [0, 13]
    assert resize_labels(labels, (9, 9, 9)).dtype == torch.uint8


def test_resize_labels_by_hand():
    # 3 voxels to 4: positions 0, 2/3, 4/3, 2. Voxel 1 is 1/3 of class 2 and 2/3 of class 5.
    labels = torch.tensor([2, 5, 0], dtype=torch.uint8).reshape(3, 1, 1)
    assert resize_labels(labels, (4, 1, 1)).flatten().tolist() == [2, 5, 5, 0]
    # Aligned edges, 2 to 4: positions 0, 0.25, 0.75, 1.
    labels = torch.tensor([2, 5], dtype=torch.uint8).reshape(2, 1, 1)
    assert resize_labels(labels, (4, 1, 1), align_corners=False).flatten().tolist() == [2, 2, 5, 5]


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        ([1, 1, 1, 14, 14, 14, 14, 2], [1, 14, 14, 14]),
        ([2, 14, 14, 14, 14, 1, 1, 1], [14, 14, 14, 1]),
        ([0, 0, 0, 1, 1, 1, 1, 0], [0, 0, 1, 0]),  # one half of background is background
    ],
)
def test_organs_that_touch_still_do_where_slices_are_halved(slices, expected):
    # Along x and y the weights are none that float32 holds exactly.
    labels = torch.tensor(slices, dtype=torch.uint8).expand(5, 7, 8)
    resized = resize_labels(labels, (3, 11, 4), align_corners=False)
    assert (resized == torch.tensor(expected)).all()


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(
    ("grid", "shape"),
    [
        ((6, 7, 8), (15, 9, 21)),
        ((9, 8, 7), (5, 4, 3)),
        ((6, 6, 6), (4, 17, 1)),
        ((5, 1, 6), (9, 1, 11)),
        ((1, 4, 4), (3, 8, 8)),
    ],
)
def test_restored_labels_are_the_argmax_of_the_full_interpolation(grid, shape, align_corners):
    logits = torch.randn(15, *grid, generator=torch.Generator().manual_seed(1))
    full = F.interpolate(logits[None], size=shape, mode="trilinear", align_corners=align_corners)[0]
    restored = restore_labels(logits, shape, align_corners)
    assert restored.dtype == torch.uint8
    differs = restored != full.argmax(0)
    best, second = full.topk(2, dim=0).values
    assert (best - second)[differs].le(1e-5).all()
    assert differs.sum() <= 1


def smooth_logits(classes: int, grid, blobs: int) -> torch.Tensor:
    """Logits (C, x, y, z) as a network gives them: each class a few round blobs, the first the rest."""
    generator = torch.Generator().manual_seed(4)
    axes = torch.meshgrid(*(torch.linspace(0, 1, n) for n in grid), indexing="ij")
    logits = torch.zeros(classes, *grid)
    logits[0] = 1
    for index in range(1, classes):
        for _ in range(blobs):
            center = torch.rand(3, generator=generator)
            distance = sum((axis - middle) ** 2 for axis, middle in zip(axes, center, strict=True)).sqrt()
            logits[index] = torch.maximum(logits[index], 5 - 40 * distance)
    return logits + 0.1 * torch.randn(logits.shape, generator=generator)


@pytest.mark.parametrize("nearest", [(), (0,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("align_corners", [True, False])
def test_a_million_restored_labels_differ_by_one_at_most(align_corners, nearest):
    logits, shape = smooth_logits(6, (30, 26, 22), 5), (120, 101, 90)
    full = logits.double()
    for axis in range(3):  # the plain way: one axis after the other, on the whole array
        if axis in nearest:
            index = ((torch.arange(shape[axis]) + 0.5) * full.shape[axis + 1] / shape[axis]).long()
            full = full.index_select(axis + 1, index)
        else:
            size = [shape[axis] if other == axis else full.shape[other + 1] for other in range(3)]
            full = F.interpolate(full[None], size=size, mode="trilinear", align_corners=align_corners)[0]
    restored = restore_labels(logits, shape, align_corners, nearest)
    assert len(restored.unique()) == 6
    assert (restored != full.argmax(0)).sum() <= 1


def test_a_class_that_wins_only_between_the_corners():
    # At x = 0 class 1 wins, at x = 2 class 3; in between both fall below class 2.
    logits = torch.tensor([[0, 0], [10, -10], [9, 9], [-10, 10]], dtype=torch.float32).reshape(4, 2, 1, 1)
    assert restore_labels(logits, (5, 1, 1)).flatten().tolist() == [1, 2, 2, 2, 3]


class LargestFloats(TorchDispatchMode):
    """Remembers the bytes of the largest floating-point array that is made."""

    nbytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                self.nbytes = max(self.nbytes, tensor.untyped_storage().nbytes())
        return made


def test_restored_labels_need_no_memory_of_classes():
    # 14 classes at 160 x 200 x 240 would take 430 MB as float32.
    logits, shape = smooth_logits(14, (24, 24, 24), 3), (160, 200, 240)
    with LargestFloats() as largest:
        restore_labels(logits, shape)
    assert logits.nbytes <= largest.nbytes <= resample.SLAB_BYTES["cpu"] < 430e6 / 100


def test_a_resized_scan_is_never_floating_point_as_a_whole():
    volume = torch.zeros(1, 300, 200, 100, dtype=torch.int16)
    with LargestFloats() as largest:
        resize_volume(volume, (16, 16, 16))
    assert largest.nbytes <= resample.SLAB_BYTES["cpu"] < 4 * volume.numel() / 5


def test_restored_labels_of_half_precision_are_interpolated_in_float32():
    logits = torch.randn(4, 5, 5, 5, generator=torch.Generator().manual_seed(2)).half()
    assert torch.equal(restore_labels(logits, (9, 9, 9)), restore_labels(logits.float(), (9, 9, 9)))


def test_restore_labels_refuses_a_batch():
    with pytest.raises(ValueError, match=r"must be \(C, x, y, z\)"):
        restore_labels(torch.zeros(1, 2, 3, 3, 3), (3, 3, 3))


def test_best_channel_takes_the_lower_at_a_tie():
    planes = torch.randint(0, 4, (3, 9, 8, 7), generator=torch.Generator().manual_seed(0)).float()
    first = torch.from_numpy(planes.numpy().argmax(axis=1))  # NumPy promises the first maximum
    assert torch.equal(best_channel(planes), first.to(torch.uint8))
