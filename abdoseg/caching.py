"""Names of cached training samples that change when a file behind them changes."""

from pathlib import Path

from monai.data.utils import pickle_hashing


def hash_case(case: dict) -> bytes:
    """Hash a case with size and time of its files, as ``hash_func`` of MONAI's ``PersistentDataset``.

    MONAI's own hash sees the paths alone, so that a label map that was merged anew would keep its stale cache entry.

    Parameters
    ----------
    case : dictionary with paths under ``image`` and ``label``; the other keys are hashed as they are.
    """
    stamps = []
    for key in ("image", "label"):
        path = Path(str(case.get(key, "")))
        if path.is_file():
            stamps.append((key, path.stat().st_size, path.stat().st_mtime_ns))
    return pickle_hashing({**case, "stamps": stamps})
