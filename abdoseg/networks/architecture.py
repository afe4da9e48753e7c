"""Architectures as plain data: what a checkpoint's network looks like stands beside it in architecture.json."""

import json
import os
from pathlib import Path

from torch import nn

from abdoseg.files import CaseError, write_json
from abdoseg.manifest import forget_weights
from abdoseg.networks.background import WithBackground
from abdoseg.networks.cascade import CascadeNetwork
from abdoseg.networks.coarse_to_fine import CoarseToFineNetwork
from abdoseg.networks.efficient_segnet import EfficientSegNet
from abdoseg.networks.nnunet import build_dynunet
from abdoseg.networks.residual_unet import ResidualUNet
from abdoseg.tumors import EVERY_FAMILY

ARCHITECTURE_FILE = "architecture.json"
REQUIRED = object()

# What each kind reads, with the papers' values. A student's out_channels are learned: background comes on top.
KINDS: dict[str, dict] = {
    "residual_unet": {
        "in_channels": 1,
        "out_channels": 14,
        "channels": [16, 32, 64, 128, 256],
        "image_size": [160, 160, 160],
        "hu_window": [-325, 325],
        "dropout": 0.2,
        "highest_id_wins": False,
    },
    "efficient_segnet": {
        "in_channels": 1,
        "out_channels": 14,
        "channels": [16, 32, 64, 128, 256],
        "image_size": [192, 192, 192],
        "hu_window": [-325, 325],
        "dropout": 0.2,
        "anisotropic_axis": "x",
        "highest_id_wins": False,
    },
    "coarse_to_fine": {"coarse": None, "fine": {"kind": "efficient_segnet"}},
    "nnunet": {"plan": REQUIRED, "in_channels": 1, "out_channels": None, "deep_supervision": True},
    "tumor_cascade": {"organs": None, "tumors": REQUIRED},
}
# What may find the organs of a cascade, and what its tumor networks give: background and tumor.
ORGAN_KINDS = ("nnunet", "coarse_to_fine")
TUMOR_CHANNELS = 2


def complete_architecture(architecture: dict) -> dict:
    """Check an architecture and fill in what it leaves out.

    Parameters
    ----------
    architecture : plain data with "kind" and any of that kind's keys (see ``KINDS``). "image_size" is in voxels
        (x, y, z); "plan" is an nnU-Net plan.

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
        if key not in ("kind", *allowed):
            names = ", ".join(map(repr, allowed))
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
    if kind == "tumor_cascade":
        _complete_cascade(complete)
    return complete


def _complete_cascade(cascade: dict) -> None:
    """Complete the parts of a cascade in place; ValueError for a part of another kind, or an unknown family."""
    if cascade["organs"] is not None:
        cascade["organs"] = organs = complete_architecture(cascade["organs"])
        if organs["kind"] not in ORGAN_KINDS:
            allowed = " or ".join(map(repr, ORGAN_KINDS))
            raise ValueError(
                f"The organs of a tumor_cascade architecture are of kind {organs['kind']!r}. Use {allowed}."
            )
    if not isinstance(cascade["tumors"], dict):
        raise ValueError(f"The tumors of a tumor_cascade are a dict by family, not {cascade['tumors']!r}.")
    for family, tumor in cascade["tumors"].items():
        if family not in EVERY_FAMILY:
            raise ValueError(f"Unknown family of hosts {family!r}. Use {', '.join(map(repr, EVERY_FAMILY))}.")
        cascade["tumors"][family] = tumor = complete_architecture(tumor)
        if tumor["kind"] != "nnunet":
            raise ValueError(f"The {family} part of a tumor_cascade is of kind {tumor['kind']!r}. Use 'nnunet'.")
        channels = tumor["out_channels"]
        if channels is None and isinstance(tumor["plan"], dict):
            channels = tumor["plan"].get("classes")
        if channels not in (None, TUMOR_CHANNELS):
            raise ValueError(f"The {family} part of a tumor_cascade has {channels} classes. Use 2.")


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
    settings = {key: value for key, value in architecture.items() if key != "kind"}
    match architecture["kind"]:
        case "coarse_to_fine":
            coarse, fine = settings["coarse"], settings["fine"]
            network = CoarseToFineNetwork(None if coarse is None else build_network(coarse), build_network(fine))
        case "tumor_cascade":
            organs, tumors = settings["organs"], settings["tumors"]
            networks = {family: build_network(tumor) for family, tumor in tumors.items()}
            network = CascadeNetwork(None if organs is None else build_network(organs), networks)
        case "nnunet":
            network = build_dynunet(**settings)
        case "residual_unet":
            highest_id_wins = settings.pop("highest_id_wins")
            # What the inferer resizes and clips to; the network itself takes any.
            del settings["image_size"], settings["hu_window"]
            network = WithBackground(ResidualUNet(**settings), highest_id_wins)
        case "efficient_segnet":
            highest_id_wins = settings.pop("highest_id_wins")
            del settings["hu_window"]
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
    """Write a network's architecture as JSON, atomically; ValueError if it is not valid.

    Weights to it are about to be made: those that a packed bundle came with are no longer expected beside it.
    """
    complete = complete_architecture(architecture)
    forget_weights(Path(path).parent)
    write_json(path, complete)
