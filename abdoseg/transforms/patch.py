"""Crops around a training patch, with room for it to turn."""

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.transforms import RandCropByLabelClassesd
from torch.nn.functional import pad


class RandCropWithRoomd(RandCropByLabelClassesd):
    """Choose a patch by a class in its middle, and cut it with room around it, so that it can turn.

    MONAI's ``RandCropByLabelClassesd`` chooses it, within the image. Told to cut the larger crop itself, the stock
    transform keeps that within the image, and patches out of its middle never show the image's border: 100 mm of the
    top of a scan with a patch of 96 slices of 2 mm. nnU-Net's loader reaches beyond the image, and so does this crop.

    Parameters
    ----------
    keys : images and label maps, (C, x, y, z) on one grid, at least as large as the patch.
    crop_size : (x, y, z) voxels to cut; what lies beyond the image is 0, as an inferer pads it.
    arguments : of the stock transform, whose ``spatial_size`` is that of the patch, in the middle of the crop.

    Returns
    -------
    A list of dictionaries, one a patch, with plain tensors of ``crop_size``.
    """

    def __init__(self, keys, crop_size: Sequence[int], **arguments) -> None:
        super().__init__(keys, **arguments)
        self.crop_size = tuple(int(n) for n in crop_size)

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
