"""The plan inferer: exact on known scans, and mirrored augmentation that knows left from right."""

import numpy as np
import pytest
import torch
from torch import nn

from abdoseg.inferers import PlanInferer, mirrored_logits
from abdoseg.transforms import FLIP_AXES, flip_image, flip_labels, flip_logits, image_at_plan
from tests.inferers.stand_ins import Thresholds, blocks, ras_scan

PLAN = {
    "spacing": [2.0, 2.0, 2.0],
    "patch_size": [16, 16, 16],
    "normalization": {"lower": -300.0, "upper": 300.0, "mean": 0.0, "std": 100.0},
}
KIDNEY = ((slice(4, 14), slice(6, 16), slice(5, 15)), 300.0)
# Above 150 HU.
RIGHT_KIDNEY = [(2, 1.5)]


class Lopsided(nn.Module):
    """A random network of 14 classes with context, so that it is not equivariant to mirroring by itself."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.body = nn.Sequential(nn.Conv3d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv3d(6, 14, 3, padding=1))

    def forward(self, image):
        return self.body(image)


@pytest.mark.parametrize("shape", [(24, 30, 20), (9, 30, 5)], ids=["several windows", "smaller than the patch"])
def test_at_the_plans_spacing_every_voxel_is_right(shape):
    volume = blocks(shape, [KIDNEY])
    labels = PlanInferer(PLAN, amp=False)(ras_scan(volume, (2, 2, 2)), Thresholds(RIGHT_KIDNEY))[0, 0].numpy()
    assert np.array_equal(labels, 2 * (volume > 0))


def test_a_window_of_the_whole_volume_is_one_pass():
    """Weights and border effects of windows are gone: the logits are the network's own."""
    volume = torch.randn(1, 20, 24, 28, generator=torch.Generator().manual_seed(0))
    network = Lopsided()
    logits = PlanInferer(PLAN, window_size=(20, 24, 28), amp=False).logits(volume, (2, 2, 2), network)
    torch.testing.assert_close(logits, network(volume[None] / 100)[0].detach())
    assert not torch.allclose(PlanInferer(PLAN, amp=False).logits(volume, (2, 2, 2), network), logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 50}, r"overlap of windows is 50; use a share of a window, from 0 to below 1"),
        ({"overlap": 1}, "overlap of windows is 1"),
        ({"overlap": -0.5}, "overlap of windows is -0.5"),
        ({"window_size": (16, 18, 16)}, r"no window of \[16, 18, 16\] voxels; use multiples of \[2, 4, 1\]"),
    ],
)
def test_windows_that_no_network_takes_are_refused(options, message):
    plan = {**PLAN, "strides": [[1, 1, 1], [2, 2, 1], [1, 2, 1]]}
    with pytest.raises(ValueError, match=message):
        PlanInferer(plan, **options)


def test_other_spacings_blur_the_borders_only():
    volume = blocks((32, 40, 10), [((slice(8, 24), slice(12, 32), slice(3, 7)), 300.0)])
    labels = PlanInferer(PLAN, amp=False)(ras_scan(volume, (1, 1, 4)), Thresholds(RIGHT_KIDNEY))[0, 0].numpy()
    wanted = volume > 0
    found = labels == 2
    assert 2 * (wanted & found).sum() / (wanted.sum() + found.sum()) > 0.85
    assert found[10:22, 14:30, 4:6].all()


def test_labels_return_by_the_way_the_image_came():
    # 16 voxels of 0.5 mm become 4 of 2 mm, the block becomes exactly the first of them. On the way back, with edges
    # aligned, voxel 3 lies at 0.375 and voxel 4 at 0.625 of the way to its neighbor; with corners aligned voxel 3 would
    # lie at 0.6 and be lost.
    volume = blocks((16, 16, 16), [((slice(0, 4), slice(None), slice(None)), 300.0)])
    labels = PlanInferer(PLAN, amp=False)(ras_scan(volume, (0.5, 2, 2)), Thresholds([(2, 0.0)]))[0, 0].numpy()
    assert np.array_equal(labels, 2 * (volume > 0))


