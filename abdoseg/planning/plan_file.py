"""Plans as files: read one, or take the default where none is named."""

import json
import os
from pathlib import Path

from abdoseg.files import CaseError

REQUIRED = ("spacing", "patch_size", "batch_size", "features", "strides", "kernels", "normalization", "classes")


def read_plan(path: str | os.PathLike | None, default: dict | None = None) -> dict:
    """Read a plan, or give ``default`` if no path is named.

    Parameters
    ----------
    path : JSON file as ``python -m tools plan`` writes it, or None.
    default : plan with the same keys.

    Raises
    ------
    CaseError
        If the file does not exist, is not JSON or lacks a key.
    """
    if path is None:
        return dict(default)
    path = Path(path)
    if not path.exists():
        raise CaseError(f"{path} does not exist; write a plan with `python -m tools plan`.")
    try:
        plan = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise CaseError(f"{path} is not JSON ({error}); write a plan with `python -m tools plan`.") from error
    if missing := [key for key in REQUIRED if key not in plan]:
        raise CaseError(f"{path} lacks {', '.join(missing)}; write a plan with `python -m tools plan`.")
    return plan
