"""Pictures of the audit's report: middle slices of a case in three planes, its label in color, whatever is wrong."""

import io
import logging
from contextlib import suppress

import nibabel as nib
import numpy as np
from matplotlib.image import imsave
from scipy.ndimage import affine_transform

from abdoseg.datasets import read_labels
from abdoseg.files import CaseError
from abdoseg.label_maps import HIGHEST_ID, has_meaning, open_image
from abdoseg.labels import CLASS_IDS, COLORS
from abdoseg.metrics import to_ras
from tools.audit_cases import convention_of, is_converted
from tools.report_figures import PLANE_AXIS, PLANES, WINDOW_HU, cut, telling_slices

logger = logging.getLogger(__name__)
MOST_VOXELS = 200  # along an axis; longer ones are thinned out
HEIGHT = 240
WIDEST = 400
GAP = 8
OPACITY = 0.5


def fault_picture(case: dict, own_window: bool = False) -> tuple[bytes, list[int]] | None:
    """Draw a case that has a fault, as far as its files can be read.

    Parameters
    ----------
    case : ``{"image", ["label"], ["source_labels"]}``; a label that lies elsewhere is drawn where its affine says.
    own_window : stretch the gray scale over the scan's own values, which are not HU, instead of -160 to 240 HU.

    Returns
    -------
    PNG of an axial, a coronal and a sagittal slice side by side, and the ids of the classes in it; None where the image
    cannot be read, or has no value to show.
    """
    try:
        return _drawn(case, own_window)
    except Exception:  # a broken file breaks a drawing in any way; the report tells the fault in words
        logger.debug("%s cannot be drawn", case["image"], exc_info=True)
        return None


def _drawn(case: dict, own_window: bool) -> tuple[bytes, list[int]] | None:
    image, affine = _thinned(open_image(case["image"]))
    if not has_meaning(affine):
        affine = np.eye(4)
    if not np.isfinite(image).any():
        return None
    labels = np.zeros(image.shape, np.uint8)
    if "label" in case:
        with suppress(Exception):  # then the scan alone is drawn
            labels = _labels_on(image.shape, affine, case)
    image = np.nan_to_num(image, nan=np.inf)
    low, high = np.percentile(image[np.isfinite(image)], (1, 99)) if own_window else WINDOW_HU
    gray = np.clip((image - low) / max(high - low, 1e-9), 0, 1)
    gray, spacing = to_ras(gray, affine)
    labels, _ = to_ras(labels, affine)
    slices = telling_slices(labels)
    planes = [plane_picture(gray, labels, spacing, plane, slices[plane]) for plane in PLANES]
    gap = np.zeros((HEIGHT, GAP, 3), np.uint8)
    row = np.concatenate([planes[0], gap, planes[1], gap, planes[2]], axis=1)
    buffer = io.BytesIO()
    imsave(buffer, row, format="png")
    return buffer.getvalue(), [class_id for class_id in CLASS_IDS if (labels == class_id).any()]


def _thinned(image: nib.Nifti1Image) -> tuple[np.ndarray, np.ndarray]:
    """Read the first volume of a file with few enough voxels along each axis, and its affine."""
    if len(image.shape) < 3:
        raise CaseError("no volume")
    steps = [-(-size // MOST_VOXELS) for size in image.shape[:3]]
    parts = (*(slice(None, None, step) for step in steps), *(0 for _ in image.shape[3:]))
    return np.asarray(image.dataobj[parts], dtype=np.float32), image.affine @ np.diag([*steps, 1.0])


def _labels_on(shape: tuple[int, ...], affine: np.ndarray, case: dict) -> np.ndarray:
    """Read a label and give it on a grid, each voxel the nearest one of the label, 0 outside of it."""
    if is_converted(case):
        values, label = read_labels(case["label"], convention_of(case))
    else:
        label = open_image(case["label"])
        values = np.asarray(label.dataobj)
    values = np.nan_to_num(values.reshape(values.shape[:3])).round().clip(0, HIGHEST_ID).astype(np.uint8)
    place = np.linalg.inv(label.affine) @ affine
    return affine_transform(values, place[:3, :3], place[:3, 3], shape, order=0)


def plane_picture(
    gray: np.ndarray, labels: np.ndarray, spacing: tuple[float, ...], plane: str, index: int
) -> np.ndarray:
    """Give one slice in color, (HEIGHT, width, 3) uint8, one mm as long in both directions.

    Black above and below what would be wider than WIDEST at that height: coronal slices of short scans.
    """
    picture = np.repeat(cut(gray, plane, index)[..., None], 3, axis=2)
    drawn = cut(labels, plane, index)
    colors = np.zeros((HIGHEST_ID + 1, 3))
    for class_id in CLASS_IDS:
        colors[class_id] = np.divide(COLORS[class_id], 255)
    picture = np.where(drawn[..., None] > 0, (1 - OPACITY) * picture + OPACITY * colors[drawn], picture)
    across, up = np.delete(spacing, PLANE_AXIS[plane]) * picture.shape[1::-1]
    scale = min(HEIGHT / up, WIDEST / across)
    height, width = max(1, round(up * scale)), max(2 * GAP, round(across * scale))
    rows = np.arange(height) * picture.shape[0] // height
    columns = np.arange(width) * picture.shape[1] // width
    above = (HEIGHT - height) // 2
    padding = ((above, HEIGHT - height - above), (0, 0), (0, 0))
    return np.pad((255 * picture[rows][:, columns]).astype(np.uint8), padding)
