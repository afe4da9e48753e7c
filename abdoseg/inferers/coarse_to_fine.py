"""Inferer of paper A: find the abdomen on a coarse grid of the whole scan, then segment that region on a fine one."""

import logging
import math
from collections.abc import Sequence

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from abdoseg.files import CaseError
from abdoseg.inferers.case import clean_labels, label_batch, student_logits
from abdoseg.inferers.engines import Engine
from abdoseg.networks import unwrap
from abdoseg.transforms.components import ComponentRules
from abdoseg.transforms.geometry import resized_spacing
from abdoseg.transforms.resample import best_channel, restore_labels
from abdoseg.transforms.roi import Box, box_extent_mm, box_on_source, expand_box, foreground_box, whole_box

logger = logging.getLogger(__name__)

LONG_ROI_MM = 400.0


class CoarseToFineInferer(Inferer):
    """Raw volume in, label map out, by two networks in one container.

    The coarse labels, cleaned by components, give a box; the box plus a margin is the region of interest; the fine
    network labels it; what lies outside is background. A scan in which the coarse network finds next to nothing shows
    no abdomen: it is not labeled, because the fine network, stretched over a head, sees organs there. (The paper's code
    fails on an empty mask, papers-spec.md 7.2.) Where the container has no coarse network, or ``abdomen_min_ml`` is 0
    and that finds nothing, the region of interest is the whole volume.

    Parameters
    ----------
    coarse_size, fine_size : grids of the networks, (x, y, z); 160^3 and 192^3 in the paper.
    margin_mm : widening of the box on each side.
    hu_window : (lower, upper) in HU, of the fine network.
    coarse_components : rules for the coarse labels, by default the paper's 1000 mm^3 but every tumor focus that large;
        volumes are true mm^3 on the coarse grid.
    components : rules for the final labels, see `ComponentRules`; None keeps every voxel.
    amp : "auto", True or False, see `abdoseg.inferers.precision.takes_half`.
    coarse_hu_window : (lower, upper) in HU, of the coarse network; None: ``hu_window``.
    engine : runs the networks; None: PyTorch in the precision of ``amp``.
    abdomen_min_ml : least volume in mL of all that the coarse network finds, cleaned, in a scan that is labeled.

    Raises
    ------
    CaseError
        If ``abdomen_min_ml`` is no volume.
    """

    def __init__(
        self,
        coarse_size: Sequence[int] = (160, 160, 160),
        fine_size: Sequence[int] = (192, 192, 192),
        margin_mm: float = 20.0,
        hu_window: Sequence[float] = (-325.0, 325.0),
        coarse_components: ComponentRules | None = ComponentRules(1000.0, 1000.0),  # noqa: B008 (frozen)
        components: ComponentRules | None = ComponentRules(),  # noqa: B008 (frozen)
        amp: bool | str = "auto",
        coarse_hu_window: Sequence[float] | None = None,
        engine: Engine | None = None,
        abdomen_min_ml: float = 0.0,
    ) -> None:
        super().__init__()
        if not (isinstance(abdomen_min_ml, int | float) and abdomen_min_ml >= 0):
            raise CaseError(f"abdomen_min_ml is {abdomen_min_ml}; give a volume in mL, 0 or more.")
        self.abdomen_min_ml = abdomen_min_ml
        self.coarse_size = tuple(int(n) for n in coarse_size)
        self.fine_size = tuple(int(n) for n in fine_size)
        self.margin_mm = margin_mm
        self.hu_window = tuple(hu_window)
        self.coarse_hu_window = tuple(hu_window if coarse_hu_window is None else coarse_hu_window)
        self.coarse_components = coarse_components
        self.components = components
        self.engine = engine or Engine("torch", amp)

    def __call__(self, inputs: MetaTensor, network: torch.nn.Module, *args, **kwargs) -> MetaTensor:
        """Label a batch.

        Parameters
        ----------
        inputs : (B, 1, x, y, z) MetaTensor in RAS, HU.
        network : `abdoseg.networks.CoarseToFineNetwork`, possibly wrapped by DistributedDataParallel; in eval mode.

        Returns
        -------
        (B, 1, x, y, z) uint8 MetaTensor on the grid of ``inputs``.
        """
        container = unwrap(network)

        def label_case(volume: torch.Tensor, spacing, name: str, labels: torch.Tensor) -> None:
            box = self.region_of_interest(volume, spacing, container.coarse, name)
            if box is None:
                return
            crop = volume[(slice(None), *box)]
            logits = student_logits(crop, container.fine, self.fine_size, self.hu_window, self.engine)
            found = restore_labels(logits, crop.shape[1:])
            del logits
            labels[box] = clean_labels(found, spacing, self.components)

        return label_batch(inputs, label_case)

    def region_of_interest(
        self, volume: torch.Tensor, spacing, coarse: torch.nn.Module | None, name: str
    ) -> Box | None:
        """Give the box of the scan that the fine network sees, None where there is no abdomen.

        Parameters
        ----------
        volume : (1, x, y, z), HU.
        spacing : (3,) mm.
        coarse : coarse network, or None.
        name : file of the scan, for the log.
        """
        shape = volume.shape[1:]
        if coarse is None:
            return whole_box(shape)
        logits = student_logits(volume, coarse, self.coarse_size, self.coarse_hu_window, self.engine)
        coarse_spacing = resized_spacing(spacing, shape, self.coarse_size)
        labels = clean_labels(best_channel(logits[None])[0], coarse_spacing, self.coarse_components)
        found_ml = labels.count_nonzero().item() * math.prod(coarse_spacing) / 1000
        if found_ml < self.abdomen_min_ml:
            told = name, found_ml, self.abdomen_min_ml
            logger.warning(
                "%s: the coarse network finds %.1f mL of organs, less than %g: no abdomen, nothing is labeled. "
                "abdomen_min_ml 0 labels such scans too.",
                *told,
            )
            return None
        found = foreground_box(labels)
        if found is None:
            logger.warning("%s: the coarse network found nothing; the whole volume is segmented.", name)
            return whole_box(shape)
        box = expand_box(box_on_source(found, self.coarse_size, shape), self.margin_mm, spacing, shape)
        length = box_extent_mm(box, spacing)[2]
        told = name, "x".join(str(side.stop - side.start) for side in box), length
        logger.info("%s: the region of interest has %s voxels (x, y, z) and is %.0f mm long.", *told)
        if length > LONG_ROI_MM:
            logger.info("%s: that is long; an abdomen seldom exceeds 400 mm.", name)
        return box
