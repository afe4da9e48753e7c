"""Inferer of the teacher: nnU-Net's Gaussian sliding window at the plan's spacing, with mirrored augmentation."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer, SlidingWindowInferer

from abdoseg.inferers.case import clean_labels, label_batch
from abdoseg.inferers.engines import Engine, device_of
from abdoseg.nnunet.inference import IMPORTED, label_as_nnunet, slide_windows
from abdoseg.transforms.components import ComponentRules
from abdoseg.transforms.flip import FLIP_AXES, flip_image, flip_logits
from abdoseg.transforms.resample import check_resize_mode, restore_labels
from abdoseg.transforms.teacher import image_at_plan


def mirrored_logits(image: torch.Tensor, network, axes: Sequence[str], swap_sides: bool = True) -> torch.Tensor:
    """Average a network's logits over all combinations of mirrored axes, 2^n passes, as nnU-Net does.

    Parameters
    ----------
    image : (B, 1, x, y, z) in RAS.
    network : image -> logits (B, C, x, y, z), channel number = class id.
    axes : names from `FLIP_AXES`. In a "left-right" pass the left and right channels are exchanged back, which fits
        networks trained with `RandAnatomicalFlipd`; nnU-Net itself exchanges them neither in training nor here.
    swap_sides : False leaves the channels where they are, for networks that nnU-Net has trained.

    Returns
    -------
    (B, C, x, y, z) float32.
    """
    flips = [flip for count in range(len(axes) + 1) for flip in combinations(axes, count)]
    total = None
    for flip in flips:
        mirrored = image
        for axis in flip:
            mirrored = flip_image(mirrored, axis)
        logits = network(mirrored).float()
        for axis in flip:
            logits = flip_logits(logits, axis) if swap_sides else flip_image(logits, axis)
        total = logits if total is None else total + logits
    return total / len(flips)


class PlanInferer(Inferer):
    """Raw volume in, label map out, by a plan's network.

    Normalize and resample to the plan's spacing, slide the patch, average the logits, labels on the scan's grid,
    components. Volumes smaller than the patch are padded with the training set's mean.

    A plan that was imported from nnU-Net (`abdoseg.nnunet`) is followed to the letter, see `label_as_nnunet`: scans as
    its network has seen them, mirrored along no axis that it was not trained with, and no sides exchanged.

    Parameters
    ----------
    plan : dictionary with ``spacing`` (mm), ``patch_size`` (voxels), both (x, y, z), and ``normalization`` (HU).
    overlap : of neighboring windows, 0.5 in nnU-Net.
    mirror_axes : test-time augmentation: names from `abdoseg.transforms.FLIP_AXES`; all three double the time thrice.
    components : rules for the label map; the default keeps the largest component of each organ; None: every voxel.
    window_size : (x, y, z) voxels; None: the plan's patch. Larger windows overlap less, where there is memory for them.
    window_batch_size : windows at a time.
    logits_device : where the logits of the whole volume gather, "cpu" for scans too long for the GPU; None: the
        network's device.
    amp : "auto", True or False, see `abdoseg.inferers.precision.autocast_for`.
    progress : show a bar over the windows.
    image_mode : how the image is resampled to the plan's spacing: "trilinear", or "area" as in paper B; the one that
        the network was trained with, see `PrepareTeacherd`. An imported plan has its own rule.
    engine : runs the network; None: PyTorch in the precision of ``amp``.

    Raises
    ------
    ValueError
        For an unknown axis or mode.
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
        progress: bool = False,
        image_mode: str = "trilinear",
        engine: Engine | None = None,
    ) -> None:
        super().__init__()
        unknown = [axis for axis in mirror_axes if axis not in FLIP_AXES]
        if unknown:
            raise ValueError(f"Unknown mirror axis '{unknown[0]}'. Use one of {', '.join(map(repr, FLIP_AXES))}.")
        self.plan = plan
        self.image_mode = check_resize_mode(image_mode)
        imported = plan.get(IMPORTED)
        self.mirror_axes = tuple(axis for axis in mirror_axes if not imported or axis in imported["mirror_axes"])
        self.components = components
        self.logits_device = logits_device
        self.engine = engine or Engine("torch", amp)
        self.window = {
            "roi_size": tuple(int(n) for n in window_size or plan["patch_size"]),
            "sw_batch_size": window_batch_size,
            "overlap": overlap,
            "mode": "gaussian",
            "sigma_scale": 0.125,
            "padding_mode": "constant",
            "cval": 0.0,
            "progress": progress,
        }

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
            if IMPORTED in self.plan:
                found = label_as_nnunet(volume, spacing, self.plan, lambda image: self._slide(image, network))
            else:
                logits = self.logits(volume, spacing, network)
                found = restore_labels(logits, volume.shape[1:], align_corners=False)
            labels[:] = clean_labels(found, spacing, self.components)

        return label_batch(inputs, label_case)

    def logits(self, volume: torch.Tensor, spacing, network: torch.nn.Module) -> torch.Tensor:
        """Give the (C, x, y, z) float32 logits of a (1, x, y, z) volume, HU, on the plan's grid."""
        return self._slide(image_at_plan(volume, spacing, self.plan, self.image_mode), network)

    def _slide(self, image: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
        """Logits (C, x, y, z) of a normalized image (1, x, y, z) at the plan's spacing."""
        imported = IMPORTED in self.plan
        device = device_of(network, image.device)
        gathered_on = device if self.logits_device is None else torch.device(self.logits_device)

        def predictor(windows: torch.Tensor) -> torch.Tensor:
            return mirrored_logits(
                windows, lambda images: self.engine(network, images), self.mirror_axes, swap_sides=not imported
            )

        image = image.to(gathered_on)
        if imported:
            window = self.window
            return slide_windows(
                image, predictor, window["roi_size"], window["overlap"], window["sw_batch_size"], device
            )
        slide = SlidingWindowInferer(**self.window, sw_device=device, device=gathered_on)
        return slide(image[None], predictor)[0]
