"""Kinds of faults that a data set can have: what each is called and what becomes of a case that has it."""

import os
from dataclasses import dataclass

SET_ASIDE, REPAIRED, WARNING = "set aside", "repaired", "warning"
SEVERITIES = (SET_ASIDE, REPAIRED, WARNING)


@dataclass(frozen=True)
class FaultKind:
    """One kind of fault.

    Parameters
    ----------
    id : short name, unique; what ``audit.json`` calls it.
    severity : ``"set aside"`` (the case is left out), ``"repaired"`` (a mended copy takes the file's place) or
        ``"warning"`` (the case stays; a person should look at it).
    title : a few words for tables.
    """

    id: str
    severity: str
    title: str


_KINDS = (
    FaultKind("layout", SET_ASIDE, "files without a partner, an id used twice, or a name that is not the data set's"),
    FaultKind("unreadable", SET_ASIDE, "file missing, broken or cut short"),
    FaultKind("dimensions", SET_ASIDE, "not one volume of three dimensions"),
    FaultKind("one_slice", SET_ASIDE, "one slice only"),
    FaultKind("affine", SET_ASIDE, "affine without meaning"),
    FaultKind("too_long", SET_ASIDE, "longer than 10 m by its header"),
    FaultKind("sheared", SET_ASIDE, "sheared affine (gantry tilt)"),
    FaultKind("sform_qform", SET_ASIDE, "sform and qform disagree"),
    FaultKind("not_finite", SET_ASIDE, "NaN or infinite values"),
    FaultKind("hu_offset", SET_ASIDE, "CT numbers shifted away from HU"),
    FaultKind("not_hu", SET_ASIDE, "values that are not HU"),
    FaultKind("label_grid", SET_ASIDE, "label on another grid than its image"),
    FaultKind("label_fraction", SET_ASIDE, "label values that are not whole"),
    FaultKind("label_value", SET_ASIDE, "unknown label value"),
    FaultKind("label_empty", SET_ASIDE, "empty label"),
    FaultKind("unannotated_class", SET_ASIDE, "class present that was declared not annotated"),
    FaultKind("sides_swapped", SET_ASIDE, "left and right swapped in the label"),
    FaultKind("mirrored", SET_ASIDE, "mirrored, turned or upside down: organs in the wrong places"),
    FaultKind("duplicate", SET_ASIDE, "the same scan twice"),
    FaultKind("trailing_axis", REPAIRED, "a fourth dimension of length 1"),
    FaultKind("pixdim", REPAIRED, "voxel size in the header is not that of its affine"),
    FaultKind("label_header", REPAIRED, "label affine differs from its image's by rounding"),
    FaultKind("label_turned", REPAIRED, "label stored in another orientation than its image"),
    FaultKind("label_float", REPAIRED, "whole label values stored as floating-point numbers"),
    FaultKind("no_orientation", WARNING, "no orientation in the header"),
    FaultKind("origin", WARNING, "sform and qform have different origins"),
    FaultKind("spacing", WARNING, "voxel size out of the usual"),
    FaultKind("no_air", WARNING, "no air at -1000 HU"),
    FaultKind("organ_volume", WARNING, "organ of absurd volume"),
)
FAULT_KINDS: dict[str, FaultKind] = {kind.id: kind for kind in _KINDS}


@dataclass(frozen=True)
class Fault:
    """A fault of one file.

    Parameters
    ----------
    kind : id of one of `FAULT_KINDS`.
    file : path of the file that has it.
    message : one sentence with file, fault and remedy.
    """

    kind: str
    file: str
    message: str

    @property
    def severity(self) -> str:
        """What becomes of a case with this fault."""
        return FAULT_KINDS[self.kind].severity


def fault(kind: str, file: str | os.PathLike, what: str, remedy: str) -> Fault:
    """Give a fault whose sentence is ``file: what; remedy.``"""
    return Fault(FAULT_KINDS[kind].id, str(file), f"{file}: {what}; {remedy}.")


def is_set_aside(faults: list[Fault]) -> bool:
    """Whether a case with these faults must be left out."""
    return any(fault.severity == SET_ASIDE for fault in faults)
