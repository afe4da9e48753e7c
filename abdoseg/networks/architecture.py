"""Architectures as plain data: what a checkpoint's network looks like stands beside it in architecture.json."""

import json
import os
from pathlib import Path

from torch import nn

from abdoseg.files import CaseError, write_json
from abdoseg.networks.background import WithBackground
from abdoseg.networks.coarse_to_fine import CoarseToFineNetwork
from abdoseg.networks.efficient_segnet import EfficientSegNet
from abdoseg.networks.nnunet import build_dynunet
from abdoseg.networks.residual_unet import ResidualUNet

ARCHITECTURE_FILE = "architecture.json"
REQUIRED = object()

# What each kind reads, with the papers' values. A student's out_channels are learned: background comes on top.
KINDS: dict[str, dict] = {
    "residual_unet": {
        "in_channels": 1,
        "out_channels": 14,
        "channels": [16, 32, 64, 128, 256],
        "image_size": [160, 160, 160],
        "dropout": 0.2,
        "highest_id_wins": False,
    },
    "efficient_segnet": {
        "in_channels": 1,
        "out_channels": 14,
        "channels": [16, 32, 64, 128, 256],
        "image_size": [192, 192, 192],
        "dropout": 0.2,
        "anisotropic_axis": "x",
        "highest_id_wins": False,
    },
    "coarse_to_fine": {"coarse": None, "fine": {"kind": "efficient_segnet"}},
    "nnunet": {"plan": REQUIRED, "in_channels": 1, "out_channels": None, "deep_supervision": True},
}
# Carried along with any kind and never read here: the intensity window and whatever else belongs to the weights.
CARRIED = "inference"


def complete_architecture(architecture: dict) -> dict:
    """Check an architecture and fill in what it leaves out.

    Parameters
    ----------
    architecture : plain data with "kind" and any of that kind's keys (see ``KINDS``), and freely "inference", which is
        carried along. "image_size" is in voxels (x, y, z); "plan" is an nnU-Net plan.

    Returns
    -------
    dict : a copy with every key of its kind, as JSON would give it back (lists, not tuples).

    Raises
    ------
    ValueError
        If the kind or a key is unknown, or a needed one is missing (names the allowed ones), or a value is not plain
        data.
    """
    if not isinstance(architecture, dict):
        raise ValueError(f"An architecture is a dict with the key 'kind', not {architecture!r}.")
    kind = architecture.get("kind")
    if kind not in KINDS:
        raise ValueError(f"Unknown architecture kind {kind!r}. Use one of {', '.join(map(repr, KINDS))}.")
    allowed = KINDS[kind]
    for key in architecture:
        if key not in ("kind", CARRIED, *allowed):
            names = ", ".join(map(repr, (*allowed, CARRIED)))
            raise ValueError(f"Unknown key {key!r} in an architecture of kind {kind!r}. Use {names}.")
    for key, value in allowed.items():
        if value is REQUIRED and key not in architecture:
            raise ValueError(f"An architecture of kind {kind!r} needs the key {key!r}.")
    try:
        complete = json.loads(json.dumps({"kind": kind, **allowed, **architecture}))
    except TypeError as error:
        raise ValueError(f"An architecture holds plain data only, as JSON has it: {error}.") from error
    if kind == "coarse_to_fine":
        for part in ("coarse", "fine"):
            if complete[part] is not None or part == "fine":
                complete[part] = complete_architecture(complete[part])
                if complete[part]["kind"] == kind:
                    raise ValueError(f"The {part} part of a coarse_to_fine architecture cannot be another one.")
    return complete


def build_network(architecture: dict) -> nn.Module:
    """Build a network from plain data.

    Parameters
    ----------
    architecture : see ``complete_architecture``.

    Returns
    -------
    nn.Module : maps (B, in, x, y, z) to logits with background as channel 0. Its ``architecture`` is the completed
        plain data; its ``load_state_dict`` loads everything or raises. Students ("residual_unet", "efficient_segnet")
        come in a ``WithBackground``.

    Raises
    ------
    ValueError
        If the architecture is not valid.
    """
    architecture = complete_architecture(architecture)
    settings = {key: value for key, value in architecture.items() if key not in ("kind", CARRIED)}
    match architecture["kind"]:
        case "coarse_to_fine":
            coarse, fine = settings["coarse"], settings["fine"]
            network = CoarseToFineNetwork(None if coarse is None else build_network(coarse), build_network(fine))
        case "nnunet":
            network = build_dynunet(**settings)
        case "residual_unet":
            highest_id_wins = settings.pop("highest_id_wins")
            del settings["image_size"]  # the grid that the inferer resizes to; any other fits this network as well
            network = WithBackground(ResidualUNet(**settings), highest_id_wins)
        case "efficient_segnet":
            highest_id_wins = settings.pop("highest_id_wins")
            network = WithBackground(EfficientSegNet(**settings), highest_id_wins)
    network.architecture = architecture
    return network


def read_architecture(path: str | os.PathLike, default: dict) -> dict:
    """Read an architecture file, or give ``default`` where there is none.

    Raises
    ------
    CaseError
        If the file is not JSON, or not the architecture of a network; names the file.
    """
    path = Path(path)
    if not path.exists():
        return complete_architecture(default)
    try:
        return complete_architecture(json.loads(path.read_text()))
    except json.JSONDecodeError as error:
        raise CaseError(f"{path} is not valid JSON ({error}); write it with write_architecture.") from error
    except ValueError as error:
        raise CaseError(f"{path}: {error}") from error


def write_architecture(path: str | os.PathLike, architecture: dict) -> None:
    """Write a network's architecture as JSON, atomically; ValueError if it is not valid."""
    write_json(path, complete_architecture(architecture))
