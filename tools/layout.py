"""Which file is which case's image, label or truth: in the folder of a data set, or in those of a datasets.yaml."""

from pathlib import Path

from tools.layouts import find_in_folder
from tools.layouts.mixed import find_declared


def find_cases(data: Path) -> tuple[list[dict], list[dict]]:
    """Find the cases of a data set in any layout that is known, or of those that a ``datasets.yaml`` declares.

    Returns
    -------
    candidates : entries ``{"id", "section", "image"}`` in the order of their sections and ids, not read yet; with
        ``"label"``, a path or a list of paths of mask files, ``"source_labels"``, the ``LabelConvention`` of a label
        that is not FLARE23's, and ``"dataset"``, its name in a ``datasets.yaml``.
    excluded : entries ``{"id", "image" or "label", "reason"}`` for what has no partner or stands twice.

    Raises
    ------
    CaseError
        If the folder or file is missing, nothing in it is known, or a declaration is faulty.
    """
    return find_declared(data) if data.suffix in (".yaml", ".yml") else find_in_folder(data)
