"""Files that vanish or change while a command reads them."""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tests.hard.malformed import truncated_inside, values

WHILE_READ = ("vanishes", "shrinks", "becomes_another", "becomes_a_folder")


@contextmanager
def changed_while_read(path: Path, how: str, rng: np.random.Generator) -> Iterator[None]:
    """Change a file from another thread, some time after the block has begun."""
    timer = threading.Timer(float(rng.choice([0.0, 0.01, 0.05, 0.2])), change, [path, how, rng])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def change(path: Path, how: str, rng: np.random.Generator) -> None:
    """Change a file; but for "vanishes" there is something of its name at every moment.

    What takes its place is made elsewhere first. Were the file removed and something else put there afterwards, a
    command that lists the folder between the two would rightly know nothing of it.
    """
    if how == "shrinks":
        os.truncate(path, path.stat().st_size // 3)
        return
    if how == "vanishes":
        path.unlink()
        return
    with TemporaryDirectory(dir=path.parents[2]) as aside:  # on the same file system, outside what is listed
        other = Path(aside) / path.name
        if how == "becomes_a_folder":
            other.mkdir()
        else:
            other.write_bytes(path.read_bytes())
            spoil = truncated_inside if rng.random() < 0.5 else values
            spoil(other, rng)
        exchange(other, path)


def exchange(one: Path, other: Path) -> None:
    """Swap two names in one step; Python's own ``os.replace`` puts no folder in a file's place."""
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if ctypes.CDLL(None, use_errno=True).renameat2(here, os.fsencode(one), here, os.fsencode(other), swap):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))
