"""Which series of a study is labeled: CT, axial, most slices; and why the others are not."""

from collections.abc import Iterable, Sequence

import numpy as np

from abdoseg.dicom.series import Series

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
PLANES = ("sagittal", "coronal", "axial")
# "US" (unspecified) stands for HU in what some scanners write; the attribute is optional.
UNITS = ("HU", "US", "")
# Headers round: slices agree in orientation (direction cosines) and pixel spacing (mm) up to this.
SAME = 1e-3


def fault_of(series: Series) -> str | None:
    """Say in a few words why a series is no axial CT volume; None if it is one.

    Gaps and tilt are not looked at: they are faults of a scan that should have been labeled, see `stack_slices`.
    """
    parts = series.slices
    if series.modality != "CT":
        return f"modality {series.modality or 'unknown'}, not CT"
    if any(part.sop_class in ENHANCED_CT for part in parts):
        return "enhanced CT, all slices in one file; export it as one file a slice"
    if any(part.sop_class != CT_IMAGE for part in parts):
        return "pictures such as secondary captures, not CT images"
    if any("LOCALIZER" in part.image_type for part in parts):
        return "localizer"
    if any(None in (part.shape, part.spacing, part.position, part.orientation) for part in parts):
        return "slices without size, pixel spacing, position or orientation"
    first = parts[0]
    for what in ("shape", "spacing", "orientation"):
        if not all(np.allclose(getattr(part, what), getattr(first, what), rtol=0, atol=SAME) for part in parts):
            return f"slices of different {'size' if what == 'shape' else what}"
    plane = PLANES[int(np.argmax(np.abs(normal_of(first.orientation))))]
    if plane != "axial":
        return f"{plane}, not axial"
    if any(part.rescale_type not in UNITS for part in parts):
        return f"values in {first.rescale_type}, not HU"
    return "one slice only" if len(parts) < 2 else None


def normal_of(orientation: Sequence[float]) -> np.ndarray:
    """Give the (3,) direction in which slices are stacked, in DICOM's axes: along a row x down a column."""
    return np.cross(orientation[:3], orientation[3:])


def studies_of(series: Iterable[Series]) -> list[list[Series]]:
    """Group series by their study."""
    groups: dict[str, list[Series]] = {}
    for one in series:
        groups.setdefault(one.study, []).append(one)
    return list(groups.values())


def choose_series(study: Sequence[Series]) -> tuple[Series | None, dict[str, str]]:
    """Choose the axial CT series with most slices; of several, the one with the lowest number.

    Returns
    -------
    chosen : None if the study has no axial CT series.
    reasons : series UID -> why it was not chosen, in a few words.
    """
    reasons = {one.uid: fault for one in study if (fault := fault_of(one))}
    fit = [one for one in study if one.uid not in reasons]
    if not fit:
        return None, reasons
    most = max(len(one.slices) for one in fit)
    same = [one for one in fit if len(one.slices) == most]
    chosen = min(same, key=lambda one: (one.number is None, one.number, one.uid))
    for one in fit:
        if one is not chosen:
            as_many = "as many slices, but a higher number"
            reasons[one.uid] = as_many if one in same else f"{len(one.slices)} slices of {most}"
    return chosen, reasons
