"""Checkpoints: read safely, loaded and written whole or not at all."""

import os
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from abdoseg.files import CaseError, atomic_path
from abdoseg.networks.architecture import ARCHITECTURE_FILE, read_architecture
from abdoseg.networks.coarse_to_fine import CoarseToFineNetwork
from abdoseg.networks.strict import REMEDY, state_faults


class MismatchError(CaseError, RuntimeError):
    """A checkpoint of another network; also a RuntimeError, as PyTorch's ``load_state_dict`` raises."""


def unwrap(network: nn.Module) -> nn.Module:
    """Give the network inside DistributedDataParallel, or the network itself."""
    return network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network


def read_state(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read the weights of one network from a checkpoint file onto the CPU.

    Parameters
    ----------
    path : a plain state dict, or a dict that holds one under "model"; tensors and plain values only.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CaseError
        If the file is not a checkpoint, or holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint; train the stage that writes it, or name another.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, UnicodeDecodeError) as error:
        raise CaseError(f"{path} is not a checkpoint of tensors and plain values; save a state dict.") from error
    within = content.get("model") if isinstance(content, dict) else None
    state, where = (within, " under the key 'model'") if isinstance(within, dict) else (content, "")
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise CaseError(f"{path} holds no state dict{where}; save network.state_dict(), or {{'model': state_dict}}.")
    return state


def write_state(path: str | os.PathLike, state: dict) -> None:
    """Write tensors and plain values to a checkpoint file, atomically; OSError where the disk is full."""
    # Given a path, torch.save makes another error of a full disk.
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save(state, file)


def load_checkpoint(path: str | os.PathLike, network: nn.Module) -> nn.Module:
    """Load a checkpoint into a network (seen through DistributedDataParallel), whole or not at all.

    Parameters
    ----------
    path : see ``read_state``.
    network : the module to fill.

    Returns
    -------
    nn.Module : ``network``.

    Raises
    ------
    FileNotFoundError, CaseError
        See ``read_state``.
    MismatchError
        If a name is missing or unexpected, or a shape differs; names the file, and nothing is loaded.
    """
    state = read_state(path)
    module = unwrap(network)
    faults = state_faults(module.state_dict(), state)
    if faults:
        raise MismatchError(f"{path} does not fit the network: {faults}; {REMEDY}.")
    module.load_state_dict(state)
    return network


def load_coarse(container: nn.Module, path: str | os.PathLike) -> nn.Module:
    """Fill the coarse part of a coarse-to-fine network from a checkpoint of the coarse stage.

    Parameters
    ----------
    container : a ``CoarseToFineNetwork`` with a coarse part (seen through DistributedDataParallel).
    path : checkpoint of the coarse network alone. If an architecture.json stands beside it, it must be that of the
        container's coarse part, grid included.

    Returns
    -------
    nn.Module : ``container``.

    Raises
    ------
    CaseError
        If the container has no coarse part, or its architecture differs from the one beside the checkpoint.
    FileNotFoundError, MismatchError
        See ``load_checkpoint``.
    """
    module = unwrap(container)
    if not isinstance(module, CoarseToFineNetwork) or module.coarse is None:
        raise CaseError(f"{path} cannot be loaded: the network has no coarse part; give its architecture one.")
    beside = Path(path).parent / ARCHITECTURE_FILE
    expected = getattr(module.coarse, "architecture", None)
    if expected is not None and beside.exists():
        found = read_architecture(beside, expected)
        for name in sorted({*expected, *found}):
            if found.get(name) != expected.get(name):
                raise CaseError(
                    f"{beside} has {name} {found.get(name)!r} but the container's coarse part has "
                    f"{expected.get(name)!r}; build the coarse part from that file."
                )
    load_checkpoint(path, module.coarse)
    return container
