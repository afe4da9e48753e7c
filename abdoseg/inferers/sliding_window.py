"""Inferer of the teacher: nnU-Net's Gaussian sliding window at the plan's spacing, with mirrored augmentation."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from abdoseg.inferers.case import clean_labels, label_batch
from abdoseg.inferers.center_first import CenterFirst
from abdoseg.inferers.engines import Engine, device_of
from abdoseg.inferers.regions import Region, body_region, frame_of
from abdoseg.inferers.windows import Windows, every_window, gaussian_weights, slide_windows, stepped_starts
from abdoseg.nnunet.inference import IMPORTED, label_as_nnunet, window_starts, window_weights
from abdoseg.transforms.components import ComponentRules
from abdoseg.transforms.flip import FLIP_AXES, flip_image, flip_logits
from abdoseg.transforms.logit_planes import LogitPlanes
from abdoseg.transforms.resample import check_resize_mode, restore_labels
from abdoseg.transforms.teacher import image_at_plan

SKIPS = ("air", "body", "nothing")


def mirrored_logits(
    image: torch.Tensor, network, axes: Sequence[str], swap_sides: bool = True, batch_size: int = 1
) -> torch.Tensor:
    """Average a network's logits over all combinations of mirrored axes, 2^n passes, as nnU-Net does.

    Parameters
    ----------
    image : (B, 1, x, y, z) in RAS.
    network : image -> logits (B, C, x, y, z), channel number = class id.
    axes : names from `FLIP_AXES`. In a "left-right" pass the left and right channels are exchanged back, which fits
        networks trained with `RandAnatomicalFlipd`; nnU-Net itself exchanges them neither in training nor here.
    swap_sides : False leaves the channels where they are, for networks that nnU-Net has trained.
    batch_size : images that the network takes at a time; fewer than B are not: where B is less, several mirrored passes
        share one.

    Returns
    -------
    (B, C, x, y, z) float32.
    """
    flips = [flip for count in range(len(axes) + 1) for flip in combinations(axes, count)]
    together = max(1, batch_size // len(image))
    total = None
    for first in range(0, len(flips), together):
        part = flips[first : first + together]
        views = network(torch.cat([_mirrored(image, flip, flip_image) for flip in part])).float().split(len(image))
        for flip, logits in zip(part, views, strict=True):
            logits = _mirrored(logits, flip, flip_logits if swap_sides else flip_image)
            total = logits if total is None else total + logits
    return total if len(flips) == 1 else total.div_(len(flips))


def _mirrored(values: torch.Tensor, axes: Sequence[str], flip) -> torch.Tensor:
    for axis in axes:
        values = flip(values, axis)
    return values


class PlanInferer(Inferer):
    """Raw volume in, label map out, by a plan's network.

    Normalize and resample to the plan's spacing, slide the patch, average the logits, labels on the scan's grid,
    components. Volumes smaller than the patch are padded with the training set's mean.

    A plan that was imported from nnU-Net (`abdoseg.nnunet`) is followed to the letter, see `label_as_nnunet`: scans as
    its network has seen them, and no sides exchanged.

    Parameters
    ----------
    plan : dictionary with ``spacing`` (mm), ``patch_size`` (voxels), both (x, y, z), and ``normalization`` (HU). Where
        it has ``mirror_axes``, its network was trained with scans mirrored along these alone, and no others are taken.
    overlap : of neighboring windows, 0.5 in nnU-Net.
    mirror_axes : test-time augmentation: names from `abdoseg.transforms.FLIP_AXES`; all three double the time thrice.
    components : rules for the label map; the default keeps the largest component of each organ; None: every voxel.
    window_size : (x, y, z) voxels; None: the plan's patch. Larger windows overlap less, where there is memory for them.
    window_batch_size : windows at a time; mirrored passes fill up where fewer are left.
    logits_device : where the logits of the whole volume gather, "cpu" for scans too long for the GPU; None: the
        network's device.
    amp : "auto", True or False, see `abdoseg.inferers.precision.takes_half`.
    image_mode : how the image is resampled to the plan's spacing: "trilinear", or "area" as in paper B; the one that
        the network was trained with, see `PrepareTeacherd`. An imported plan has its own rule.
    engine : runs the network; None: PyTorch in the precision of ``amp``.
    skip : "air": windows without a part of the body, see `body_region`, are not visited, the others stay as they are;
        "body": windows cover the box of the body alone, so that there are fewer, in other places; "nothing": all are
        visited. Or a `CenterFirst`, within the box of the body. With "body" an imported plan is not followed to the
        letter.

    Raises
    ------
    ValueError
        For an unknown axis, mode or skip, an overlap that is no share, a window that the network's strides do not
        divide, and for a `CenterFirst` with an imported plan, whose channels are not ours.
    """

    def __init__(
        self,
        plan: Mapping,
        overlap: float = 0.5,
        mirror_axes: Sequence[str] = (),
        components: ComponentRules | None = ComponentRules(),  # noqa: B008 (frozen)
        window_size: Sequence[int] | None = None,
        window_batch_size: int = 1,
        logits_device: str | None = None,
        amp: bool | str = "auto",
        image_mode: str = "trilinear",
        engine: Engine | None = None,
        skip: str | CenterFirst = "air",
    ) -> None:
        super().__init__()
        unknown = [axis for axis in mirror_axes if axis not in FLIP_AXES]
        if unknown:
            raise ValueError(f"Unknown mirror axis '{unknown[0]}'. Use one of {', '.join(map(repr, FLIP_AXES))}.")
        self.plan = plan
        self.image_mode = check_resize_mode(image_mode)
        imported = plan.get(IMPORTED)
        learned = (imported or plan).get("mirror_axes", mirror_axes)
        self.mirror_axes = tuple(axis for axis in mirror_axes if axis in learned)
        self.components = components
        self.logits_device = logits_device
        self.engine = engine or Engine("torch", amp)
        if skip not in SKIPS and not isinstance(skip, CenterFirst):
            raise ValueError(f"Unknown skip '{skip}'. Use one of {', '.join(map(repr, SKIPS))}, or a CenterFirst.")
        if imported and isinstance(skip, CenterFirst):
            raise ValueError("A plan that was imported from nnU-Net takes no CenterFirst. Use 'air' or 'body'.")
        self.skip = skip
        if not 0 <= overlap < 1:
            raise ValueError(f"The overlap of windows is {overlap}; use a share of a window, from 0 to below 1.")
        size = tuple(int(n) for n in window_size or plan["patch_size"])
        divisors = [math.prod(steps) for steps in zip(*plan.get("strides", [(1, 1, 1)]), strict=True)]
        if any(n % divisor for n, divisor in zip(size, divisors, strict=True)):
            raise ValueError(f"The network takes no window of {list(size)} voxels; use multiples of {divisors}.")
        self.windows = Windows(
            size=size,
            overlap=overlap,
            starts=window_starts if imported else stepped_starts,
            weights=window_weights if imported else gaussian_weights,
            batch_size=window_batch_size,
        )

    def __call__(self, inputs: MetaTensor, network: torch.nn.Module, *args, **kwargs) -> MetaTensor:
        """Label a batch.

        Parameters
        ----------
        inputs : (B, 1, x, y, z) MetaTensor in RAS, HU.
        network : patches (b, 1, *patch_size) -> logits (b, C, *patch_size), channel number = class id; in eval mode.

        Returns
        -------
        (B, 1, x, y, z) uint8 MetaTensor on the grid of ``inputs``.
        """

        def label_case(volume: torch.Tensor, spacing, _name: str, labels: torch.Tensor) -> None:
            labels[:] = clean_labels(self.label(volume, spacing, network), spacing, self.components)

        return label_batch(inputs, label_case)

    @torch.no_grad()
    def label(
        self, volume: torch.Tensor, spacing, network: torch.nn.Module, region: Region | None = None
    ) -> torch.Tensor:
        """Label one volume, all components.

        Parameters
        ----------
        volume : (1, x, y, z), HU, RAS.
        spacing : (3,) mm.
        network : see `__call__`.
        region : where windows are worth a look, over ``volume``; None: the body. An imported plan has the body's.

        Returns
        -------
        (x, y, z) uint8 on the grid of ``volume``.
        """
        if IMPORTED in self.plan:
            return label_as_nnunet(
                volume, spacing, self.plan, lambda image, scan: self._slide(image, network, self._body(scan, spacing))
            )
        planes = self._planes(volume, spacing, network, region)
        return restore_labels(planes, volume.shape[1:], align_corners=False)

    @torch.no_grad()
    def logits(self, volume: torch.Tensor, spacing, network: torch.nn.Module) -> torch.Tensor:
        """Give the (C, x, y, z) float32 logits of a (1, x, y, z) volume, HU, on the plan's grid."""
        return self._planes(volume, spacing, network).whole()

    def _planes(self, volume: torch.Tensor, spacing, network, region: Region | None = None) -> LogitPlanes:
        """Logits of a raw volume, by a plan of ours."""
        if region is None or self.skip == "nothing":
            region = self._body(volume, spacing)
        return self._slide(image_at_plan(volume, spacing, self.plan, self.image_mode), network, region)

    def _body(self, volume: torch.Tensor, spacing) -> Region | None:
        return None if self.skip == "nothing" else body_region(volume, spacing)

    def _slide(self, image: torch.Tensor, network: torch.nn.Module, region: Region | None) -> LogitPlanes:
        """Logits of a normalized image (1, x, y, z) at the plan's spacing; ``region`` lies over the image."""
        imported = IMPORTED in self.plan
        device = device_of(network, image.device)
        image = image.to(device if self.logits_device is None else self.logits_device)

        def predictor(windows: torch.Tensor) -> torch.Tensor:
            return mirrored_logits(
                windows,
                lambda images: self.engine(network, images),
                self.mirror_axes,
                swap_sides=not imported,
                batch_size=self.windows.batch_size,
            )

        frame = None
        if region is not None and self.skip != "air":
            frame = frame_of(region, image.shape[1:], self.windows.size)
        visit = self.skip if isinstance(self.skip, CenterFirst) else every_window
        return slide_windows(image, predictor, self.windows, device, frame, region, visit)
