"""The networks of both papers, built from plain data, loaded whole or not at all."""

from abdoseg.networks.architecture import (
    ARCHITECTURE_FILE,
    build_network,
    complete_architecture,
    read_architecture,
    write_architecture,
)
from abdoseg.networks.background import WithBackground, highest_id_logits
from abdoseg.networks.cascade import CascadeNetwork
from abdoseg.networks.cascade_weights import assemble_cascade, cascade_architecture, fill_cascade
from abdoseg.networks.checkpoints import load_checkpoint, load_coarse, read_state, unwrap, write_state
from abdoseg.networks.coarse_to_fine import CoarseToFineNetwork
from abdoseg.networks.coarse_weights import coarse_to_fine_architecture, fill_coarse
from abdoseg.networks.efficient_segnet import EfficientSegNet
from abdoseg.networks.nnunet import build_dynunet
from abdoseg.networks.residual_unet import ResidualUNet
from abdoseg.networks.starting import STARTER_FOLDER, start_from, weights_folder

__all__ = [
    "ARCHITECTURE_FILE",
    "STARTER_FOLDER",
    "CascadeNetwork",
    "CoarseToFineNetwork",
    "EfficientSegNet",
    "ResidualUNet",
    "WithBackground",
    "assemble_cascade",
    "build_dynunet",
    "build_network",
    "cascade_architecture",
    "coarse_to_fine_architecture",
    "complete_architecture",
    "fill_cascade",
    "fill_coarse",
    "highest_id_logits",
    "load_checkpoint",
    "load_coarse",
    "read_architecture",
    "read_state",
    "start_from",
    "unwrap",
    "weights_folder",
    "write_architecture",
    "write_state",
]
