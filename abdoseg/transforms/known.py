"""Flags of the classes that are known in a case, for losses that leave the others out."""

import logging
from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.transforms import Transform

from abdoseg.datalist import known_classes
from abdoseg.labels import CLASS_IDS, NAMES

logger = logging.getLogger(__name__)


class KnownClassesd(Transform):
    """Write down as a tensor which classes are known in a case, before all that its datalist tells is dropped.

    The flags go through caches and collate into batches; ``RandAnatomicalFlipd`` exchanges those of left and right, and
    ``abdoseg.partial_labels.prepare_batch`` hands them to the loss.

    A class that no training case knows could only be learned as anything at all. It counts as known and absent in every
    case, with a warning.

    Parameters
    ----------
    cases : all training cases, entries of a datalist or plain dictionaries.
    classes : ids of the network's channels, in their order, without background.
    mask_unknown : False calls every class known: what nobody drew is background, as in the papers.
    known_key : where the flags are written.

    Returns
    -------
    The dictionary with (1 + number of classes,) bool, background (always known) first; see
    `abdoseg.datalist.known_classes`.
    """

    def __init__(
        self,
        cases: Sequence[Mapping],
        classes: Sequence[int] = CLASS_IDS,
        mask_unknown: bool = True,
        known_key: str = "known",
    ) -> None:
        self.classes = tuple(classes)
        self.mask_unknown = mask_unknown
        self.known_key = known_key
        known = {c for case in cases for c in known_classes(case)}
        self.never_known = tuple(c for c in self.classes if c not in known)
        if mask_unknown and self.never_known:
            names = ", ".join(NAMES[c] for c in self.never_known)
            logger.warning("No training case tells of %s; learned as absent.", names)

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Write the flags of one case."""
        known = {*known_classes(data), *self.never_known}
        flags = [not self.mask_unknown or c in known for c in self.classes]
        return {**data, self.known_key: torch.tensor([True, *flags])}
