"""What a network of organs alone learns where a tumor is drawn: the tumor's host organ."""

from collections.abc import Hashable, Mapping

import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from abdoseg.labels import TUMOR_ID
from abdoseg.tumors import organ_target


class OrgansOnlyd(Transform):
    """Give the tumors of a label map to their host organs, see `abdoseg.tumors.organ_target`.

    The teacher has no tumor class, and its strong cases have no tumors; cases that a person corrects in MONAI Label do.

    Parameters
    ----------
    label_key : key of a (1, x, y, z) MetaTensor with ids 0..14; without tumor it is handed on as it is.

    Returns
    -------
    The dictionary with a label map of ids 0..13, of the same type and on the same grid.
    """

    def __init__(self, label_key: str = "label") -> None:
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        """Change one case."""
        result = dict(data)
        label = result[self.label_key]
        if (torch.as_tensor(label) == TUMOR_ID).any():
            organs = organ_target(torch.as_tensor(label)[0].to(torch.uint8).cpu().numpy())
            result[self.label_key] = MetaTensor(torch.from_numpy(organs)[None].to(label.dtype), meta=label.meta)
        return result
