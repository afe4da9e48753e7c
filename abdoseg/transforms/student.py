"""What a student sees of a case: cropped or whole, resized to a cube, windowed and standardized (paper A)."""

import logging
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from abdoseg.transforms.geometry import affine_of, file_name_of, require_ras, resized_spacing, spacing_of, with_affine
from abdoseg.transforms.intensity import window_and_standardize
from abdoseg.transforms.resample import resize_labels, resize_volume
from abdoseg.transforms.roi import Box, expand_box, foreground_box, whole_box

logger = logging.getLogger(__name__)


def resized_affine(affine: np.ndarray, box: Box, size: Sequence[int]) -> np.ndarray:
    """Give the (4, 4) affine of a crop that was resized to ``size`` (x, y, z) with aligned corners."""
    count = [side.stop - side.start for side in box]
    step = np.diag([*resized_spacing((1, 1, 1), count, size), 1.0])
    step[:3, 3] = [side.start for side in box]
    return affine @ step


class PrepareStudentd(Transform):
    """Prepare a case for the training of the coarse or the fine network; nothing is random, so it can be cached.

    Crop to the foreground of the label plus a margin (fine) or not (coarse), resize the image trilinearly and the label
    class by class with aligned corners, window, standardize with the statistics of the resized volume. The inferers
    call the same functions. Loaded, oriented cases go in: ``LoadImaged``, ``Orientationd(axcodes="RAS")``.

    A chain of MONAI's ``CropForegroundd``, ``Resized`` and ``NormalizeIntensityd`` would not do: no margin in mm, no
    per-class resize of labels, no crop by one key that falls back to the whole volume.

    Parameters
    ----------
    image_size : (x, y, z) in voxels; the paper's 160^3 (coarse) or 192^3 (fine).
    crop_margin_mm : 20 for the fine network; None: no crop.
    hu_window : (lower, upper) in HU.
    image_key, label_key : keys of (1, x, y, z) MetaTensors in RAS; the label may be missing where nothing is cropped.

    Returns
    -------
    The dictionary with MetaTensors of (1, *image_size): image float32, label uint8. Their metadata holds the
    new affine and the file name only, so that cases of any origin collate.

    Raises
    ------
    ValueError
        When called, for an image that is not in RAS.
    """

    def __init__(
        self,
        image_size: Sequence[int],
        crop_margin_mm: float | None = None,
        hu_window: Sequence[float] = (-325.0, 325.0),
        image_key: str = "image",
        label_key: str = "label",
    ) -> None:
        self.image_size = tuple(int(n) for n in image_size)
        self.crop_margin_mm = crop_margin_mm
        self.hu_window = tuple(hu_window)
        self.image_key = image_key
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        """Prepare one case."""
        result = dict(data)
        image = result[self.image_key]
        require_ras(image)
        label = result.get(self.label_key)
        box = whole_box(image.shape[1:])
        if self.crop_margin_mm is not None:
            box = label_box(label, self.crop_margin_mm, spacing_of(image))
        affine = resized_affine(affine_of(image), box, self.image_size)

        resized = resize_volume(image.as_tensor()[(slice(None), *box)], self.image_size)
        result[self.image_key] = with_affine(window_and_standardize(resized, *self.hu_window), affine, image)
        if label is not None:
            resized = resize_labels(torch.as_tensor(label)[(slice(None), *box)], self.image_size)
            result[self.label_key] = with_affine(resized, affine, label)
        return result


def label_box(label: torch.Tensor, margin_mm: float, spacing) -> Box:
    """Give the region of interest of a (1, x, y, z) label map: all foreground plus a margin in mm.

    An empty label gives the whole volume and a warning that names its file.
    """
    shape = label.shape[1:]
    box = foreground_box(label[0])
    if box is None:
        logger.warning("%s: the label map is empty; the region of interest is the whole volume.", file_name_of(label))
        return whole_box(shape)
    return expand_box(box, margin_mm, spacing, shape)
