"""Slices in their order along the patient, and where each voxel lies; what is no regular grid is refused."""

import numpy as np

from abdoseg.dicom.choice import fault_of, normal_of
from abdoseg.dicom.series import Series, Slice
from abdoseg.files import CaseError

# How far a slice may lie from its place in an even stack: a tenth of the slice distance, or what rounding does, where
# slices 0.625 mm apart stand at 0.6 mm, 1.2 mm, 1.9 mm.
UNEVEN = 0.1
ROUNDING_MM = 0.1
SAME_PLACE_MM = 0.01
# A gantry tilt below both bounds is rounding, or moves nothing by a voxel.
TILT_DEGREES = 0.5
TILT_PIXELS = 0.5
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def stack_slices(series: Series) -> tuple[list[Slice], np.ndarray]:
    """Sort the slices of an axial series by their position along the normal, and give the grid that they make.

    The numbers of the slices (InstanceNumber) play no part: scanners count from either end.

    Returns
    -------
    slices : in the order of the third array axis; the grid is right-handed.
    affine : (4, 4), voxel (column, row, slice) to RAS world in mm.

    Raises
    ------
    CaseError
        If the series is no axial CT, was taken with a tilted gantry, has slices at the same place, lacks slices or has
        uneven gaps. Nothing of this is resampled: a label map must fit the slices that were taken.
    """
    name = f"{series.folder} ({series})"
    if fault := fault_of(series):
        raise CaseError(f"{name}: {fault}; an axial CT series is needed.")
    orientation = np.array(series.slices[0].orientation)
    rows, columns = orientation[:3], orientation[3:]
    if not np.allclose([rows @ rows, columns @ columns, rows @ columns], [1, 1, 0], atol=1e-3):
        raise CaseError(
            f"{name}: ImageOrientationPatient {orientation.tolist()} must be two unit vectors at right angles."
        )
    normal = normal_of(orientation)
    slices = sorted(series.slices, key=lambda part: float(normal @ part.position))
    positions = np.array([part.position for part in slices])
    heights = positions @ normal
    _check_gaps(name, slices, heights)
    step, origin = np.polyfit(np.arange(len(slices)), positions, 1)
    between_rows, between_columns = slices[0].spacing
    _check_tilt(name, step, normal, (len(slices) - 1) * np.linalg.norm(np.cross(step, normal)), between_columns)
    away = np.linalg.norm(positions - origin - np.outer(np.arange(len(slices)), step), axis=1)
    if away.max() > max(UNEVEN * np.linalg.norm(step), ROUNDING_MM):
        raise CaseError(
            f"{name}: the slice {slices[away.argmax()].path.name} lies {away.max():.3g} mm beside its place in an even "
            "stack; export one reconstruction with even slices."
        )
    affine = np.eye(4)
    affine[:3, :3] = np.stack([rows * between_columns, columns * between_rows, step], axis=1)
    affine[:3, 3] = origin
    return slices, LPS_TO_RAS @ affine


def _check_gaps(name: str, slices: list[Slice], heights: np.ndarray) -> None:
    """Refuse slices at the same place, missing slices and gaps of other than one size."""
    gaps = np.diff(heights)
    if (same := int((gaps < SAME_PLACE_MM).sum())) > 0:
        below, above = _around(slices, int(gaps.argmin()))
        raise CaseError(
            f"{name}: {same} {'slice lies' if same == 1 else 'slices lie'} where another one lies already, such as "
            f"{above} where {below} is; export each phase as its own series."
        )
    even, lowest = np.polyfit(np.arange(len(heights)), heights, 1)
    if np.abs(heights - lowest - even * np.arange(len(heights))).max() <= max(UNEVEN * even, ROUNDING_MM):
        return
    smallest, widest = gaps.min(), gaps.max()
    steps = np.round(gaps / smallest)
    if (np.abs(gaps - steps * smallest) <= 2 * UNEVEN * smallest).all() and steps.max() > 1:
        lost = int((steps - 1).sum())
        below, above = _around(slices, int(gaps.argmax()))
        raise CaseError(
            f"{name}: {lost} {'slice is' if lost == 1 else 'slices are'} missing, as between {below} and {above}, "
            f"which lie {widest:.3g} mm apart instead of {smallest:.3g} mm; export the whole series again."
        )
    raise CaseError(
        f"{name}: the gaps between slices vary from {smallest:.3g} to {widest:.3g} mm; "
        "export a reconstruction with even slices."
    )


def _around(slices: list[Slice], gap: int) -> tuple[str, str]:
    """Names of the files on both sides of a gap."""
    return slices[gap].path.name, slices[gap + 1].path.name


def _check_tilt(name: str, step: np.ndarray, normal: np.ndarray, shift: float, pixel: float) -> None:
    """Refuse a gantry tilt: slices that are stacked at another angle than a right one, ``shift`` mm from end to end."""
    degrees = float(np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1))))
    if degrees > TILT_DEGREES and shift > TILT_PIXELS * pixel:
        raise CaseError(
            f"{name}: the gantry was tilted by {degrees:.1f} degrees, the slices are stacked askew; "
            "export a reconstruction without tilt."
        )
