"""What the teacher sees of a case: normalized by the plan's fingerprint and resampled to the plan's spacing."""

from collections.abc import Hashable, Mapping

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from abdoseg.transforms.geometry import affine_of, require_ras, spacing_of, with_affine
from abdoseg.transforms.intensity import normalize_ct
from abdoseg.transforms.resample import check_resize_mode, resize_labels, resize_volume


def plan_shape(shape, spacing, plan: Mapping) -> tuple[int, int, int]:
    """Give the shape (x, y, z) of a volume of ``shape`` and ``spacing`` (mm) at the plan's spacing; at least 1."""
    extent = np.asarray(shape, dtype=float) * np.asarray(spacing, dtype=float)
    return tuple(int(max(1, n)) for n in np.round(extent / np.asarray(plan["spacing"], dtype=float)))


def image_at_plan(volume: torch.Tensor, spacing, plan: Mapping, mode: str = "trilinear") -> torch.Tensor:
    """Normalize a (1, x, y, z) volume in HU by the plan, then resample it to the plan's spacing, as nnU-Net orders it.

    With aligned outer edges. nnU-Net interpolates with cubic splines.

    Parameters
    ----------
    volume : (1, x, y, z), HU, RAS.
    spacing : (3,) mm.
    plan : has ``spacing`` (mm, x, y, z) and ``normalization`` (HU), see `normalize_ct`.
    mode : "trilinear", or "area" as in paper B, see `resize_volume`.

    Returns
    -------
    (1, x, y, z) float32 at the plan's spacing.
    """
    size = plan_shape(volume.shape[1:], spacing, plan)
    return resize_volume(
        volume, size, align_corners=False, mode=mode, before=lambda part: normalize_ct(part, plan["normalization"])
    )


class PrepareTeacherd(Transform):
    """Prepare a case for the training of a plan's network; nothing is random, so it can be cached.

    The inferer calls the same functions. MONAI's ``Spacingd`` does not serve: it resizes label maps by ids or as
    nearest neighbors, and it fails under MONAI Label since MONAI 1.6.

    Parameters
    ----------
    plan : dictionary with ``spacing`` and ``normalization``.
    image_key, label_key : keys of (1, x, y, z) MetaTensors in RAS; the label may be missing.
    image_mode : how images are resampled, see `image_at_plan`; give the inferer the same. Labels are always resampled
        class by class.

    Returns
    -------
    The dictionary with MetaTensors at the plan's spacing: image float32, label uint8.

    Raises
    ------
    ValueError
        For an unknown mode; when called, for an image that is not in RAS.
    """

    def __init__(
        self, plan: Mapping, image_key: str = "image", label_key: str = "label", image_mode: str = "trilinear"
    ) -> None:
        self.plan = plan
        self.image_mode = check_resize_mode(image_mode)
        self.image_key = image_key
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        """Prepare one case."""
        result = dict(data)
        image = result[self.image_key]
        require_ras(image)
        spacing = spacing_of(image)
        size = plan_shape(image.shape[1:], spacing, self.plan)
        affine = edge_aligned_affine(affine_of(image), image.shape[1:], size)
        resampled = image_at_plan(image.as_tensor(), spacing, self.plan, self.image_mode)
        result[self.image_key] = with_affine(resampled, affine, image)
        label = result.get(self.label_key)
        if label is not None:
            result[self.label_key] = with_affine(resize_labels(label, size, align_corners=False), affine, label)
        return result


def edge_aligned_affine(affine: np.ndarray, shape, size) -> np.ndarray:
    """Give the (4, 4) affine of a volume of ``shape`` resized to ``size`` with the outer edges aligned."""
    scale = np.asarray(shape, dtype=float) / np.asarray(size, dtype=float)
    step = np.diag([*scale, 1.0])
    step[:3, 3] = (scale - 1) / 2
    return affine @ step
