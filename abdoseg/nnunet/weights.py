"""The weights of a trained nnU-Net under our names, with our axes and our order of the classes."""

import os
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from abdoseg.files import CaseError

# What nnU-Net's checkpoints hold beside tensors and plain values: NumPy's numbers, in its learning curves. Numbers
# written with NumPy 1 name a module that NumPy 2 has moved.
_SCALAR = np._core.multiarray.scalar
_NUMPY_NUMBERS = [
    np.dtype,
    _SCALAR,
    (_SCALAR, "numpy.core.multiarray.scalar"),
    *(type(np.dtype(name)) for name in ("bool", "int32", "int64", "uint8", "float16", "float32", "float64")),
]
# Second names of the same weights, and biases that the instance norm right behind them takes away again.
_SECOND_NAMES = re.compile(r"^decoder\.encoder\.|\.all_modules\.\d+\.")
_CANCELED_BIASES = re.compile(r"\.conv\.bias$")
_RESIDUAL_NAMES = {
    r"^stem\.": "encoder.stem.convs.0.",
    r"^encoder_stages\.(\d+)\.": r"encoder.stages.\1.blocks.",
    r"^decoder_stages\.(\d+)\.": r"decoder.stages.\1.convs.",
    r"^upsampling\.": "decoder.transpconvs.",
    r"^heads\.": "decoder.seg_layers.",
}


def read_nnunet_checkpoint(path: str | os.PathLike) -> dict:
    """Read a checkpoint of nnU-Net v2 onto the CPU; no code in it is run.

    Returns
    -------
    dict with "network_weights", "configuration", "trainer", "epoch" and "mirrored" (axes of the network, or None).

    Raises
    ------
    CaseError
        If it is no such checkpoint, or holds objects other than tensors, plain values and NumPy's numbers.
    """
    path = Path(path)
    try:
        with torch.serialization.safe_globals(_NUMPY_NUMBERS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|global|class) ['\"]?([\w.]+)", str(error))
        what = f" ({found[1]})" if found else ""
        raise CaseError(
            f"{path} holds objects that could run code{what}, not only weights and numbers; it is not loaded."
        ) from error
    except (RuntimeError, OSError, EOFError, UnicodeDecodeError) as error:
        raise CaseError(
            f"{path} is not a checkpoint of nnU-Net, or cut short; take it from its source again."
        ) from error
    weights = content.get("network_weights") if isinstance(content, dict) else None
    settings = content.get("init_args") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not isinstance(settings, dict) or "configuration" not in settings:
        raise CaseError(f"{path} lacks network_weights or init_args; it is not a checkpoint of nnU-Net v2.")
    return {
        "network_weights": {_plain_name(name): value for name, value in weights.items()},
        "configuration": settings["configuration"],
        "trainer": content.get("trainer_name"),
        "epoch": content.get("current_epoch"),
        "mirrored": content.get("inference_allowed_mirroring_axes"),
    }


def _plain_name(name: str) -> str:
    """Name of a weight without the wrappers of several GPUs and of compiled networks."""
    return name.removeprefix("module.").removeprefix("_orig_mod.")


def residual_name(name: str) -> str:
    """Give the name that nnU-Net's ``ResidualEncoderUNet`` has for a parameter of our ``PlannedResidualUNet``."""
    for pattern, theirs in _RESIDUAL_NAMES.items():
        name = re.sub(pattern, theirs, name)
    return name


def nnunet_name(name: str, stages: int) -> str:
    """Give the name that nnU-Net's ``PlainConvUNet`` has for a parameter of our ``PlannedDynUNet``."""
    block, *rest, leaf = name.split(".")
    if block in ("output_block", "deep_supervision_heads"):
        level = 0 if block == "output_block" else int(rest[0]) + 1
        return f"decoder.seg_layers.{stages - 2 - level}.{leaf}"
    if "transp_conv" in rest:
        return f"decoder.transpconvs.{rest[0]}.{leaf}"
    unit = next(part for part in rest if part in ("conv1", "conv2", "norm1", "norm2"))
    convolution = f"convs.{int(unit[-1]) - 1}.{unit[:-1]}.{leaf}"
    if block == "upsamples":
        return f"decoder.stages.{rest[0]}.{convolution}"
    stage = {"input_block": 0, "bottleneck": stages - 1}.get(block)
    return f"encoder.stages.{int(rest[0]) + 1 if stage is None else stage}.0.{convolution}"


def convert_weights(
    weights: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    axes: Sequence[int],
    channels: Sequence[int],
    source: str,
) -> dict[str, Tensor]:
    """Give the weights of nnU-Net's network to ours.

    Parameters
    ----------
    weights : nnU-Net's names -> tensors.
    expected : state dict of our network.
    axes : for each of our axes (x, y, z), the axis of nnU-Net's network that runs along it.
    channels : for each of our output channels, nnU-Net's.
    source : what an error names.

    Returns
    -------
    Our names -> contiguous tensors in the types of ``expected``.

    Raises
    ------
    CaseError
        If a weight is missing, left over, or of another shape.
    """
    stages = 2 + len({name.split(".")[1] for name in expected if name.startswith("downsamples.")})
    residual = any(name.startswith("stem.") for name in expected)
    state, used = {}, set()
    for name, wanted in expected.items():
        theirs = residual_name(name) if residual else nnunet_name(name, stages)
        if theirs not in weights:
            raise CaseError(f"{source}: the weight {theirs} is missing; its network is not the one of plans.json.")
        used.add(theirs)
        value = weights[theirs]
        if theirs.startswith("decoder.seg_layers."):
            if len(value) != len(channels):
                raise CaseError(
                    f"{source}: gives {len(value)} classes, dataset.json has {len(channels)}; they must agree."
                )
            value = value[list(channels)]
        if value.ndim == 5:
            value = value.permute(0, 1, *(axis + 2 for axis in axes))
        if value.shape != wanted.shape:
            raise CaseError(
                f"{source}: {theirs} has the shape {list(value.shape)} instead of {list(wanted.shape)}; its network is "
                "not the one of plans.json."
            )
        state[name] = value.to(wanted.dtype).contiguous()
    strange = [
        name
        for name in weights
        if name not in used and not _SECOND_NAMES.search(name) and not _CANCELED_BIASES.search(name)
    ]
    if strange:
        raise CaseError(
            f"{source}: {len(strange)} weights are left over (first {strange[0]}); its network is not the one of "
            "plans.json."
        )
    return state
