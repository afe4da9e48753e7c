"""How the fine stage takes over the coarse stage's network: its architecture and its weights, from one folder."""

import os
from pathlib import Path

from torch import nn

from abdoseg.networks.architecture import ARCHITECTURE_FILE, read_architecture
from abdoseg.networks.checkpoints import load_coarse

CHECKPOINT_FILE = "model.pt"


def coarse_to_fine_architecture(fine: dict, coarse_dir: str | os.PathLike | None = None) -> dict:
    """Architecture of the container of a fine network and the coarse network that was trained before it.

    Parameters
    ----------
    fine : architecture of the fine network, plain data.
    coarse_dir : folder with the coarse stage's model.pt and architecture.json; None: no coarse part, so that the
        region of interest is the whole volume.

    Raises
    ------
    FileNotFoundError
        If the folder lacks its architecture.json.
    """
    coarse = None
    if coarse_dir is not None:
        path = Path(coarse_dir) / ARCHITECTURE_FILE
        if not path.exists():
            raise FileNotFoundError(
                f"{path} does not exist; coarse_dir must be the folder that coarse_seg trained into."
            )
        coarse = read_architecture(path, {})
    return {"kind": "coarse_to_fine", "coarse": coarse, "fine": fine}


def fill_coarse(network: nn.Module, coarse_dir: str | os.PathLike | None = None) -> None:
    """Load the coarse part of a container from ``coarse_dir``/model.pt; None leaves the container as it is.

    Raises as `load_coarse` does.
    """
    if coarse_dir is not None:
        load_coarse(network, Path(coarse_dir) / CHECKPOINT_FILE)
