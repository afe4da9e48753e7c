"""Files that vanish or change while a command reads them."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.hard.malformed import truncated_inside, values

WHILE_READ = ("vanishes", "shrinks", "becomes_another", "becomes_a_folder")


@contextmanager
def changed_while_read(path: Path, how: str, rng: np.random.Generator) -> Iterator[None]:
    """Change a file from another thread, some time after the block has begun."""
    other = truncated_inside if rng.random() < 0.5 else values

    def change() -> None:
        content = path.read_bytes()
        if how == "shrinks":
            os.truncate(path, len(content) // 3)
            return
        path.unlink()
        if how == "becomes_a_folder":
            path.mkdir()
        elif how == "becomes_another":
            path.write_bytes(content)
            other(path, rng)

    timer = threading.Timer(float(rng.choice([0.0, 0.01, 0.05, 0.2])), change)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
