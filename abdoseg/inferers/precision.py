"""Which precision a network runs in: half where the device is made for it, float32 elsewhere."""

from contextlib import AbstractContextManager, nullcontext

import torch
from monai.inferers import SimpleInferer
from torch.utils._pytree import tree_map


def check_amp(amp: bool | str) -> bool | str:
    """Give ``amp`` back, or raise a ValueError that names the allowed values."""
    if amp not in (True, False, "auto"):
        raise ValueError(f"Unknown amp '{amp}'. Use 'auto', True or False.")
    return amp


def takes_half(device: torch.device, amp: bool | str = "auto") -> bool:
    """Tell whether a network runs in half precision on ``device``.

    Parameters
    ----------
    device : where the network is.
    amp : "auto": on CUDA devices, and on processors with bfloat16 instructions, as it is slower on others; True:
        always; False: never.

    Raises
    ------
    ValueError
        For any other value of ``amp``.
    """
    check_amp(amp)
    return amp is True or (amp == "auto" and (device.type == "cuda" or _has_bfloat16(device)))


def autocast_for(device: torch.device, amp: bool | str = "auto") -> AbstractContextManager:
    """Give the context in which a network runs on ``device``: CUDA devices in float16, processors in bfloat16.

    Parameters, errors: see `takes_half`.
    """
    if not takes_half(device, amp):
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.float16 if device.type == "cuda" else torch.bfloat16)


class HalfInferer(SimpleInferer):
    """Run a network in training on a batch in half precision, and give its outputs in float32, for the loss.

    MONAI's `SupervisedTrainer` has half precision on CUDA devices alone, where its scaler keeps small float16 gradients
    from vanishing; this adds processors, in bfloat16, whose range is float32's.

    Parameters
    ----------
    amp : see `takes_half`.

    Raises
    ------
    ValueError
        For any other value of ``amp``.
    """

    def __init__(self, amp: bool | str = "auto") -> None:
        super().__init__()
        self.amp = check_amp(amp)

    def __call__(self, inputs: torch.Tensor, network: torch.nn.Module, *args, **kwargs):
        """Give what ``network`` gives for ``inputs`` (N, C, X, Y, Z): a tensor, or a list of them."""
        with autocast_for(inputs.device, self.amp):
            outputs = super().__call__(inputs, network, *args, **kwargs)
        return tree_map(lambda output: output.float(), outputs)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type != "cpu":
        return False
    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16") or features.get("bf16"))
