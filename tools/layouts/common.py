"""What the layouts share: files by id, images paired with labels, the known conventions, dataset.json."""

import functools
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import yaml

from abdoseg.datalist import case_id
from abdoseg.datasets import LabelConvention, declared_convention, ids_in
from abdoseg.files import CaseError, walk
from tools.scans import is_scan

KNOWN = Path(__file__).with_name("known.yaml")


def volumes_in(folder: Path) -> Iterable[Path]:
    """Give the NIfTI files in a folder and in folders inside it, in order, but no hidden ones."""
    found = (path / name for path, folders, files in walk(folder) for name in (*folders, *files))
    return sorted(path for path in found if is_scan(path))


def files_by_id(
    paths: Iterable[Path], key: str, excluded: list[dict], id_of: Callable[[Path], str] = case_id
) -> dict[str, Path]:
    """Map ids to files; of two files of one id the second is excluded (``key`` is "image" or "label")."""
    found: dict[str, Path] = {}
    for path in paths:
        other = found.setdefault(id_of(path), path)
        if other != path:
            exclude(excluded, id_of(path), key, path, f"a second file for the case of {other}; keep one.")
    return found


def named_files(folder: Path, name: re.Pattern, example: str, key: str, excluded: list[dict]) -> list[tuple[Path, int]]:
    """Give the volumes in a folder whose names match, each with its number; the others are excluded.

    ``name`` has one group, the number; ``example`` is a name that matches, for the remedy.
    """
    numbered = []
    for path in volumes_in(folder) if folder.is_dir() else []:
        if found := name.fullmatch(path.name):
            numbered.append((path, int(found[1])))
        else:
            exclude(
                excluded, case_id(path), key, path, f"is not named as the data set's files; call it like {example}."
            )
    return numbered


def exclude(excluded: list[dict], name: str, key: str, path: Path, fault: str) -> None:
    """Set a file aside; ``fault`` goes on from its path."""
    excluded.append({"id": name, key: str(path), "reason": f"{path}: {fault}"})


def pair(
    section: str, images: dict[str, Path], labels: dict[str, Path], excluded: list[dict], remedy: str = ""
) -> list[dict]:
    """Pair images with labels by id, in the order of the ids; in training what has no partner is excluded.

    ``remedy`` is said of an image without a label, beside the label that is missing. A label called as an image's id is
    that image's, though the id ends in what looks like nnU-Net's suffix: liver_0000.nii.gz with liver_0000_0000.nii.gz.
    """
    names = {name: path.name.removesuffix(".gz").removesuffix(".nii") for name, path in labels.items()}
    labels = {names[name] if names[name] in images else name: path for name, path in labels.items()}
    candidates = []
    for name, image in sorted(images.items()):
        entry = {"id": name, "section": section, "image": str(image)}
        if name in labels:
            candidates.append({**entry, "label": str(labels[name])})
        elif section == "training":
            exclude(excluded, name, "image", image, f"has no label; put {name}.nii.gz beside the other labels{remedy}.")
        else:
            candidates.append(entry)
    if section == "training":
        for name, label in sorted(labels.items()):
            if name not in images:
                fault = f"has no image; put {name}_0000.nii.gz into the folder of training images."
                exclude(excluded, name, "label", label, fault)
    return candidates


def with_convention(candidates: list[dict], convention: LabelConvention | None) -> list[dict]:
    """Note the convention in the cases that have a label map; CaseError if it is about mask files."""
    if convention is None:
        return candidates
    if stems := [source for source in convention.mapping if isinstance(source, str)]:
        raise CaseError(
            f"'labels' names the mask file {stems[0]!r}, but this layout has label maps; name their values."
        )
    return [{**case, "source_labels": convention} if "label" in case else case for case in candidates]


@functools.cache
def known_convention(name: str) -> LabelConvention:
    """Give the convention of a public data set: every class that it names was looked for."""
    labels = yaml.safe_load(KNOWN.read_text())[name]
    mapping = declared_convention(labels, None, f"{KNOWN}: {name}").mapping
    return LabelConvention(mapping, tuple(sorted(ids_in(mapping))))


def read_dataset_json(root: Path) -> dict:
    """Read a folder's dataset.json; {} if there is none, CaseError if it is no JSON object."""
    path = root / "dataset.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows put a mark before the text
    except ValueError as error:
        raise CaseError(f"{path}: not a JSON file ({error}).") from error
    if not isinstance(content, dict):
        raise CaseError(f"{path}: a dataset.json is a JSON object, not a {type(content).__name__}.")
    return content
