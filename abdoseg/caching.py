"""Cached training samples: made anew when a file behind them changes, whole or absent on the disk."""

import logging
import pickle
from copy import deepcopy
from pathlib import Path

import torch
from monai.data import PersistentDataset
from monai.data.utils import pickle_hashing
from monai.utils import convert_to_tensor

from abdoseg.networks import write_state

logger = logging.getLogger(__name__)


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


class CaseCache(PersistentDataset):
    """MONAI's ``PersistentDataset`` for processes that may be killed, and disks that may be full.

    The stock one moves its files in from the system's temporary folder, which on another file system is a copy that can
    be cut short, and then stops at its own broken file. Here a file is whole or absent, and one that cannot be read is
    made anew. A sample is the same whether it was just made or comes from the cache.
    """

    def _cachecheck(self, item_transformed: dict) -> dict:
        path = self.cache_dir / f"{self.hash_func(item_transformed).decode()}{self.transform_hash}.pt"
        if path.is_file():
            try:
                return torch.load(path, weights_only=self.weights_only)
            except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
                logger.warning("%s is broken (%s); the sample is made anew.", path, error)
        sample = self._pre_transform(deepcopy(item_transformed))
        sample = convert_to_tensor(sample, convert_numeric=False, track_meta=self.track_meta)
        write_state(path, sample)
        return sample
