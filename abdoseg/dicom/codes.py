"""The classes in SNOMED CT's words, as DICOM's segmentation property types have them (PS3.16, CID 7151, 7150, 244)."""

from typing import NamedTuple

from abdoseg.labels import TUMOR_ID


class Code(NamedTuple):
    """A coded concept: value in SNOMED CT and its meaning in DICOM's words."""

    value: str
    meaning: str


class SegmentCode(NamedTuple):
    """What a segment is: category, type and, for paired organs, the side of the patient's body."""

    category: Code
    type: Code
    side: Code | None = None


ANATOMY = Code("91723000", "Anatomical Structure")
MORPHOLOGY = Code("49755003", "Morphologically Abnormal Structure")
RIGHT = Code("24028007", "Right")
LEFT = Code("7771000", "Left")
KIDNEY = Code("64033007", "Kidney")
ADRENAL_GLAND = Code("23451007", "Adrenal gland")

# The names of the classes stand in abdoseg.labels; here only what they are called in codes, by their ids.
CODES: dict[int, SegmentCode] = {
    1: SegmentCode(ANATOMY, Code("10200004", "Liver")),
    2: SegmentCode(ANATOMY, KIDNEY, RIGHT),
    3: SegmentCode(ANATOMY, Code("78961009", "Spleen")),
    4: SegmentCode(ANATOMY, Code("15776009", "Pancreas")),
    5: SegmentCode(ANATOMY, Code("15825003", "Aorta")),
    6: SegmentCode(ANATOMY, Code("64131007", "Inferior vena cava")),
    7: SegmentCode(ANATOMY, ADRENAL_GLAND, RIGHT),
    8: SegmentCode(ANATOMY, ADRENAL_GLAND, LEFT),
    9: SegmentCode(ANATOMY, Code("28231008", "Gallbladder")),
    10: SegmentCode(ANATOMY, Code("32849002", "Esophagus")),
    11: SegmentCode(ANATOMY, Code("69695003", "Stomach")),
    12: SegmentCode(ANATOMY, Code("38848004", "Duodenum")),
    13: SegmentCode(ANATOMY, KIDNEY, LEFT),
    TUMOR_ID: SegmentCode(MORPHOLOGY, Code("108369006", "Neoplasm")),
}
