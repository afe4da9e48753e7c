"""Several data sets as one, declared in a datasets.yaml: where they lie, what their labels mean, what they are for."""

import re
from dataclasses import replace
from pathlib import Path

import yaml

from abdoseg.datasets import LabelConvention, declared_convention
from abdoseg.files import CaseError
from tools.layouts import LAYOUTS, find_in_folder
from tools.layouts.common import exclude
from tools.layouts.folders import find_pair

KEYS = ("name", "path", "image_dir", "label_dir", "layout", "labels", "annotated", "use")
SECTIONS = ("training", "unlabeled", "testing")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


def find_declared(file: Path) -> tuple[list[dict], list[dict]]:
    """Find the cases of all data sets of a file; their ids are NAME_ID, so that another data set changes none.

    Raises
    ------
    CaseError
        If the file is missing or faulty, or a data set holds no case.
    """
    candidates: list[dict] = []
    excluded: list[dict] = []
    for number, content in enumerate(_read(file), 1):
        where = f"{file}: data set {number}"
        data_set = _checked(content, where)
        name = data_set["name"]
        if name in {case["dataset"] for case in candidates}:
            raise CaseError(f"{where} has the name {name} of another one; names are unique.")
        where = f"{file}: {name}"
        found, left_out = _find(data_set, file.parent, where)
        taken = _used(found, data_set.get("use", {}), left_out)
        if not taken:
            reason = f"the first reason: {left_out[0]['reason']}" if left_out else "'use' leaves all of them out."
            raise CaseError(f"{where}: not one case to take; {reason}")
        candidates += [{**case, "id": f"{name}_{case['id']}", "dataset": name} for case in taken]
        excluded += [{**case, "id": f"{name}_{case['id']}"} for case in left_out]
    candidates.sort(key=lambda case: SECTIONS.index(case["section"]))
    return candidates, excluded


def _read(file: Path) -> list:
    if not file.is_file():
        raise CaseError(f"{file}: there is no such file; docs/datasets.md shows what one looks like.")
    try:
        content = yaml.safe_load(file.read_text())
    except UnicodeDecodeError as error:
        raise CaseError(f"{file}: not a text in UTF-8; save it with this encoding.") from error
    except yaml.YAMLError as error:
        raise CaseError(f"{file}: not a YAML file ({' '.join(str(error).split())}).") from error
    if not isinstance(content, list) or not content:
        raise CaseError(f"{file}: holds no list of data sets; begin each with '- name:' (docs/datasets.md).")
    return content


def _checked(content: object, where: str) -> dict:
    """Check what needs no look at the disk."""
    if not isinstance(content, dict):
        raise CaseError(f"{where} is no mapping; give it a name and a path.")
    if unknown := [key for key in content if key not in KEYS]:
        raise CaseError(f"{where} has the unknown key {unknown[0]!r}; use {', '.join(KEYS)}.")
    name = content.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise CaseError(f"{where} needs a name of letters, digits, dots and hyphens, not {_written(name)}.")
    if ("path" in content) == ("image_dir" in content):
        raise CaseError(f"{where} ({name}) needs either a path or an image_dir.")
    if "label_dir" in content and "image_dir" not in content:
        raise CaseError(f"{where} ({name}) has a label_dir, but no image_dir.")
    for key in ("path", "image_dir", "label_dir"):
        if key in content and not isinstance(content[key], str):
            raise CaseError(f"{where} ({name}): {key} is a folder, not {_written(content[key])}.")
    if "layout" in content and ("image_dir" in content or content["layout"] not in LAYOUTS):
        raise CaseError(
            f"{where} ({name}) has the layout {content['layout']!r}; leave it out, or use one of "
            f"{', '.join(LAYOUTS)} with a path."
        )
    if "labels" in content and "annotated" not in content:
        raise CaseError(
            f"{where} ({name}) has labels, and must say for which of these classes somebody looked in every case: "
            "'annotated' is a list of them, or 'rule'."
        )
    content = {**content, "use": _use(content.get("use", {}), f"{where} ({name})")}
    return content


def _written(value: object) -> str:
    """A value as it was written; what YAML takes for a number or a date, such as the folder 2023, needs quotes."""
    return repr(value) if value is None or isinstance(value, str | list | dict) else f"{value} without quotes"


def _use(use: object, where: str) -> dict[str, str | None]:
    """Sections of the layout to ours; a single word holds for all of them."""
    use = dict.fromkeys(SECTIONS, use) if isinstance(use, str) else use
    fault = f"{where}: 'use' is one of {', '.join(SECTIONS)}, or maps these to each other or to none, not"
    if not isinstance(use, dict):
        raise CaseError(f"{fault} {use!r}.")
    for section, target in use.items():
        if section not in SECTIONS or target not in (*SECTIONS, "none", None):
            raise CaseError(f"{fault} {section!r} to {target!r}.")
    return {section: None if target == "none" else target for section, target in use.items()}


def _find(data_set: dict, base: Path, where: str) -> tuple[list[dict], list[dict]]:
    convention = None
    if "labels" in data_set:
        convention = declared_convention(data_set["labels"], data_set["annotated"], where)
    try:
        if "path" in data_set:
            found, excluded = find_in_folder(base / data_set["path"], data_set.get("layout"), convention)
        else:
            label_dir = base / data_set["label_dir"] if "label_dir" in data_set else None
            found, excluded = find_pair(base / data_set["image_dir"], label_dir, convention)
    except CaseError as error:
        raise CaseError(f"{where}: {error}") from error
    if "annotated" in data_set and convention is None:
        found = _annotated(found, data_set["annotated"], where)
    return found, excluded


def _annotated(found: list[dict], annotated: object, where: str) -> list[dict]:
    """Keep what the layout knows about the labels, and declare which classes were looked for."""
    declared = declared_convention(None, annotated, where).annotated
    known = [case.get("source_labels", LabelConvention()) for case in found]
    return [
        {**case, "source_labels": replace(convention, annotated=declared).for_masks(case["label"])}
        if "label" in case
        else case
        for case, convention in zip(found, known, strict=True)
    ]


def _used(found: list[dict], use: dict[str, str | None], excluded: list[dict]) -> list[dict]:
    """Move the cases to the sections that they are to be used in."""
    taken = []
    for case in found:
        section = use.get(case["section"], case["section"])
        if section == "training" and "label" not in case:
            exclude(
                excluded, case["id"], "image", Path(case["image"]), "has no label to train on; use it as unlabeled."
            )
        elif section == "unlabeled":
            taken.append({**{key: case[key] for key in ("id", "image")}, "section": section})
        elif section:
            taken.append({**case, "section": section})
    return taken
