"""What a phantom scan is asked to be."""

from dataclasses import dataclass

from abdoseg.files import CaseError
from abdoseg.labels import ORGAN_IDS
from abdoseg.phantom.contrast import PHASES

SIZES = ("demo", "full")


class PhantomError(CaseError):
    """Settings that no phantom can be made with; the message names the setting and the allowed values."""


@dataclass(frozen=True)
class PhantomSettings:
    """What to make.

    Parameters
    ----------
    size : ``"demo"`` (80-104 voxels in-plane of about 3.5-4.5 mm, 48-72 slices) or ``"full"`` (512 x 512, slices of
        1-5 mm).
    difficulty : 0..1; scales noise, variation of shapes and overlap of the organs' HU.
    tumors : True (at least one), False (none) or None (by chance, half of the scans).
    missing : organ ids that this patient lacks, or None to draw them (gallbladder 10%, one kidney 2%).
    complete : the scan must show every organ that the patient has, none of the small ones cut at its ends.
    phase : ``"plain"``, ``"arterial"``, ``"portal"`` or None to draw it.
    orientation : axis codes such as ``"LPS"`` in which the scan is stored, or None to draw them.
    cut_rate : share of the scans that start or end within the abdomen.

    Raises
    ------
    PhantomError
        If a value is not allowed.
    """

    size: str = "demo"
    difficulty: float = 0.5
    tumors: bool | None = None
    missing: frozenset[int] | None = None
    complete: bool = False
    phase: str | None = None
    orientation: str | None = None
    cut_rate: float = 0.15

    def __post_init__(self):
        if self.size not in SIZES:
            raise PhantomError(f"Unknown phantom size '{self.size}'. Use 'demo' or 'full'.")
        if isinstance(self.difficulty, str) or not 0 <= self.difficulty <= 1:
            raise PhantomError(f"The difficulty is {self.difficulty!r}; it must be a number from 0 to 1.")
        if self.phase is not None and self.phase not in PHASES:
            raise PhantomError(f"Unknown contrast phase '{self.phase}'. Use {', '.join(PHASES)}.")
        if self.orientation is not None and not _is_orientation(self.orientation):
            raise PhantomError(f"Unknown orientation '{self.orientation}'. Use three axis codes, as in 'LPS'.")
        if self.missing is not None and not set(self.missing) <= set(ORGAN_IDS):
            raise PhantomError(f"The missing organs are {sorted(self.missing)}; they must be among 1..13.")


def _is_orientation(codes: str) -> bool:
    pairs = ("LR", "AP", "IS")
    return len(codes) == 3 and all(sum(code in pair for code in codes) == 1 for pair in pairs)
