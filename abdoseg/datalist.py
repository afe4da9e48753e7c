"""The datalist: one JSON file that names every case, what is drawn in it and which split it belongs to."""

import json
import os
import reprlib
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from abdoseg.files import CaseError, write_json
from abdoseg.labels import CLASS_IDS, ORGAN_IDS

KINDS = {"training": ("strong", "weak", "unlabeled"), "unlabeled": ("unlabeled",), "testing": ("test",)}
PATH_KEYS = ("image", "label")
CLASS_KEYS = ("annotated_classes", "filled_classes")
SPLIT_FLAGS = ("validation", "teacher_validation")
LONGEST_ID = 255 - len("_0000.nii.gz")
# What the kind of a case alone tells of the classes that somebody looked for.
KNOWN_BY_KIND = {"strong": ORGAN_IDS, "weak": (), "unlabeled": ()}


def case_id(path_or_name: str | os.PathLike) -> str:
    """Give the id of a case from the path or name of its image, label or prediction.

    The folder, the ending ``.nii`` or ``.nii.gz`` and nnU-Net's channel suffix ``_0000`` are dropped. The id is a
    string, also where it looks like a number: ``images/0001_0000.nii.gz`` is case ``"0001"``. Accents are composed,
    because macOS may write a name in other characters than Linux that look the same.
    """
    name = unicodedata.normalize("NFC", Path(path_or_name).name)
    name = name.removesuffix(".gz").removesuffix(".nii")
    return name.removesuffix("_0000")


def check_datalist(datalist: dict, source: str | os.PathLike = "datalist") -> None:
    """Raise a CaseError of one sentence at the first fault of a datalist.

    Parameters
    ----------
    datalist : content of the JSON file: the sections ``training``, ``unlabeled`` and ``testing`` are lists of entries
        with a string ``id``, an ``image``, a ``kind`` that fits the section and, in ``training``, a ``label``;
        ``annotated_classes`` and ``filled_classes`` list ids in 1..14; the flags ``validation`` and
        ``teacher_validation`` are true or false.
    source : what the sentence names, the path of the file as a rule.
    """
    if not isinstance(datalist, dict):
        raise CaseError(f"{source}: a datalist is a JSON object with sections such as 'training', not a list or value.")
    for section in (*KINDS, "excluded"):
        if not isinstance(datalist.get(section, []), list):
            raise CaseError(f"{source}: the section '{section}' must be a list of cases.")
    for section, kinds in KINDS.items():
        entries = datalist.get(section, [])
        seen = set()
        for index, entry in enumerate(entries):
            fault = _entry_fault(entry, section, kinds)
            if fault:
                raise CaseError(f"{source}: entry {index} of section '{section}' {fault}")
            if entry["id"] in seen:
                raise CaseError(f"{source}: case '{entry['id']}' stands twice in section '{section}'; ids are unique.")
            seen.add(entry["id"])


def _entry_fault(entry: dict, section: str, kinds: Sequence[str]) -> str | None:
    if not isinstance(entry, dict):
        return "must be an object with the keys 'id' and 'image'."
    required = (
        ("id", "image", "label") if section == "training" and entry.get("kind") != "unlabeled" else ("id", "image")
    )
    for key in required:
        if not isinstance(entry.get(key), str) or not entry[key]:
            return f"needs the key '{key}' with a text value, not {_short(entry.get(key))}."
    for key in ("id", *PATH_KEYS):
        if not _is_path(entry.get(key) or ""):
            return f"has {key} {_short(entry[key])}; use a text that can be a path."
    if "/" in entry["id"] or entry["id"] in (".", "..") or len(os.fsencode(entry["id"])) > LONGEST_ID:
        return (
            f"has the id {_short(entry['id'])}; an id is a file's name without its ending, at most {LONGEST_ID} bytes."
        )
    if entry.get("kind") not in kinds:
        return f"(case '{entry['id']}') has the kind {_short(entry.get('kind'))}; use {_either(kinds)}."
    for key in CLASS_KEYS:
        classes = entry.get(key, [])
        if not isinstance(classes, list) or any(value not in CLASS_IDS for value in classes):
            return f"(case '{entry['id']}') has {key} {_short(classes)}; use a list of ids from 1 to 14."
    for flag in SPLIT_FLAGS:
        if not isinstance(entry.get(flag, False), bool):
            return f"(case '{entry['id']}') has {flag} = {_short(entry[flag])}; use true or false."
    return None


