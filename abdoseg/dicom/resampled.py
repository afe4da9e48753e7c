"""A series with uneven slices or a tilted gantry, resampled to an even stack: to look at, not to draw labels on."""

import nibabel as nib
import numpy as np
from scipy.ndimage import shift

from abdoseg.dicom.choice import fault_of, normal_of
from abdoseg.dicom.series import Series
from abdoseg.dicom.stack import LPS_TO_RAS, SAME_PLACE_MM
from abdoseg.dicom.volume import as_image, read_plane
from abdoseg.files import CaseError

OUTSIDE_HU = -1024


def resample_volume(series: Series) -> nib.Nifti1Image:
    """Read an axial CT series whose slices make no regular grid as one that does, by linear interpolation.

    Each slice is moved within its plane to where the first one lies, so that they stack at right angles whatever the
    tilt; between them, slices are interpolated at even distances, the median of those that were taken. What no slice
    covers has -1024 HU. `read_volume` refuses such a series, because a label map on this grid fits no slice.

    Returns
    -------
    (columns, rows, slices) float32 in HU; affine to RAS world in mm.

    Raises
    ------
    CaseError
        If the series is no axial CT, two slices lie at the same place, or a file cannot be read.
    """
    name = f"{series.folder} ({series})"
    if fault := fault_of(series):
        raise CaseError(f"{name}: {fault}; an axial CT series is needed.")
    orientation = np.array(series.slices[0].orientation)
    rows, columns, normal = orientation[:3], orientation[3:], normal_of(orientation)
    slices = sorted(series.slices, key=lambda part: float(normal @ part.position))
    positions = np.array([part.position for part in slices])
    heights = (positions - positions[0]) @ normal
    gaps = np.diff(heights)
    if not len(gaps) or gaps.min() < SAME_PLACE_MM:
        raise CaseError(f"{name}: two slices or more are needed, each at a place of its own; export each phase alone.")
    between_rows, between_columns = slices[0].spacing
    planes = []
    for part, moved in zip(slices, positions - positions[0], strict=True):
        offset = moved @ rows / between_columns, moved @ columns / between_rows
        plane = read_plane(part.path, part.shape).astype(np.float32)
        planes.append(shift(plane, offset, order=1, mode="grid-constant", cval=OUTSIDE_HU))
    step = float(np.median(gaps))
    wanted = np.arange(0, heights[-1] + SAME_PLACE_MM, step)
    below = np.clip(np.searchsorted(heights, wanted, side="right") - 1, 0, len(gaps) - 1)
    weight = ((wanted - heights[below]) / gaps[below]).astype(np.float32)
    volume = np.stack([planes[i] * (1 - w) + planes[i + 1] * w for i, w in zip(below, weight, strict=True)], axis=2)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([rows * between_columns, columns * between_rows, normal * step], axis=1)
    affine[:3, 3] = positions[0]
    return as_image(volume, LPS_TO_RAS @ affine)
