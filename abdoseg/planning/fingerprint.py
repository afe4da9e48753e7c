"""Fingerprint of a data set: shapes, spacings and foreground intensities, all that the planning rules need."""

import logging
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence

import nibabel as nib
import numpy as np

from abdoseg.files import CaseError
from abdoseg.label_maps import grid_difference, open_volume, read_label_map, read_voxels

logger = logging.getLogger(__name__)

LOWEST_HU, HIGHEST_HU = -(2**15), 2**15 - 1


def _nonzero_shape(volume: np.ndarray) -> list[int]:
    """Shape of the smallest box that holds every non-zero voxel."""
    shape = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        occupied = np.flatnonzero(volume.any(axis=others))
        shape.append(int(occupied[-1] - occupied[0] + 1) if occupied.size else 0)
    return shape


def measure_case(case: dict) -> dict:
    """Measure one scan.

    Parameters
    ----------
    case : has the paths ``image`` (HU) and ``label`` (0 to 14).

    Returns
    -------
    dict
        ``shape`` (x, y, z) in voxels after the crop to the non-zero box, ``spacing`` (x, y, z) in mm, ``mean`` and
        ``square`` (mean of the squares), ``min``, ``max`` of the foreground in HU, and ``histogram``: the share of the
        foreground voxels in each bin of 1 HU from -32768 to 32767.

    Raises
    ------
    CaseError
        If a file cannot be read, the grids differ, or the scan or its label is empty or not finite.
    """
    image_path, label_path = str(case["image"]), str(case["label"])
    image = open_volume(image_path)
    labels, label_image = read_label_map(label_path)
    difference = grid_difference(label_image, image)
    if difference:
        raise CaseError(f"{label_path}: its grid differs from that of {image_path}: {difference}.")
    values = read_voxels(image, image_path)
    foreground = values[labels > 0].astype(np.float64)
    stored_shape = _nonzero_shape(values)
    if not foreground.size:
        raise CaseError(f"{label_path}: is empty; planning needs labeled voxels.")
    if not all(stored_shape):
        raise CaseError(f"{image_path}: every voxel is 0; a CT in Hounsfield units has air at about -1000.")
    if not np.isfinite(foreground).all():
        raise CaseError(f"{image_path}: holds values that are not finite; a CT holds Hounsfield units.")
    to_xyz = np.argsort(nib.io_orientation(image.affine)[:, 0])
    bins = np.clip(np.rint(foreground), LOWEST_HU, HIGHEST_HU).astype(np.int64) - LOWEST_HU
    return {
        "shape": np.array(stored_shape)[to_xyz].tolist(),
        "spacing": nib.affines.voxel_sizes(image.affine)[to_xyz].tolist(),
        "mean": float(foreground.mean()),
        "square": float(np.square(foreground).mean()),
        "min": float(foreground.min()),
        "max": float(foreground.max()),
        "histogram": np.bincount(bins, minlength=HIGHEST_HU - LOWEST_HU + 1) / foreground.size,
    }


def _measure_or_reason(case: dict) -> tuple[dict, dict | None, str]:
    try:
        return case, measure_case(case), ""
    except CaseError as error:
        return case, None, str(error)


def _measurements(cases: Sequence[dict], workers: int) -> Iterator[tuple[dict, dict | None, str]]:
    if workers <= 1:
        yield from map(_measure_or_reason, cases)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(_measure_or_reason, cases)


def fingerprint(
    cases: Sequence[dict],
    workers: int = 1,
    progress: Callable[[Iterable], Iterable] = iter,
    hu_window: Sequence[float] | None = None,
) -> dict:
    """Measure a data set, one scan at a time.

    nnU-Net draws the same number of foreground voxels, with replacement, from every case. Here the histograms of the
    cases are averaged, which is what that sampling tends to: the same statistics without chance, in memory that does
    not grow with the number of cases. Percentiles are exact to 1 HU.

    Parameters
    ----------
    cases : dicts with ``id``, ``image`` and ``label``, as :func:`abdoseg.datalist.load_cases` gives them.
    workers : processes that read scans; each holds one scan.
    progress : wraps the iterator of measurements, for example in a progress bar.
    hu_window : HU (lower, upper) that foreground values are clipped to before anything is said of them.

    Returns
    -------
    dict
        ``shapes`` (voxels, after the crop to the non-zero box) and ``spacings`` (mm), both (x, y, z), one a case;
        ``foreground``: ``mean``, ``std``, ``median``, ``percentile_00_5``, ``percentile_99_5``, ``min``, ``max`` in HU;
        ``excluded``: ``id`` and ``reason`` of each case that could not be used.

    Raises
    ------
    CaseError
        If no case could be used.
    """
    shapes, spacings, excluded = [], [], []
    mean = square = 0.0
    window = (LOWEST_HU, HIGHEST_HU) if hu_window is None else hu_window
    low, high = np.inf, -np.inf
    histogram = np.zeros(HIGHEST_HU - LOWEST_HU + 1)
    for case, measured, reason in progress(_measurements(cases, workers)):
        if measured is None:
            logger.warning("left out: %s", reason)
            excluded.append({"id": case["id"], "reason": reason})
            continue
        shapes.append(measured["shape"])
        spacings.append(measured["spacing"])
        mean += measured["mean"]
        square += measured["square"]
        low, high = min(low, measured["min"]), max(high, measured["max"])
        histogram += measured["histogram"]
    if not shapes:
        first = f" The first: {excluded[0]['reason']}" if excluded else ""
        raise CaseError(f"None of the {len(cases)} cases can be used; planning needs at least one.{first}")
    mean, square = mean / len(shapes), square / len(shapes)
    if hu_window is not None:
        clipped = np.clip(np.arange(LOWEST_HU, HIGHEST_HU + 1), *window)
        mean, square = ((histogram * values).sum() / len(shapes) for values in (clipped, np.square(clipped)))
    cumulative = histogram.cumsum() / len(shapes)
    p005, median, p995, low, high = np.clip(
        [*(np.searchsorted(cumulative, share - 1e-9) + LOWEST_HU for share in (0.005, 0.5, 0.995)), low, high], *window
    ).tolist()
    return {
        "shapes": shapes,
        "spacings": spacings,
        "foreground": {
            "mean": float(mean),
            "std": float(np.sqrt(max(square - mean**2, 0.0))),
            "median": median,
            "percentile_00_5": p005,
            "percentile_99_5": p995,
            "min": low,
            "max": high,
        },
        "excluded": excluded,
    }
