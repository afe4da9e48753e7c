"""A command that ends when the process that started it does: `python -m tools.attached COMMAND ...`."""

import ctypes
import os
import signal
import sys
import traceback
from contextlib import suppress

from tools.__main__ import main

# Python's own code for an exception, 1, is that of a command that has set some cases aside.
CRASHED = 3
SET_PARENT_DEATH_SIGNAL = 1  # of Linux's prctl


def end_with_parent(parent: int | None = None) -> None:
    """Have the system kill this process when the thread that started it ends, however that happens; Linux only.

    Parameters
    ----------
    parent : process that started this one; if that has ended before this call, this one ends at once.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    end_with_parent()
    try:
        code = main(sys.argv[1:])
    except Exception:  # a defect; whoever started this goes by the code
        traceback.print_exc()
        code = CRASHED
    sys.exit(code)
