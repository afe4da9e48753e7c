"""The classes of an nnU-Net model in terms of ours: by a file, or by their names."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from abdoseg.files import CaseError
from abdoseg.labels import BACKGROUND_ID, NAMES

MOST_CLASSES = 256  # channel numbers are gathered as uint8
# Other names of our classes, as sets of words: left kidney and kidney_left are the same.
SYNONYMS = {
    "oesophagus": "esophagus",
    "gall bladder": "gallbladder",
    "postcava": "inferior vena cava",
    "ivc": "inferior vena cava",
    "right adrenal": "right adrenal gland",
    "left adrenal": "left adrenal gland",
    "rag": "right adrenal gland",
    "lag": "left adrenal gland",
    "tumour": "tumor",
    "cancer": "tumor",
    "lesion": "tumor",
}


def labels_of(dataset: Mapping, path: Path) -> list[str]:
    """Give the names of a model's channels in order; channel 0 is the background.

    Raises
    ------
    CaseError
        If dataset.json describes overlapping regions, or its labels are not 0, 1, 2, ... up to 255.
    """
    names: dict[int, str] = {}
    for name, value in dataset.get("labels", {}).items():
        if name == "ignore":
            continue
        values = value if isinstance(value, list | tuple) else [value]
        if len(values) != 1:
            raise CaseError(
                f"{path} was trained on regions ({name!r} is {values}), which overlap; only models with one label a "
                "voxel can be imported."
            )
        names[int(values[0])] = name
    if sorted(names) != list(range(len(names))) or len(names) < 2:
        raise CaseError(f"{path}: the labels of dataset.json are {sorted(names)}; they must be 0, 1, 2, ... in a row.")
    if len(names) > MOST_CLASSES:
        raise CaseError(f"{path} has {len(names)} classes; a teacher has {MOST_CLASSES} at most.")
    return [names[value] for value in range(len(names))]


def read_class_map(file: str | os.PathLike | None, labels: list[str]) -> list[int]:
    """Give our class id of each of a model's channels, 0 for what we do not have.

    Parameters
    ----------
    file : YAML or JSON, their names or ids to our names or ids, for example ``kidney_right: right kidney``; what it
        does not name becomes background. None goes by the names: ``kidney_right`` is our right kidney.
    labels : the model's names by channel, background first.

    Raises
    ------
    CaseError
        If the file is not such a mapping, a name is unknown, or not one class is one of ours.
    """
    if file is None:
        ids = [BACKGROUND_ID, *(by_name(name) for name in labels[1:])]
        if not any(ids):
            raise CaseError(
                f"No class of the model ({_listed(labels[1:])}) has the name of one of ours; give a --class_map."
            )
        return ids
    path = Path(file)
    if not path.is_file():
        raise CaseError(f"{path} does not exist; --class_map takes a YAML or JSON file of names or ids.")
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows put a mark before the text
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise CaseError(f"{path} is neither YAML nor JSON ({' '.join(str(error).split())}).") from error
    if not isinstance(content, dict) or not content:
        raise CaseError(f"{path} must map names or ids of the model to ours, for example kidney_right: right kidney.")
    ids = [BACKGROUND_ID] * len(labels)
    for theirs, ours in content.items():
        ids[_channel(theirs, labels, path)] = _our_id(ours, path)
    if ids[0] != BACKGROUND_ID or not any(ids):
        raise CaseError(f"{path} must leave the model's background as it is, and map a class to one of ours.")
    return ids


def by_name(name: str) -> int:
    """Give our id of a class by its name in any order of words, with _ or - or blanks; 0 if we do not have it."""
    return _IDS_BY_WORDS.get(_words(name), BACKGROUND_ID)


def _words(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z0-9]+", name.lower()))


_IDS_BY_WORDS = {_words(name): value for value, name in NAMES.items() if value != BACKGROUND_ID}
_IDS_BY_WORDS |= {_words(other): _IDS_BY_WORDS[_words(name)] for other, name in SYNONYMS.items()}


def _channel(theirs, labels: list[str], path: Path) -> int:
    if theirs in labels:
        return labels.index(theirs)
    if str(theirs).isdigit() and int(theirs) < len(labels):
        return int(theirs)
    raise CaseError(f"{path}: the model has no class {theirs!r}; it has {_listed(labels)}.")


def _our_id(ours, path: Path) -> int:
    if ours is None or ours == NAMES[BACKGROUND_ID]:
        return BACKGROUND_ID
    if str(ours).isdigit() and int(ours) in NAMES:
        return int(ours)
    if value := by_name(str(ours)):
        return value
    known = ", ".join(f"{value} {name}" for value, name in NAMES.items())
    raise CaseError(f"{path}: we have no class {ours!r}; use one of {known}.")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
