"""Flips with anatomical names that exchange the left and right organs when they exchange the sides of the body."""

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, RandomizableTransform

from abdoseg.labels import MIRROR_PAIRS
from abdoseg.transforms.geometry import require_ras

FLIP_AXES = {"left-right": -3, "posterior-anterior": -2, "inferior-superior": -1}


def _dimension(axis: str) -> int:
    if axis not in FLIP_AXES:
        raise ValueError(f"Unknown flip axis '{axis}'. Use one of {', '.join(map(repr, FLIP_AXES))}.")
    return FLIP_AXES[axis]


def flip_image(image: torch.Tensor, axis: str) -> torch.Tensor:
    """Mirror an image, (..., x, y, z) in RAS, along an axis of `FLIP_AXES`.

    The array is reversed and a MetaTensor's affine stays: this is the mirrored body in the same place of the scanner,
    not the same body stored the other way round.
    """
    return torch.flip(image, dims=(_dimension(axis),))


def flip_labels(labels: torch.Tensor, axis: str, swap_sides: bool = True) -> torch.Tensor:
    """Mirror a label map, (..., x, y, z) in RAS; a left-right flip also exchanges the ids of `MIRROR_PAIRS`.

    Parameters
    ----------
    labels : class ids in any type.
    axis : key of `FLIP_AXES`.
    swap_sides : False leaves the ids alone, as paper A does (a right kidney then turns up on the left).
    """
    flipped = flip_image(labels, axis)
    if axis != "left-right" or not swap_sides:
        return flipped
    swapped = flipped.clone()
    for right, left in MIRROR_PAIRS:
        swapped[flipped == right] = left
        swapped[flipped == left] = right
    return swapped


def flip_logits(logits: torch.Tensor, axis: str) -> torch.Tensor:
    """Mirror logits, (C, x, y, z) or (B, C, x, y, z) in RAS, whose channel number is the class id.

    A left-right flip also exchanges the channels of those `MIRROR_PAIRS` that exist among the C channels, so that a
    network of two classes (background, tumor) is mirrored without an exchange.
    """
    flipped = flip_image(logits, axis)
    if axis != "left-right":
        return flipped
    order = torch.tensor(_mirrored_ids(logits.shape[-4]), device=logits.device)
    return flipped.index_select(flipped.ndim - 4, order)


def flip_flags(flags: torch.Tensor, axis: str, swap_sides: bool = True) -> torch.Tensor:
    """Exchange the flags of left and right classes, (C,) by class id, where `flip_labels` exchanges their ids."""
    if axis != "left-right" or not swap_sides:
        return flags
    return flags[_mirrored_ids(len(flags))]


def _mirrored_ids(count: int) -> list[int]:
    """Ids 0 to count - 1, those of `MIRROR_PAIRS` exchanged where both are among them."""
    ids = list(range(count))
    for right, left in MIRROR_PAIRS:
        if max(right, left) < count:
            ids[right], ids[left] = left, right
    return ids


class RandAnatomicalFlipd(RandomizableTransform, MapTransform):
    """Mirror image and label together, with probability ``prob``; left and right organs change their ids.

    MONAI's ``RandFlipd`` takes axis numbers and leaves the ids, so that a mirrored right kidney would still be called
    right.

    Parameters
    ----------
    keys : images, (C, x, y, z) in RAS.
    label_keys : label maps, (1, x, y, z) in RAS; they are mirrored with the images and need not stand in ``keys``.
    axis : "left-right", "posterior-anterior" or "inferior-superior".
    prob : probability of a flip.
    swap_sides : see `flip_labels`.
    allow_missing_keys : pass over keys that are not there.
    known_key : key of the flags of `KnownClassesd`, (C,) by class id, if the case has any; they go with the labels.

    Raises
    ------
    ValueError
        At construction for an unknown axis; at a call for a MetaTensor that is not RAS.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_keys: KeysCollection = ("label",),
        axis: str = "left-right",
        prob: float = 0.5,
        swap_sides: bool = True,
        allow_missing_keys: bool = False,
        known_key: str = "known",
    ) -> None:
        self.label_keys = (label_keys,) if isinstance(label_keys, str) else tuple(label_keys)
        images = (keys,) if isinstance(keys, str) else tuple(keys)
        MapTransform.__init__(self, tuple(dict.fromkeys(images + self.label_keys)), allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        _dimension(axis)
        self.axis = axis
        self.swap_sides = swap_sides
        self.known_key = known_key

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Draw once and mirror all keys or none."""
        result = dict(data)
        self.randomize(None)
        for key in self.key_iterator(result):
            if isinstance(result[key], MetaTensor):
                require_ras(result[key])
            if self._do_transform:
                result[key] = self.apply(result[key], key in self.label_keys)
        if self._do_transform and self.known_key in result:
            result[self.known_key] = flip_flags(result[self.known_key], self.axis, self.swap_sides)
        return result

    def apply(self, array: torch.Tensor, is_label: bool) -> torch.Tensor:
        """Mirror one array; nothing is drawn here."""
        return flip_labels(array, self.axis, self.swap_sides) if is_label else flip_image(array, self.axis)
