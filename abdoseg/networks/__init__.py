"""The networks of both papers, built from plain data, loaded whole or not at all."""

from abdoseg.networks.architecture import (
    ARCHITECTURE_FILE,
    build_network,
    complete_architecture,
    read_architecture,
    write_architecture,
)
from abdoseg.networks.background import WithBackground, highest_id_logits
from abdoseg.networks.checkpoints import load_checkpoint, load_coarse, read_state, unwrap
from abdoseg.networks.coarse_to_fine import CoarseToFineNetwork
from abdoseg.networks.coarse_weights import coarse_to_fine_architecture, fill_coarse
from abdoseg.networks.efficient_segnet import EfficientSegNet
from abdoseg.networks.nnunet import build_dynunet
from abdoseg.networks.residual_unet import ResidualUNet

__all__ = [
    "ARCHITECTURE_FILE",
    "CoarseToFineNetwork",
    "EfficientSegNet",
    "ResidualUNet",
    "WithBackground",
    "build_dynunet",
    "build_network",
    "coarse_to_fine_architecture",
    "complete_architecture",
    "fill_coarse",
    "highest_id_logits",
    "load_checkpoint",
    "load_coarse",
    "read_architecture",
    "read_state",
    "unwrap",
    "write_architecture",
]
