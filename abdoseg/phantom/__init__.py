"""A procedural abdomen: random anatomy -> label map and tissue map -> CT in Hounsfield units, without external data."""

from abdoseg.phantom.case import PhantomCase, make_case
from abdoseg.phantom.kinds import KINDS, Kind, allocate, partial_label
from abdoseg.phantom.settings import PhantomError, PhantomSettings
from abdoseg.phantom.structures import TISSUES

__all__ = [
    "KINDS",
    "TISSUES",
    "Kind",
    "PhantomCase",
    "PhantomError",
    "PhantomSettings",
    "allocate",
    "make_case",
    "partial_label",
]
