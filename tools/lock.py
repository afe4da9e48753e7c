"""One process a work folder: the second one says so and stops."""

import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from abdoseg.files import CaseError

LOCK_FILE = ".lock"
# The data loaders' workers of a killed process notice its end after 5 s, and hold its lock until then.
GRACE_SECONDS = 15


@contextmanager
def sole_user(folder: str | os.PathLike) -> Iterator[None]:
    """Hold a folder, made if missing, against other processes; the system lets go of it when the process dies.

    Where the file system knows no locks, nothing is held.

    Raises
    ------
    CaseError
        If another process holds the folder; it is named.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("a+") as file:
        deadline = time.monotonic() + GRACE_SECONDS
        while (held := _is_held(file)) is False:
            file.seek(0)
            holder = file.read().strip() or "another process"
            if not _has_died(holder) or time.monotonic() > deadline:
                raise CaseError(f"{folder}: {holder} is at work in this folder; wait for it, or give another one.")
            time.sleep(0.2)
        if held is None:
            yield
            return
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _is_held(file: TextIO) -> bool | None:
    """Take the lock if it is free; None where the file system knows no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _has_died(holder: str) -> bool:
    """Whether the process that the lock's file names was one of this machine, and is no more."""
    name, host = re.match(r"process (\d+) on (.*)|", holder).groups()
    return host == socket.gethostname() and not Path(f"/proc/{name}").exists()
