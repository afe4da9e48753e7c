"""What a person can mend, found in what the libraries raise around it."""

import re
from pathlib import Path

import yaml

from abdoseg.files import CaseError

# A worker process of a DataLoader hands its error over as the text of a traceback.
WORKER_FAULT = re.compile(r"^abdoseg[\w.]*Error: (.+)$", re.MULTILINE)


def fault_of(error: BaseException) -> str | None:
    """Sentence that tells the user what to mend; None for a fault of the program, whose traceback is wanted.

    MONAI wraps what a part of a config raises ("Failed to instantiate ...", "applying transform ..."): the sentence is
    that of the outermost CaseError, OSError (no space left, permission denied), or YAMLError, which tells file and line
    of a config, among the causes.
    """
    while error is not None:
        if isinstance(error, CaseError | OSError | yaml.YAMLError):
            return " ".join(str(error).split())
        if found := WORKER_FAULT.search(str(error)):
            return found[1]
        error = error.__cause__
    return None


def reason_of(error: BaseException, scan: str | Path) -> str:
    """Sentence on why a scan was set aside, whoever's fault it is; names the scan."""
    return fault_of(error) or f"{scan}: {innermost(error)}"


def innermost(error: BaseException) -> str:
    """What the error says that caused all others, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
