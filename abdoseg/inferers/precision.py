"""Which precision a network runs in: half where the device is made for it, float32 elsewhere."""

from contextlib import AbstractContextManager, nullcontext

import torch


def check_amp(amp: bool | str) -> bool | str:
    """Give ``amp`` back, or raise a ValueError that names the allowed values."""
    if amp not in (True, False, "auto"):
        raise ValueError(f"Unknown amp '{amp}'. Use 'auto', true or false.")
    return amp


def autocast_for(device: torch.device, amp: bool | str = "auto") -> AbstractContextManager:
    """Give the context in which a network runs on ``device``.

    Parameters
    ----------
    device : CUDA devices run in float16, processors in bfloat16.
    amp : "auto": as above, but float32 on processors without bfloat16 instructions, where it would be slower;
        True: always; False: never.

    Raises
    ------
    ValueError
        For any other value of ``amp``.
    """
    check_amp(amp)
    if amp is False or (amp == "auto" and device.type != "cuda" and not _has_bfloat16(device)):
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.float16 if device.type == "cuda" else torch.bfloat16)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type != "cpu":
        return False
    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16") or features.get("bf16"))
