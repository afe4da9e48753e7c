"""Synthesis as MONAI transforms: an anatomy becomes a random CT with its label; a real CT gets another contrast."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import RandomizableTransform

from abdoseg.labels import ORGAN_IDS
from abdoseg.synthesis.anatomy import Anatomy
from abdoseg.synthesis.case import apply, draw
from abdoseg.synthesis.contrast import draw_contrast
from abdoseg.synthesis.frame import VIEWS
from abdoseg.synthesis.recontrast import recontrast


class Clock(Protocol):
    """Tells how far a training has come, 0..1."""

    progress: float


class RandSynthesized(RandomizableTransform):
    """Render a random synthetic CT from an anatomy.

    Parameters
    ----------
    view, spacing, margin_mm : of the frame, see `abdoseg.synthesis.draw_frame`; "patch" needs the spacing in mm.
    size : voxels (x, y, z).
    stages : pairs of a progress and a factor: until that progress the voxels are so many times as large and the image
        has so many times fewer along each axis, at a fraction of the cost of a step.
    clock : tells the progress; None: it is 1.
    multiple : sizes of the stages are multiples of it, as the network's strides demand.
    tumor_share : share of the scans that have tumors.
    tumor_class : True: the label has tumors as 14; False: they belong to the organ that they grew from, for a network
        of organs alone.
    unscanned_hu : HU beyond the ends of a scan that is shorter than the image, as an inferer pads it; None: scans are
        never shorter.
    anatomy_key, image_key, label_key : keys of the `Anatomy` that goes in and the tensors that come out.

    Returns
    -------
    A dictionary with image (1, x, y, z) float32 in HU, and label (1, x, y, z) uint8, plain tensors in RAS.

    Raises
    ------
    ValueError
        For an unknown view, or a patch without spacing.
    """

    def __init__(
        self,
        view: str,
        size: Sequence[int],
        spacing: Sequence[float] | None = None,
        stages: Sequence[tuple[float, float]] = (),
        clock: Clock | None = None,
        multiple: int = 16,
        tumor_share: float = 0.6,
        tumor_class: bool = True,
        margin_mm: float = 20.0,
        unscanned_hu: float | None = None,
        anatomy_key: str = "anatomy",
        image_key: str = "image",
        label_key: str = "label",
    ) -> None:
        super().__init__(prob=1.0)
        if view not in VIEWS:
            raise ValueError(f"Unknown view {view!r}. Use one of {', '.join(map(repr, VIEWS))}.")
        if view == "patch" and spacing is None:
            raise ValueError("A patch needs a spacing; give three numbers in mm.")
        self.view, self.spacing, self.margin_mm = view, spacing, margin_mm
        self.size = tuple(int(n) for n in size)
        self.stages = sorted((float(until), float(factor)) for until, factor in stages)
        self.clock = clock
        self.multiple = int(multiple)
        self.tumor_share, self.tumor_class = tumor_share, tumor_class
        self.unscanned_hu = unscanned_hu
        self.anatomy_key, self.image_key, self.label_key = anatomy_key, image_key, label_key

    def grid(self, progress: float) -> tuple[tuple[int, ...], tuple[float, ...] | None]:
        """Give size (voxels) and spacing (mm; None where the view decides) at a progress of 0..1."""
        factor = next((factor for until, factor in self.stages if progress < until), 1.0)
        if factor == 1.0:
            return self.size, self.spacing and tuple(self.spacing)
        least = min(2 * self.multiple, *self.size)
        size = tuple(max(least, round(n / factor / self.multiple) * self.multiple) for n in self.size)
        if self.spacing is None:
            return size, None
        return size, tuple(s * n / m for s, n, m in zip(self.spacing, self.size, size, strict=True))

    def __call__(self, data: Mapping[Hashable, Anatomy]) -> dict[Hashable, torch.Tensor]:
        """Render a scan of the anatomy."""
        anatomy = data[self.anatomy_key]
        rng = np.random.default_rng(self.R.randint(2**32, size=4, dtype=np.uint32))
        size, spacing = self.grid(1.0 if self.clock is None else self.clock.progress)
        parameters = draw(
            rng,
            anatomy,
            self.view,
            size,
            spacing,
            tumor_share=self.tumor_share,
            margin_mm=self.margin_mm,
            unscanned_hu=self.unscanned_hu,
        )
        case = apply(anatomy, parameters)
        label = case.label if self.tumor_class else case.organs
        return {self.image_key: torch.from_numpy(case.image)[None], self.label_key: torch.from_numpy(label)[None]}


class RandRecontrastd(RandomizableTransform):
    """Give the drawn organs of a real CT the HU of another contrast phase; the rest of the scan stays as it is.

    An augmentation of strong cases, for instance where all of them are portal venous and plain scans are to be labeled.
    It belongs before the intensities are normalized.

    Parameters
    ----------
    image_key, label_key : keys of (1, x, y, z) tensors: HU, and labels 0..14.
    prob : share of the cases that are changed.
    organs : ids that may change; by default those of which `abdoseg.synthesis.contrast` knows a mean.
    """

    def __init__(
        self,
        image_key: str = "image",
        label_key: str = "label",
        prob: float = 0.3,
        organs: Sequence[int] = ORGAN_IDS,
    ) -> None:
        super().__init__(prob=prob)
        self.image_key, self.label_key = image_key, label_key
        self.organs = tuple(organs)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Change one case, or hand it on."""
        self.randomize(None)
        result = dict(data)
        if not self._do_transform:
            return result
        contrast = draw_contrast(np.random.default_rng(self.R.randint(2**32, size=4, dtype=np.uint32)))
        image, label = result[self.image_key], result[self.label_key]
        changed = recontrast(
            torch.as_tensor(image)[0].numpy(), torch.as_tensor(label)[0].numpy(), contrast, self.organs
        )
        tensor = torch.from_numpy(changed)[None]
        result[self.image_key] = MetaTensor(tensor, meta=image.meta) if isinstance(image, MetaTensor) else tensor
        return result