def test_grid_is_the_plans():
    volume = torch.zeros(1, 32, 40, 10)
    logits = PlanInferer(PLAN, amp=False).logits(volume, (1, 1, 4), Lopsided())
    assert logits.shape == (14, 16, 20, 20)
    assert logits.dtype == torch.float32


def test_without_mirroring_the_network_is_called_once():
    image = torch.randn(1, 1, 5, 5, 5, generator=torch.Generator().manual_seed(0))
    network = Lopsided()
    torch.testing.assert_close(mirrored_logits(image, network, ()), network(image))


def test_one_mirrored_axis_is_the_mean_of_two_passes():
    image = torch.randn(1, 1, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    network = Lopsided()
    second = network(image.flip(2)).flip(2)
    order = [0, 1, 13, 3, 4, 5, 6, 8, 7, 9, 10, 11, 12, 2]
    expected = (network(image) + second[:, order]) / 2
    torch.testing.assert_close(mirrored_logits(image, network, ("left-right",)), expected)


@pytest.mark.parametrize(("images", "batch_size", "sizes"), [(1, 1, [1] * 8), (1, 3, [3, 3, 2]), (2, 5, [4] * 4)])
def test_mirrored_passes_share_a_batch(images, batch_size, sizes):
    image = torch.randn(images, 1, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    network, seen = Lopsided(), []
    network.register_forward_pre_hook(lambda _, batch: seen.append(len(batch[0])))
    found = mirrored_logits(image, network, tuple(FLIP_AXES), batch_size=batch_size)
    assert seen == sizes
    torch.testing.assert_close(found, mirrored_logits(image, network, tuple(FLIP_AXES)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axis", FLIP_AXES)
def test_mirrored_augmentation_is_equivariant(axis):
    image = torch.randn(1, 1, 6, 5, 4, generator=torch.Generator().manual_seed(0))
    network = Lopsided()
    straight = mirrored_logits(image, network, tuple(FLIP_AXES))
    mirrored = mirrored_logits(flip_image(image, axis), network, tuple(FLIP_AXES))
    torch.testing.assert_close(mirrored, flip_logits(straight, axis))
    assert not torch.allclose(network(flip_image(image, axis)), flip_logits(network(image), axis), atol=1e-3)


def test_mirrored_body_gives_mirrored_labels_with_sides_swapped():
    generator = np.random.default_rng(0)
    # 24 voxels are covered by windows at 0 and 8, the same from both ends.
    volume = generator.normal(0, 150, (24, 24, 16)).astype(np.float32)
    infer = PlanInferer(PLAN, mirror_axes=("left-right",), components=None, amp=False)
    network = Lopsided()
    straight = infer(ras_scan(volume, (2, 2, 2)), network)
    mirrored = infer(ras_scan(volume[::-1].copy(), (2, 2, 2)), network)
    differs = mirrored.as_tensor() != flip_labels(straight.as_tensor(), "left-right")
    assert differs.float().mean() < 1e-3
    assert {2, 13} <= set(straight.unique().tolist())


def test_a_network_that_was_trained_unmirrored_sees_no_mirrored_scan():
    axes = ["left-right", "inferior-superior"]
    assert PlanInferer(PLAN, mirror_axes=axes).mirror_axes == tuple(axes)
    assert PlanInferer({**PLAN, "mirror_axes": ["inferior-superior"]}, mirror_axes=axes).mirror_axes == (axes[1],)
    assert PlanInferer({**PLAN, "mirror_axes": []}, mirror_axes=axes).mirror_axes == ()


def test_largest_component_is_kept_unless_switched_off():
    volume = blocks((24, 30, 20), [KIDNEY, ((slice(18, 20), slice(22, 24), slice(2, 4)), 300.0)])
    scan = ras_scan(volume, (2, 2, 2))
    assert (PlanInferer(PLAN, amp=False)(scan, Thresholds(RIGHT_KIDNEY)) == 2).sum() == 1000
    assert (PlanInferer(PLAN, components=None, amp=False)(scan, Thresholds(RIGHT_KIDNEY)) == 2).sum() == 1008


class Organs(Thresholds):
    """Spleen above 150 HU, liver above 50 HU; remembers how many windows it saw."""

    def __init__(self) -> None:
        super().__init__([(1, 0.5), (3, 1.5)])
        self.windows = 0

    def forward(self, image):
        self.windows += len(image)
        return super().forward(image)


@pytest.mark.parametrize("spacing", [(2, 2, 2), (1.3, 2.2, 5)])
@pytest.mark.parametrize("mirror_axes", [(), ("left-right",)])
def test_windows_in_air_are_not_visited_and_change_no_label(spacing, mirror_axes):
    # A trunk of fat, 40 x 40 mm in air of 160 x 120 mm, with an organ to its surface; small windows of 32 mm.
    shape = tuple(round(edge / step) for edge, step in zip((160, 120, 80), spacing, strict=True))
    place = [
        tuple(slice(round(a / d), round(b / d)) for (a, b), d in zip(sides, spacing, strict=True))
        for sides in (((60, 100), (40, 80), (0, 80)), ((62, 72), (42, 60), (20, 50)), ((80, 100), (60, 80), (40, 60)))
    ]
    volume = blocks(shape, zip(place, (-100.0, 80.0, 300.0), strict=True), background=-1000.0)
    labels, windows = {}, {}
    for skip in ("nothing", "air", "body"):
        network = Organs()
        infer = PlanInferer(PLAN, amp=False, skip=skip, mirror_axes=mirror_axes)
        labels[skip] = infer(ras_scan(volume, spacing), network)
        windows[skip] = network.windows
    assert labels["nothing"].unique().tolist() == [0, 1, 3]
    # The network sees one voxel at a time, so that windows in other places say the same.
    assert torch.equal(labels["air"], labels["nothing"])
    assert torch.equal(labels["body"], labels["nothing"])
    assert windows["body"] < windows["air"] < windows["nothing"]


def test_a_region_says_where_windows_are_worth_a_look():
    volume = torch.from_numpy(blocks((48, 24, 24), [(np.index_exp[2:8], 300.0), (np.index_exp[40:46], 300.0)]))[None]
    region = np.zeros((6, 1, 1), dtype=bool)
    region[0] = True
    network = Thresholds(RIGHT_KIDNEY)
    found = PlanInferer(PLAN, amp=False).label(volume, (2, 2, 2), network, region)
    assert (found[2:8] == 2).all()
    assert not found[8:].any()
    everything = PlanInferer(PLAN, amp=False, skip="nothing").label(volume, (2, 2, 2), network, region)
    assert (everything[40:46] == 2).all()


def test_area_mode_reaches_the_network():
    volume = torch.randn(1, 30, 24, 28, generator=torch.Generator().manual_seed(0)) * 100
    network, spacing = Lopsided(), (1.3, 2, 2)  # 39 mm: 20 voxels
    found = {
        mode: PlanInferer(PLAN, window_size=(20, 24, 28), amp=False, image_mode=mode).logits(volume, spacing, network)
        for mode in ("area", "trilinear")
    }
    for mode, logits in found.items():
        seen = image_at_plan(volume, spacing, PLAN, mode)
        torch.testing.assert_close(logits, network(seen[None])[0].detach())
    assert not torch.allclose(found["area"], found["trilinear"])
    default = PlanInferer(PLAN, window_size=(20, 24, 28), amp=False).logits(volume, spacing, network)
    assert torch.equal(default, found["trilinear"])


def test_unknown_mode_is_refused():
    with pytest.raises(ValueError, match=r"'nearest'.*'trilinear', 'area'"):
        PlanInferer(PLAN, image_mode="nearest")


def test_unknown_axis_is_refused():
    with pytest.raises(ValueError, match=r"'x'.*'left-right'"):
        PlanInferer(PLAN, mirror_axes=("x",))
