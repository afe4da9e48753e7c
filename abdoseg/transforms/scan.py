"""Loading and checking of a scan, with an answer of one sentence where it cannot be used."""

import logging
import os
import warnings
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor, NibabelReader
from monai.transforms import LoadImaged, Transform
from monai.utils import ensure_tuple

from abdoseg.files import CaseError, first_line, is_file, is_of_the_disk
from abdoseg.label_maps import LONGEST_M, as_label_map, grid_difference, has_meaning, open_image
from abdoseg.nifti import scan_voxels
from abdoseg.transforms.geometry import affine_of, empty_image, file_name_of, spacing_of


class ScanReader(NibabelReader):
    """MONAI's reader of NIfTI files, faster and with no second copy of the volume, see `scan_voxels`.

    With ``dtype=None`` of ``LoadImaged`` a CT stays int16 in memory; the values are the same in any type.

    The affine is the file's own. Where the header's voxel size is not that of its sform, MONAI takes the qform, even
    one that is declared unknown: that can mirror a scan, and its label map would lie on another grid than the scan.
    """

    def read(self, data: str | os.PathLike | Sequence[str | os.PathLike], **kwargs):
        """Open a file, or several, without reading a voxel."""
        self.filenames = ensure_tuple(data)
        images = [nib.load(name, **{**self.kwargs, **kwargs}) for name in self.filenames]
        return images if len(images) > 1 else images[0]

    def _get_array_data(self, img: nib.Nifti1Image, filename: str) -> np.ndarray:
        if len(img.shape) >= 3 and set(img.shape[3:]) <= {1}:
            # MONAI's name is that of the file opened last, which in another thread may be another one.
            return scan_voxels(img, img.get_filename())
        return super()._get_array_data(img, filename)


class LoadScand(LoadImaged):
    """MONAI's ``LoadImaged``, with a fast reader, whose failures become a `CaseError` of one sentence.

    The stock transform answers a missing, truncated or foreign file with the reader's own trace. A subclass, so that
    MONAI Label puts its own loader in its place. Within a ``Compose`` the CaseError is the ``__cause__`` of MONAI's
    RuntimeError.
    """

    def __init__(self, *args, **kwargs) -> None:
        # Where pydicom is installed, MONAI makes all its DICOM readers and warns that one of them lacks its library.
        logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")
            super().__init__(*args, **kwargs)
        if self._loader.auto_select:
            self.register(ScanReader())

    def __call__(self, data: Mapping[Hashable, str], reader=None) -> dict[Hashable, MetaTensor]:
        """Load the files named under the keys."""
        for key in self.key_iterator(data):
            path = data[key]
            if not isinstance(path, str | Path):
                continue
            if not is_file(path):  # a pipe would never end
                raise CaseError(f"{path}: there is no such file; the {key} must be an existing NIfTI file.")
            if str(path).endswith((".nii", ".nii.gz")):
                open_image(path)  # what its header declares may be more than the file can hold
        try:
            return super().__call__(data, reader)
        except Exception:
            for key in self.key_iterator(data):
                self._load_alone(data[key], reader)
            raise

    def _load_alone(self, path: str, reader) -> None:
        """Raise a CaseError if this one of the files is what cannot be read."""
        try:
            self._loader(path, reader)
        except MemoryError as error:
            raise CaseError(f"{path}: needs more memory than there is; load it where there is more.") from error
        except Exception as error:
            if is_of_the_disk(error):
                raise
            reason = first_line(error)
            raise CaseError(f"{path}: cannot be read ({reason}); it must be an intact NIfTI file.") from error


class CheckScand(Transform):
    """Refuse what no network can use, right after loading: a `CaseError` names the file, the fault and the remedy.

    The image must be 3-D with one channel and finite. A label, where there is one, must lie on the image's grid and
    hold whole class ids from 0 to 14, as `abdoseg.label_maps` defines both.

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
    """Raise a CaseError unless ``image`` is (1, x, y, z), not empty, finite and of a size that a scan may have."""
    name = file_name_of(image)
    if image.ndim != 4 or image.shape[0] != 1 or 0 in image.shape:
        raise CaseError(f"{name}: has the shape {_stored_shape(image)}; a scan must be one 3-D volume (x, y, z).")
    voxels = image.as_tensor()
    if voxels.is_floating_point() and not all(torch.isfinite(plane).all() for plane in voxels[0]):
        raise CaseError(f"{name}: has voxels that are NaN or infinite; every voxel must be a finite HU value.")
    if not has_meaning(affine_of(image)):
        raise CaseError(f"{name}: its affine has no meaning; its header must tell voxel size and orientation.")
    spacing = spacing_of(image)
    longest = max(spacing * image.shape[1:]) / 1000
    if longest > LONGEST_M:
        told = " x ".join(f"{side:.4g}" for side in spacing)
        raise CaseError(f"{name}: by its header it is {longest:.3g} m long; mend the voxel size there, {told} mm.")


def check_label(label: MetaTensor, image: MetaTensor) -> None:
    """Raise a CaseError unless ``label`` lies on the grid of ``image`` and holds class ids only."""
    name = file_name_of(label)
    if label.ndim != 4 or label.shape[0] != 1:
        raise CaseError(f"{name}: has the shape {_stored_shape(label)}; a label map must be one 3-D volume (x, y, z).")
    difference = grid_difference(empty_image(label), empty_image(image))
    if difference:
        raise CaseError(f"{name}: {difference}; a label map must lie on the grid of its image {file_name_of(image)}.")
    as_label_map(label.as_tensor().cpu().numpy(), name)


def _stored_shape(image: torch.Tensor) -> tuple[int, ...]:
    shape = tuple(image.shape)
    return (*shape[1:], shape[0]) if shape[0] != 1 else shape[1:]
