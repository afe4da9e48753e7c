"""The one table of classes: id, name, side pair, surface tolerance; whatever names a class reads it here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """One class of the FLARE23 label maps.

    Parameters
    ----------
    id : value in the label map.
    name : lower-case name, unique.
    tolerance_mm : tolerance of the surface DSC (NSD), from the official FLARE23 evaluation script.
    mirror_id : id that this class becomes when left and right are exchanged; its own id for unpaired classes.
    tubular : scored only within the z-extent of the reference (aorta, inferior vena cava, esophagus).
    color : RGB in 0..255 for pictures.
    """

    id: int
    name: str
    tolerance_mm: float
    mirror_id: int
    tubular: bool
    color: tuple[int, int, int]


LABELS = (
    Label(1, "liver", 5, 1, False, (200, 80, 60)),
    Label(2, "right kidney", 3, 13, False, (250, 190, 60)),
    Label(3, "spleen", 3, 3, False, (150, 90, 200)),
    Label(4, "pancreas", 5, 4, False, (250, 230, 110)),
    Label(5, "aorta", 2, 5, True, (230, 30, 50)),
    Label(6, "inferior vena cava", 2, 6, True, (60, 100, 230)),
    Label(7, "right adrenal gland", 2, 8, False, (110, 230, 200)),
    Label(8, "left adrenal gland", 2, 7, False, (40, 180, 150)),
    Label(9, "gallbladder", 2, 9, False, (90, 200, 60)),
    Label(10, "esophagus", 3, 10, True, (240, 140, 190)),
    Label(11, "stomach", 5, 11, False, (120, 170, 240)),
    Label(12, "duodenum", 7, 12, False, (210, 150, 90)),
    Label(13, "left kidney", 3, 2, False, (250, 150, 30)),
    Label(14, "tumor", 2, 14, False, (255, 0, 255)),
)

BACKGROUND_ID = 0
TUMOR_ID = 14
NAMES: dict[int, str] = {BACKGROUND_ID: "background", **{label.id: label.name for label in LABELS}}
ORGAN_IDS: tuple[int, ...] = tuple(label.id for label in LABELS if label.id != TUMOR_ID)
CLASS_IDS: tuple[int, ...] = tuple(label.id for label in LABELS)
# Aorta, inferior vena cava, gallbladder: blood and bile, which networks take for tumors; tumors hardly ever grow there.
FLUID_IDS: tuple[int, ...] = (5, 6, 9)
TUBULAR_IDS: tuple[int, ...] = tuple(label.id for label in LABELS if label.tubular)
TOLERANCES_MM: dict[int, float] = {label.id: label.tolerance_mm for label in LABELS}
COLORS: dict[int, tuple[int, int, int]] = {label.id: label.color for label in LABELS}
MIRROR_PAIRS: tuple[tuple[int, int], ...] = tuple(
    (label.id, label.mirror_id) for label in LABELS if label.id < label.mirror_id
)
