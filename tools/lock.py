"""One process a work folder: the second one says so and stops."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from abdoseg.files import CaseError

LOCK_FILE = ".lock"


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
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise CaseError(
                f"{folder}: {holder} is at work in this folder; wait for it, or give another one."
            ) from error
        except OSError:
            yield
            return
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
