"""What a person or a data set's own file writes about labels, in words, turned into a LabelConvention."""

import re
from collections.abc import Mapping, Sequence

from abdoseg.datasets.convention import LabelConvention
from abdoseg.files import CaseError
from abdoseg.labels import BACKGROUND_ID, CLASS_IDS, NAMES, ORGAN_IDS, TUMOR_ID
from abdoseg.nnunet.class_map import by_name

Target = int | tuple[int, int]
# One name for both sides: (right, left), told apart by position. A cyst of a kidney belongs to it.
PAIRS = {"kidney": (2, 13), "adrenal": (7, 8), "adrenal gland": (7, 8), "kidney cyst": (2, 13)}
OTHERS = {"right kidney cyst": 2, "left kidney cyst": 13}
HIGHEST_VALUE = 65535  # of a label map
TUMOR_WORDS = {"tumor", "tumour", "cancer", "lesion"}
# In "liver and tumor" or "liver without tumor" the tumor is not meant alone.
JOINING_WORDS = {"and", "or", "with", "without", "no", "non", "plus", "including"}


def _words(name: str) -> frozenset[str]:
    """Lower-case words in the singular; left kidney, kidney_left and Kidneys-left are the same."""
    return frozenset(word if word == "pancreas" else word.removesuffix("s") for word in re.findall(r"[a-z0-9]+", name))


def target_of(name: object) -> Target | None:
    """Give our id of a class by its name or id, a pair of ids for a name of both sides, 0 for background; else None."""
    text = str(name).strip().lower()
    if text.isdigit():
        return int(text) if int(text) in NAMES else None
    if text == NAMES[BACKGROUND_ID]:
        return BACKGROUND_ID
    words = _words(text)
    for names in (PAIRS, OTHERS):
        for known, target in names.items():
            if _words(known) == words:
                return target
    if words & TUMOR_WORDS and not words & JOINING_WORDS:
        return TUMOR_ID
    return by_name(text) or None


def could_be_ours(name: str) -> bool:
    """Whether a name has a word in common with one of our classes: then it must not pass for background unasked."""
    sides = {"right", "left", "gland", "inferior", "vena"}
    ours = set().union(*(_words(NAMES[value]) for value in CLASS_IDS), TUMOR_WORDS) - sides
    return bool(_words(name.lower()) & ours)


def declared_convention(
    labels: Mapping[int | str, object] | None, annotated: Sequence[object] | str | None, where: str
) -> LabelConvention:
    """Read a declaration, as in ``datasets.yaml``.

    Parameters
    ----------
    labels : value of the label map, or stem of a mask file, to the name or id of a class of ours, to "kidneys" or
        "adrenal glands" for a value that stands for both sides, or to "background". None: the values are ours.
    annotated : names or ids of the classes that somebody looked for in every case, "organs" for all 13; the word
        "rule", or None, leaves it to the strong rule. A class without a label may be among them: it is absent.
    where : what an error names, the file and the data set.

    Raises
    ------
    CaseError
        For a class that we do not have, a value that is none, a list where a mapping is needed and the like.
    """
    looked_for = None if annotated in (None, "rule") else _annotated(annotated, where)
    if labels is None:
        return LabelConvention(annotated=looked_for)
    if not isinstance(labels, Mapping) or not labels:
        raise CaseError(f"{where}: 'labels' maps values to classes, for example {{1: liver, 2: kidneys}}.")
    mapping = {}
    for source, name in labels.items():
        if type(source) is not str and not (type(source) is int and 0 <= source <= HIGHEST_VALUE):
            raise CaseError(f"{where}: the label {source!r} is no value of a label map and no name of a mask file.")
        target = target_of(name)
        if target is None:
            raise CaseError(f"{where}: we have no class {name!r} for the label {source!r}; use {_choices()}.")
        mapping[source] = target
    if len({type(source) for source in mapping}) > 1:
        raise CaseError(f"{where}: 'labels' names values or mask files, not both.")
    if mapping.get(BACKGROUND_ID, BACKGROUND_ID) != BACKGROUND_ID:
        raise CaseError(f"{where}: the value 0 is background in every data set; leave it out of 'labels'.")
    return LabelConvention(mapping, looked_for)


def ids_in(mapping: Mapping[int | str, Target]) -> set[int]:
    """Give our ids that a mapping can lead to, without background."""
    ids = {value for target in mapping.values() for value in (target if isinstance(target, tuple) else (target,))}
    return ids - {BACKGROUND_ID}


def named_convention(names: Mapping[str, Sequence[int]], where: str) -> LabelConvention:
    """Read the labels of a ``dataset.json``: every class that it names was looked for in every case.

    Parameters
    ----------
    names : a name to the values it has; a region of nnU-Net has several, and of the regions that hold a value the
        smallest one of ours counts. A name that is none of our classes becomes background.
    where : what an error names.

    Raises
    ------
    CaseError
        For a name that has something of one of our classes and is none, or if not one is ours.
    """
    mapping: dict[int | str, Target] = {}
    for name, values in sorted(names.items(), key=lambda item: -len(item[1])):
        target = target_of(name) if not name.isdigit() else None
        if target is None and could_be_ours(name):
            raise CaseError(
                f"{where}: the label {name!r} may or may not be one of our classes; give the data set's 'labels' in a "
                "datasets.yaml (docs/datasets.md)."
            )
        for value in values:
            if target or value not in mapping:
                mapping[value] = target or BACKGROUND_ID
    mapping.pop(BACKGROUND_ID, None)
    if not ids_in(mapping):
        raise CaseError(f"{where}: none of its labels ({', '.join(names)}) is one of our classes; use {_choices()}.")
    return LabelConvention(dict(sorted(mapping.items())), tuple(sorted(ids_in(mapping))))


def _annotated(annotated: Sequence[object] | str, where: str) -> tuple[int, ...]:
    if isinstance(annotated, str) or not isinstance(annotated, Sequence):
        annotated = [annotated]
    ids: set[int] = set()
    for name in annotated:
        target = ORGAN_IDS if name == "organs" else target_of(name)
        if not target:
            raise CaseError(f"{where}: 'annotated' names {name!r}; use 'organs', 'rule', {_choices()}.")
        ids |= set(target) if isinstance(target, tuple) else {target}
    return tuple(sorted(ids))


def _choices() -> str:
    return ", ".join([*(NAMES[value] for value in CLASS_IDS), "kidneys or adrenal glands"])
