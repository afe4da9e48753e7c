"""Loading and checking of a scan, with an answer of one sentence where it cannot be used."""

from collections.abc import Hashable, Mapping
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImaged, Transform

from abdoseg.files import CaseError
from abdoseg.labels import CLASS_IDS
from abdoseg.transforms.geometry import affine_of, file_name_of


class LoadScand(LoadImaged):
    """MONAI's ``LoadImaged``, whose failures become a `CaseError` of one sentence.

    The stock transform answers a missing, truncated or foreign file with the reader's own trace. A subclass, so that
    MONAI Label puts its own loader in its place. Within a ``Compose`` the CaseError is the ``__cause__`` of MONAI's
    RuntimeError.
    """

    def __call__(self, data: Mapping[Hashable, str], reader=None) -> dict[Hashable, MetaTensor]:
        """Load the files named under the keys."""
        for key in self.key_iterator(data):
            path = data[key]
            if isinstance(path, str | Path) and not Path(path).exists():
                raise CaseError(f"{path}: there is no such file; the {key} must be an existing NIfTI file.")
        try:
            return super().__call__(data, reader)
        except Exception as error:
            names = ", ".join(str(data[key]) for key in self.key_iterator(data))
            reason = (str(error) or type(error).__name__).strip().splitlines()[0].rstrip(".")
            raise CaseError(f"{names}: cannot be read ({reason}); it must be an intact NIfTI file.") from error


class CheckScand(Transform):
    """Refuse what no network can use, right after loading: a `CaseError` names the file, the fault and the remedy.

    The image must be 3-D with one channel and finite. A label, where there is one, must lie on the image's grid (shape
    and affine, to a hundredth of a voxel) and hold whole class ids from 0 to 14.

    Parameters
    ----------
    image_key, label_key : keys of channel-first (1, x, y, z) MetaTensors; the label may be missing.
    """

    def __init__(self, image_key: str = "image", label_key: str = "label") -> None:
        self.image_key = image_key
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        """Check one case and hand it on unchanged."""
        image = data[self.image_key]
        check_image(image)
        label = data.get(self.label_key)
        if label is not None:
            check_label(label, image)
        return dict(data)


def check_image(image: MetaTensor) -> None:
    """Raise a CaseError unless ``image`` is (1, x, y, z), not empty and finite."""
    name = file_name_of(image)
    if image.ndim != 4 or image.shape[0] != 1 or 0 in image.shape:
        raise CaseError(f"{name}: has the shape {_stored_shape(image)}; a scan must be one 3-D volume (x, y, z).")
    if not torch.isfinite(image.as_tensor()).all():
        raise CaseError(f"{name}: has voxels that are NaN or infinite; every voxel must be a finite HU value.")


def check_label(label: MetaTensor, image: MetaTensor) -> None:
    """Raise a CaseError unless ``label`` lies on the grid of ``image`` and holds class ids only."""
    name = file_name_of(label)
    if label.shape != image.shape:
        raise CaseError(
            f"{name}: has the shape {_stored_shape(label)}, its image {file_name_of(image)} {_stored_shape(image)}; "
            "a label map must lie on the grid of its image."
        )
    own, other = affine_of(label), affine_of(image)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in image.shape[1:]])).reshape(3, -1)
    shift = np.linalg.norm((own - other)[:3, :3] @ corners + (own - other)[:3, 3:], axis=0).max()
    if shift > 0.01 * np.linalg.norm(other[:3, :3], axis=0).min():
        raise CaseError(
            f"{name}: its affine puts a corner {shift:.2f} mm away from that of its image {file_name_of(image)}; "
            "a label map must lie on the grid of its image."
        )
    values = set(torch.unique(label.as_tensor()).tolist())
    unknown = sorted(values - {0, *CLASS_IDS})
    if unknown:
        raise CaseError(f"{name}: holds the unknown value {unknown[0]:g}; a label map holds whole numbers 0 to 14.")


def _stored_shape(image: torch.Tensor) -> tuple[int, ...]:
    shape = tuple(image.shape)
    return (*shape[1:], shape[0]) if shape[0] != 1 else shape[1:]
