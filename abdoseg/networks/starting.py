"""Folders of weights: the one that a bundle labels with, and the one that a training starts from."""

import os
from pathlib import Path

from torch import nn

from abdoseg.networks.checkpoints import load_checkpoint
from abdoseg.networks.coarse_weights import CHECKPOINT_FILE

STARTER_FOLDER = "starter"


def weights_folder(models: str | os.PathLike) -> str:
    """Folder of the weights that a bundle labels with where nobody names one.

    Parameters
    ----------
    models : the bundle's ``models``, which trainings write into.

    Returns
    -------
    ``models``, or ``models/starter`` where that alone holds weights: those that the bundle came with. Trainings neither
    overwrite them nor take their architecture.
    """
    starter = Path(models) / STARTER_FOLDER
    only_starter = (starter / CHECKPOINT_FILE).exists() and not (Path(models) / CHECKPOINT_FILE).exists()
    return str(starter if only_starter else models)


def start_from(network: nn.Module, folder: str | os.PathLike | None = None) -> None:
    """Fill a network that is about to be trained from ``folder``/model.pt; None leaves it as it is.

    Raises
    ------
    FileNotFoundError, CaseError
        See ``load_checkpoint``.
    """
    if folder is not None:
        load_checkpoint(Path(folder) / CHECKPOINT_FILE, network)
