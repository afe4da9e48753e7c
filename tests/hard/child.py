"""The child process of malformed cases: `python -m tests.hard.child FOLDER` takes a seed and gives a reply a line."""

import json
import logging
import os
import resource
import shutil
import sys
import traceback
import warnings
from dataclasses import asdict
from pathlib import Path

from tests.hard.cases import COMMANDS, run_case, write_healthy
from tests.hard.malformed import MIB

SPARE_MIB = 512  # what a case may take beside what the process has


def serve(folder: Path) -> None:
    """Answer each seed that comes in; the folder of a case goes with it."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no reply
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    write_healthy(folder / "healthy")
    for seed in range(2 * len(COMMANDS)):  # imports what there is to import
        run_case(seed, folder / "healthy", folder / f"warm{seed}")
    limit = virtual_bytes() + SPARE_MIB * MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print(json.dumps({"ready": True, "limit_mib": limit // MIB}), file=replies, flush=True)
    for line in sys.stdin:
        place = folder / f"case{line.strip()}"
        reply = asdict(run_case(int(line), folder / "healthy", place))
        shutil.rmtree(place, ignore_errors=True)
        print(json.dumps(reply), file=replies, flush=True)


def virtual_bytes() -> int:
    """Address space of this process: what RLIMIT_AS limits."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    try:
        serve(Path(sys.argv[1]))
    except Exception:
        traceback.print_exc()
        os._exit(1)  # a timer thread of a case may still wait
