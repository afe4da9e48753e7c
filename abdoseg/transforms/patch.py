"""Crops around a training patch, with room for it to turn."""

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.transforms import RandCropByLabelClassesd
from monai.transforms.utils import map_classes_to_indices
from torch.nn.functional import pad


class RandCropWithRoomd(RandCropByLabelClassesd):
    """Choose a patch by a class in its middle, and cut it with room around it, so that it can turn.

    MONAI's ``RandCropByLabelClassesd`` chooses it, within the image. Told to cut the larger crop itself, the stock
    transform keeps that within the image, and patches out of its middle never show the image's border: 100 mm of the
    top of a scan with a patch of 96 slices of 2 mm. nnU-Net's loader reaches beyond the image, and so does this crop.
    And the stock transform's ratios are those of classes: where two of 13 organs are drawn, a fifth as many patches
    would show one as where all are.

    Parameters
    ----------
    keys : images and label maps, (C, x, y, z) on one grid, at least as large as the patch.
    crop_size : (x, y, z) voxels to cut; what lies beyond the image is 0, as an inferer pads it.
    foreground_share : of the patches, those with foreground in their middle; the classes of a case share them evenly.
    arguments : of the stock transform, without ratios; ``spatial_size`` is the patch's, in the middle of the crop.

    Returns
    -------
    A list of dictionaries, one a patch, with plain tensors of ``crop_size``.
    """

    def __init__(self, keys, crop_size: Sequence[int], foreground_share: float, **arguments) -> None:
        super().__init__(keys, warn=False, **arguments)
        self.crop_size = tuple(int(n) for n in crop_size)
        self.foreground_share = foreground_share

    def randomize(
        self, label: torch.Tensor, indices: Sequence | None = None, image: torch.Tensor | None = None
    ) -> None:
        """Choose the middles of the patches; ``indices`` are the voxels of each class, else found in ``label``."""
        if indices is None:
            indices = map_classes_to_indices(label, self.cropper.num_classes)
        present = sum(len(voxels) > 0 for voxels in indices[1:])
        share = self.foreground_share if present else 0.0
        self.cropper.ratios = [1 - share] + [share / max(present, 1)] * (len(indices) - 1)
        super().randomize(label, indices, image)

    def __call__(self, data: Mapping[Hashable, torch.Tensor], lazy: bool | None = None) -> list[dict]:
        """Draw the patches and cut them from all keys."""
        case = dict(data)
        self.randomize(case[self.label_key], case.pop(self.indices_key, None), case.get(self.image_key))
        return [
            {**case, **{key: crop_around(case[key], center, self.crop_size) for key in self.key_iterator(case)}}
            for center in self.cropper.centers
        ]


def crop_around(image: torch.Tensor, center: Sequence[int], size: Sequence[int]) -> torch.Tensor:
    """Cut ``size`` voxels (x, y, z) around a voxel out of (C, x, y, z); what lies beyond the image is 0.

    The voxel is number ``size // 2`` of the crop, where ``CenterSpatialCrop`` has its middle.
    """
    inside, beyond = [], []
    for middle, count, length in zip(center, size, image.shape[1:], strict=True):
        start = int(middle) - count // 2
        inside.append(slice(max(start, 0), min(start + count, length)))
        beyond = [max(-start, 0), max(start + count - length, 0), *beyond]
    return pad(torch.as_tensor(image).as_subclass(torch.Tensor)[(slice(None), *inside)], beyond)
