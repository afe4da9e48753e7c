"""A picture of many scans at once: of each an axial and a coronal slice, plain and with its labels in color."""

import io
from collections.abc import Iterable

import nibabel as nib
import numpy as np
from matplotlib.image import imsave

from abdoseg.label_maps import read_label_map
from abdoseg.metrics import to_ras
from tools.audit_pictures import GAP, plane_picture
from tools.report_figures import WINDOW_HU, telling_slices

PLANES = ("axial", "coronal")
COLUMNS = 2  # scans side by side


def contact_sheet(cases: Iterable[tuple[str, str]]) -> bytes:
    """Draw scans and label maps.

    Parameters
    ----------
    cases : paths of an image in HU and of its label map.

    Returns
    -------
    PNG.
    """
    tiles = [_tile(*case) for case in cases]
    width = max(tile.shape[1] for tile in tiles)
    tiles = [np.pad(tile, ((0, GAP), (0, width - tile.shape[1] + GAP), (0, 0))) for tile in tiles]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)
    rows = [np.concatenate(tiles[start : start + COLUMNS], axis=1) for start in range(0, len(tiles), COLUMNS)]
    buffer = io.BytesIO()
    imsave(buffer, np.concatenate(rows), format="png")
    return buffer.getvalue()


def _tile(image_path: str, label_path: str) -> np.ndarray:
    labels, image = read_label_map(label_path)
    gray = np.asarray(nib.load(image_path).dataobj, dtype=np.float32)
    gray = np.clip((gray - WINDOW_HU[0]) / (WINDOW_HU[1] - WINDOW_HU[0]), 0, 1)
    gray, spacing = to_ras(gray, image.affine)
    labels, _ = to_ras(labels, image.affine)
    slices = telling_slices(labels)
    return np.concatenate(
        [
            plane_picture(gray, drawn, spacing, plane, slices[plane])
            for plane in PLANES
            for drawn in (np.zeros_like(labels), labels)
        ],
        axis=1,
    )