def _is_path(text) -> bool:
    """Whether a value is a text that a file system can be asked for."""
    try:
        return "\0" not in text and bool(os.fsencode(text) or True)
    except (TypeError, UnicodeEncodeError):
        return False


def _short(value) -> str:
    return reprlib.repr(value)


def _either(values: Sequence[str]) -> str:
    return " or ".join(f"'{value}'" for value in values)


def known_classes(entry: Mapping) -> list[int]:
    """Give the classes of which a case's label tells all: where it has none of them, there is none.

    These are the ``annotated_classes``, which a person looked for, and the ``filled_classes``, which a teacher did.
    Background in the label means "nobody knows" for the other classes.

    Parameters
    ----------
    entry : of a datalist. One without ``annotated_classes`` tells by its kind: strong cases have every organ; of weak
        and unlabeled ones nothing is known; a test case, or one without a kind as in MONAI Label, is complete.

    Returns
    -------
    list of int : ids in 1..14, ascending.
    """
    annotated = entry.get("annotated_classes", KNOWN_BY_KIND.get(entry.get("kind"), CLASS_IDS))
    return sorted({*annotated, *entry.get("filled_classes", ())})


def read_datalist(path: str | os.PathLike) -> dict:
    """Read and check a datalist; its image and label paths come back absolute.

    Relative paths in the file count from the file's own folder.

    Raises
    ------
    CaseError
        If the file is missing, is not JSON or breaks the rules of :func:`check_datalist`.
    """
    path = Path(path).absolute()
    if not os.path.isfile(path):
        raise CaseError(f"{path}: there is no such datalist; write one with `python -m tools audit`.")
    try:
        datalist = json.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows put a mark before the text
    except (OSError, ValueError, RecursionError) as error:
        raise CaseError(f"{path}: not a JSON file ({error}); write a datalist with `python -m tools audit`.") from error
    check_datalist(datalist, path)
    for section in KINDS:
        for entry in datalist.get(section, []):
            for key in PATH_KEYS:
                if entry.get(key):
                    # "../" stays: where the folder is a link, it leads to another place than the text tells.
                    entry[key] = str(path.parent / entry[key])
    return datalist


def load_cases(
    path: str | os.PathLike,
    section: str | Sequence[str] = "training",
    kind: str | Sequence[str] | None = None,
    validation: bool | None = None,
    teacher_validation: bool | None = None,
    required: bool = False,
) -> list[dict]:
    """Give the entries of a datalist that fit, in the file's order, with absolute paths.

    Parameters
    ----------
    path : the datalist.
    section : ``"training"``, ``"unlabeled"``, ``"testing"``, or several of them.
    kind : keep only these kinds (``"strong"``, ``"weak"``, ``"unlabeled"``, ``"test"``); None keeps all.
    validation : True keeps the cases held out from the students, False the others, None both.
    teacher_validation : the same for the teacher's own split of the strong cases.
    required : raise where nothing fits.

    Returns
    -------
    list of dict
        Entries ``{"id", "image", "label", "kind", "annotated_classes", ...}``; empty when nothing fits.

    Raises
    ------
    CaseError
        If the file is missing or faulty, a section is not in it, a kind is unknown, or a required case is missing.
    """
    datalist = read_datalist(path)
    sections = [section] if isinstance(section, str) else list(section)
    kinds = None if kind is None else [kind] if isinstance(kind, str) else list(kind)
    known = ("strong", "weak", "unlabeled", "test")
    for name in kinds or ():
        if name not in known:
            raise CaseError(f"Unknown kind of case {name!r}. Use {_either(known)}.")
    cases = []
    for name in sections:
        if name not in datalist or name not in KINDS:
            present = [key for key in KINDS if key in datalist]
            raise CaseError(f"{path}: no section {name!r}; this datalist has {', '.join(present) or 'none'}.")
        cases += datalist[name]
    flags = {"validation": validation, "teacher_validation": teacher_validation}
    wanted = {flag: value for flag, value in flags.items() if value is not None}
    found = [
        case
        for case in cases
        if (kinds is None or case["kind"] in kinds)
        and all(case.get(flag, False) == value for flag, value in wanted.items())
    ]
    if required and not found:
        named = " or ".join(kinds or ["suitable"])
        raise CaseError(
            f"{path}: has no {named} case left to take; the data list must hold at least one in {', '.join(sections)}."
        )
    return found


def write_datalist(path: str | os.PathLike, datalist: dict) -> None:
    """Check a datalist and write it as JSON, atomically; relative paths in it count from the folder of ``path``."""
    check_datalist(datalist, path)
    write_json(path, datalist)
