"""What the label values or mask files of a data set mean, and for which classes somebody looked in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from abdoseg.datalist import case_id
from abdoseg.labels import BACKGROUND_ID, CLASS_IDS, NAMES


@dataclass(frozen=True)
class LabelConvention:
    """How a data set's labels become ours; without arguments, those of FLARE23.

    Parameters
    ----------
    mapping : a value in the label map, or the stem of a mask file (``liver`` of ``liver.nii.gz``), to our id, to 0 for
        what is none of our classes, or to a pair (right id, left id) that one value stands for and that is told apart
        by position. The value 0 is background and need not be named; other values that are not named are faults.
    annotated : ids that somebody looked for in every case of the data set; None leaves it to the strong rule, case by
        case.
    """

    mapping: Mapping[int | str, int | tuple[int, int]] = field(default_factory=lambda: {c: c for c in CLASS_IDS})
    annotated: tuple[int, ...] | None = None

    @property
    def is_identity(self) -> bool:
        """Whether the label maps can be used as they are: all our values are named, and mean what they mean with us."""
        return {BACKGROUND_ID: BACKGROUND_ID, **self.mapping} == {value: value for value in NAMES}

    def for_masks(self, label: str | Sequence[str]) -> "LabelConvention":
        """Leave out the annotated classes that have a mask file by this convention, but none in a case.

        Of several masks of one class the first that the mapping names is its own: without the mask of the kidney, that
        of its cyst says nothing about it. A case with a label map (one path) has all.
        """
        if self.annotated is None or isinstance(label, str):
            return self
        own: dict[int, int | str] = {}
        for source, target in self.mapping.items():
            for value in target if isinstance(target, tuple) else (target,):
                own.setdefault(value, source)
        present = {case_id(path) for path in label}
        return replace(self, annotated=tuple(v for v in self.annotated if v not in own or own[v] in present))

    def as_dict(self) -> dict:
        """Give the convention in names, for JSON files and reports."""
        names = {
            str(source): [NAMES[value] for value in target] if isinstance(target, tuple) else NAMES[target]
            for source, target in self.mapping.items()
        }
        return {"labels": names, "annotated": self.annotated and [NAMES[value] for value in self.annotated]}
