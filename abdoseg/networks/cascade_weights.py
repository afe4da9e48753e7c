"""How a cascade gets its parts: the organ network and each tumor network are trained in folders of their own."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from abdoseg.files import CaseError
from abdoseg.networks.architecture import ARCHITECTURE_FILE, build_network, read_architecture, write_architecture
from abdoseg.networks.checkpoints import MismatchError, read_state, unwrap, write_state
from abdoseg.networks.coarse_weights import CHECKPOINT_FILE
from abdoseg.networks.strict import REMEDY, state_faults

logger = logging.getLogger(__name__)
KIND = "tumor_cascade"


def cascade_architecture(family: str, tumor: dict, organs_dir: str | os.PathLike | None = None) -> dict:
    """Architecture of a cascade whose tumor network of ``family`` is to be trained.

    Parameters
    ----------
    family : of host organs, see ``abdoseg.tumors.FAMILIES``, or "rest".
    tumor : architecture of the tumor network, plain data.
    organs_dir : folder with model.pt and architecture.json of an organ network or of a cascade, whose organs are
        taken; None: no organ part.

    Raises
    ------
    FileNotFoundError
        If the folder lacks its architecture.json.
    """
    organs = None if organs_dir is None else _organs_of(_read_part(organs_dir), Path(organs_dir))
    return {"kind": KIND, "organs": organs, "tumors": {family: tumor}}


def fill_cascade(network: nn.Module, ckpt_dir: str | os.PathLike, organs_dir: str | os.PathLike | None = None) -> None:
    """Load the parts of a cascade that are not to be trained, so that what is saved is whole.

    Parameters
    ----------
    network : a ``CascadeNetwork`` (seen through DistributedDataParallel), after ``select``.
    ckpt_dir : folder that is trained into; where it holds a model.pt, the organs and the other tumor networks are
        loaded from it.
    organs_dir : folder of the organ network, or of a cascade that has one; takes the place of what ``ckpt_dir`` holds.

    Raises
    ------
    FileNotFoundError, CaseError, MismatchError
        If a checkpoint cannot be read or does not fit.
    """
    module = unwrap(network)
    if organs_dir is not None and module.organs is None:
        raise CaseError(f"{organs_dir} cannot be loaded: the cascade in {ckpt_dir} has no organ part.")
    others = {name: value for name, value in module.state_dict().items() if not _is_of(name, module.selected)}
    earlier = Path(ckpt_dir) / CHECKPOINT_FILE
    state: dict[str, Tensor] = {}
    if others and earlier.exists():
        state = {name: value for name, value in read_state(earlier).items() if not _is_of(name, module.selected)}
    elif not earlier.exists() and any(not name.startswith("organs.") or organs_dir is None for name in others):
        logger.warning("%s has no %s: the other parts of the cascade are not trained.", ckpt_dir, CHECKPOINT_FILE)
        others = {name: value for name, value in others.items() if name.startswith("organs.") and organs_dir}
    if organs_dir is not None:
        organs = _organs_state(_read_part(organs_dir), read_state(Path(organs_dir) / CHECKPOINT_FILE))
        state = {name: value for name, value in state.items() if not name.startswith("organs.")}
        state |= {f"organs.{name}": value for name, value in organs.items()}
    if faults := state_faults(others, state):
        raise MismatchError(f"{organs_dir or earlier} does not fit the cascade: {faults}; {REMEDY}.")
    module.load_state_dict({**module.state_dict(), **state})


def assemble_cascade(
    organs_dir: str | os.PathLike, tumor_dirs: Mapping[str, str | os.PathLike | None], output_dir: str | os.PathLike
) -> dict:
    """Put the parts of a cascade, trained in folders of their own, into one model.pt and one architecture.json.

    Parameters
    ----------
    organs_dir : folder of an organ network (an nnU-Net plan's, or a coarse-to-fine student) or of a cascade with one.
    tumor_dirs : family -> folder of a cascade that has this family, as ``bundles/tumor_cascade`` trains it, or of the
        network alone. A family that is missing or None is left out: its tumors are never looked for.
    output_dir : folder to write to; both files are written aside and renamed.

    Returns
    -------
    dict : the architecture.

    Raises
    ------
    FileNotFoundError
        If a folder lacks a file.
    CaseError
        If a folder does not hold the part that is asked of it, or its weights do not fit its architecture.
    """
    organs_dir = Path(organs_dir)
    part = _read_part(organs_dir)
    architecture = {"kind": KIND, "organs": _organs_of(part, organs_dir), "tumors": {}}
    states = {"organs": _organs_state(part, read_state(organs_dir / CHECKPOINT_FILE))}
    for family, folder in tumor_dirs.items():
        if folder is None:
            logger.info("No network for tumors of the family %r: they are not looked for.", family)
            continue
        part = _read_part(folder)
        prefix = ""
        if part["kind"] == KIND:
            prefix = f"tumors.{family}."
            if family not in part["tumors"]:
                raise CaseError(f"{folder} holds a cascade without {family!r}; train it with this host.")
            part = part["tumors"][family]
        architecture["tumors"][family] = part
        states[f"tumors.{family}"] = _below(prefix, read_state(Path(folder) / CHECKPOINT_FILE))
    # Built once, so that nothing is written that could not be loaded.
    with torch.device("meta"):
        network = build_network(architecture)
    state = {f"{name}.{key}": value for name, found in states.items() for key, value in found.items()}
    if faults := state_faults(network.state_dict(), state):
        raise MismatchError(f"The parts do not fit their architectures: {faults}; {REMEDY}.")
    output_dir = Path(output_dir)
    write_state(output_dir / CHECKPOINT_FILE, state)
    write_architecture(output_dir / ARCHITECTURE_FILE, network.architecture)
    return network.architecture


def _read_part(folder: str | os.PathLike) -> dict:
    path = Path(folder) / ARCHITECTURE_FILE
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; name the folder that a part of the cascade was trained into.")
    return read_architecture(path, {})


def _organs_of(part: dict, folder: Path) -> dict:
    organs = part["organs"] if part["kind"] == KIND else part
    if organs is None:
        raise CaseError(f"{folder} holds a cascade without an organ network; name the folder of one.")
    return organs


def _organs_state(part: dict, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return _below("organs.", state) if part["kind"] == KIND else state


def _is_of(name: str, family: str) -> bool:
    return name.startswith(f"tumors.{family}.")


def _below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
