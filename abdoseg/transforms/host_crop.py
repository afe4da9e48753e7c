"""What a tumor network sees of a case: the box of its host organ, and there background or tumor."""

import logging
from collections.abc import Hashable, Mapping

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from abdoseg.labels import TUMOR_ID
from abdoseg.transforms.geometry import affine_of, file_name_of, require_ras, spacing_of, with_affine
from abdoseg.transforms.roi import Box, whole_box
from abdoseg.tumors import CropRule, family_organs, host_boxes, host_map

logger = logging.getLogger(__name__)


class CropHostd(Transform):
    """Cut the training crop of a tumor network out of a case and reduce its label map to background and tumor.

    The crop is the box of the host organ and of the tumor foci that belong to it, widened by the rule; the inferer cuts
    by the same function, around the organ that was found. Every tumor in the crop counts, of whatever host (papers-spec
    3.3). Nothing is random, so that it can be cached. Loaded, oriented cases go in.

    Parameters
    ----------
    family : of host organs, a key of ``abdoseg.tumors.FAMILIES``, or "rest": the box of all organs.
    rule : margin of the box.
    image_key, label_key : keys of (1, x, y, z) MetaTensors in RAS; the label holds ids 0..14.
    organ_key : key of the organ's id, for families of two organs (see ``load_host_cases``), taken out of the case;
        without it the box with most tumor is cut. A case without such an organ stays whole, with a warning.

    Raises
    ------
    ValueError
        At construction for an unknown family; at a call for an image that is not RAS.

    Returns
    -------
    The dictionary with the cropped image and a (1, x, y, z) uint8 label: 0 background, 1 tumor.
    """

    def __init__(
        self,
        family: str,
        rule: CropRule = CropRule(),  # noqa: B008 (frozen)
        image_key: str = "image",
        label_key: str = "label",
        organ_key: str = "organ",
    ) -> None:
        family_organs(family)
        self.family = family
        self.rule = rule
        self.image_key = image_key
        self.label_key = label_key
        self.organ_key = organ_key

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        """Crop one case."""
        result = dict(data)
        image, label = result[self.image_key], result[self.label_key]
        organ = result.pop(self.organ_key, None)
        require_ras(image)
        labels = torch.as_tensor(label)[0].to(torch.uint8).cpu().numpy()
        box = self.box(labels, spacing_of(image), organ)
        if box is None:
            logger.warning("%s: no %s in the label map; the crop is the whole scan.", file_name_of(label), self.family)
            box = whole_box(labels.shape)
        affine = cropped_affine(affine_of(image), box)
        tumor = torch.from_numpy((labels[box] == TUMOR_ID).astype(np.uint8))[None]
        cut = image.as_tensor()[(slice(None), *box)].clone()
        result[self.image_key] = with_affine(cut, affine, image)
        result[self.label_key] = with_affine(tumor, affine, label)
        return result

    def box(self, labels: np.ndarray, spacing, organ: int | None = None) -> Box | None:
        """Give the box of a label map (x, y, z) on a grid of ``spacing`` mm, or None where it has no such organ."""
        boxes = dict(host_boxes(labels, self.family, spacing, self.rule, host_map(labels)))
        if organ is not None:
            return boxes.get(int(organ))
        return max(boxes.values(), key=lambda box: np.count_nonzero(labels[box] == TUMOR_ID), default=None)


def cropped_affine(affine: np.ndarray, box: Box) -> np.ndarray:
    """Give the (4, 4) affine of a crop: the same axes, the origin at the crop's first voxel."""
    step = np.eye(4)
    step[:3, 3] = [side.start for side in box]
    return affine @ step
