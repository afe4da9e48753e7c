"""Malformed data lists from a seed: broken JSON, other types, and paths and ids that lead astray."""

import copy
import json
import os
from pathlib import Path

import numpy as np

from tests.hard.malformed import directory, link_to_nowhere, pipe, symlink_loop

JUNK = (None, True, 0, -1, 15, 1e308, 10**400, "", " ", "x", [], {}, [[]], [None], {"id": "x"}, float("nan"))
PATHS = (
    "../outside",
    "../../outside",
    "/etc/passwd",
    "/dev/zero",
    "/proc/self/environ",
    "a\0b",
    "\ud800",
    "x" * 300,
    "x/" * 3000,
    ".",
    "..",
    "",
    "a/b",
    "a\nb",
    "~/x",
    "C:\\x",
    "$HOME",
    "<script>alert(1)</script>",
    "http://127.0.0.1:9/x.nii.gz",
)


def cut(text: bytes, rng: np.random.Generator) -> bytes:
    return text[: rng.integers(len(text))]


def flipped(text: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(text)
    for place in rng.integers(0, len(text), rng.integers(1, 6)):
        changed[place] ^= 1 << rng.integers(8)
    return bytes(changed)


def other_text(text: bytes, rng: np.random.Generator) -> bytes:
    texts = [b"", b"null", b"[]", b'"text"', b"{}", b"[" * 200_000, b'{"a":' * 100_000, b"\xff\xfe" + text, b"\0" * 64]
    texts += [text.decode().encode("utf-16"), b"\xef\xbb\xbf" + text, text + text, b"9" * 10_000, b"NaN"]
    return texts[rng.integers(len(texts))]


def places_in(node, found: list | None = None) -> list[tuple]:
    """Every place of a JSON tree, as its container and the key in it."""
    found = [] if found is None else found
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        found.append((node, key))
        places_in(node[key], found)
    return found


def other_value(content: dict, rng: np.random.Generator) -> None:
    container, key = _one(places_in(content), rng)
    container[key] = JUNK[rng.integers(len(JUNK))]


def lost_value(content: dict, rng: np.random.Generator) -> None:
    container, key = _one(places_in(content), rng)
    del container[key]


def repeated_entry(content: dict, rng: np.random.Generator) -> None:
    _, section = _one([(content, key) for key in content if content[key] and isinstance(content[key], list)], rng)
    content[section].append(copy.deepcopy(content[section][0]))


def led_astray(content: dict, rng: np.random.Generator) -> None:
    """Another id or path, also of a healthy case."""
    texts = [(node, key) for node, key in places_in(content) if key in ("id", "image", "label")]
    container, key = _one(texts, rng)
    container[key] = PATHS[rng.integers(len(PATHS))]


def _one(places: list[tuple], rng: np.random.Generator) -> tuple:
    return places[rng.integers(len(places))]


TREE_FAULTS = (other_value, other_value, lost_value, repeated_entry, led_astray, led_astray, led_astray)
TEXT_FAULTS = (cut, flipped, other_text)
PLACE_FAULTS = (directory, symlink_loop, link_to_nowhere, pipe)


def spoil_list(path: Path, rng: np.random.Generator) -> str:
    """Do one thing to a healthy data list; give its name."""
    kind = rng.random()
    if kind < 0.1:
        fault = PLACE_FAULTS[rng.integers(len(PLACE_FAULTS))]
        fault(path, rng)
    elif kind < 0.35:
        fault = TEXT_FAULTS[rng.integers(len(TEXT_FAULTS))]
        path.write_bytes(fault(path.read_bytes(), rng))
    else:
        fault = TREE_FAULTS[rng.integers(len(TREE_FAULTS))]
        content = json.loads(path.read_text())
        fault(content, rng)
        path.write_text(json.dumps(content))
    return fault.__name__


def files_below(folder: Path) -> set[str]:
    """Paths below a folder, to see that nothing was written elsewhere than it was told to be."""
    return {os.path.join(place, name) for place, folders, names in os.walk(folder) for name in (*folders, *names)}
