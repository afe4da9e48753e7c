"""Inferer that shrinks the whole scan to the network's grid: the coarse stage on its own."""

from collections.abc import Sequence

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from abdoseg.inferers.case import clean_labels, label_batch, student_logits
from abdoseg.inferers.engines import Engine
from abdoseg.transforms.components import ComponentRules
from abdoseg.transforms.resample import restore_labels


class WholeVolumeInferer(Inferer):
    """Raw volume in, label map out: resize, window, standardize, network, labels on the scan's grid, components.

    Parameters
    ----------
    image_size : grid of the network, (x, y, z); the paper's coarse stage has 160^3.
    hu_window : (lower, upper) in HU.
    components : rules for the label map; None keeps every voxel.
    amp : "auto", True or False, see `abdoseg.inferers.precision.takes_half`.
    engine : runs the network; None: PyTorch in the precision of ``amp``.
    """

    def __init__(
        self,
        image_size: Sequence[int],
        hu_window: Sequence[float] = (-325.0, 325.0),
        components: ComponentRules | None = ComponentRules(),  # noqa: B008 (frozen)
        amp: bool | str = "auto",
        engine: Engine | None = None,
    ) -> None:
        super().__init__()
        self.image_size = tuple(int(n) for n in image_size)
        self.hu_window = tuple(hu_window)
        self.components = components
        self.engine = engine or Engine("torch", amp)

    def __call__(self, inputs: MetaTensor, network: torch.nn.Module, *args, **kwargs) -> MetaTensor:
        """Label a batch.

        Parameters
        ----------
        inputs : (B, 1, x, y, z) MetaTensor in RAS, HU, each case of any spacing.
        network : (1, 1, *image_size) -> logits (1, C, *image_size), channel 0 is background; in eval mode.

        Returns
        -------
        (B, 1, x, y, z) uint8 MetaTensor on the grid of ``inputs``.
        """

        def label_case(volume: torch.Tensor, spacing, _name: str, labels: torch.Tensor) -> None:
            logits = student_logits(volume, network, self.image_size, self.hu_window, self.engine)
            labels[:] = clean_labels(restore_labels(logits, volume.shape[1:]), spacing, self.components)

        return label_batch(inputs, label_case)
