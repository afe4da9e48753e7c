"""What runs a network: PyTorch on any device, OpenVINO on processors."""

import importlib.util
import os
import sys
from collections.abc import Callable, Hashable, Sequence
from weakref import WeakKeyDictionary

import torch

from abdoseg.files import CaseError
from abdoseg.inferers.norms import ChannelsLastNorm, with_norm
from abdoseg.inferers.precision import autocast_for, check_amp, takes_half

ENGINES = ("auto", "openvino", "torch")

# OpenVINO tells its makers what it converts, unless somebody has opted out or its telemetry is not installed. Here, as
# this module is always imported before it.
sys.modules.setdefault("openvino_telemetry", None)


class Engine:
    """Runs networks, each by the engine that fits its device.

    Parameters
    ----------
    name : "torch"; "openvino", for networks on a processor; or "auto": OpenVINO on a processor where it is installed,
        else PyTorch.
    amp : "auto": half precision where the device is made for it; True, False: always, never. See `takes_half`.
    cache : folder that keeps networks exported to OpenVINO, by the hash of their weights; None: each process exports
        anew, which takes some ten seconds.

    Raises
    ------
    ValueError
        For an unknown name or value of ``amp``.
    CaseError
        If OpenVINO is wanted and not installed.
    """

    def __init__(self, name: str = "torch", amp: bool | str = "auto", cache: str | os.PathLike | None = None) -> None:
        if name not in ENGINES:
            raise ValueError(f"Unknown engine {name!r}. Use one of {', '.join(map(repr, ENGINES))}.")
        if name == "openvino" and not has_openvino():
            raise CaseError("OpenVINO is not installed; install the extra 'openvino' of this project, or use torch.")
        self.name = name
        self.amp = check_amp(amp)
        self.cache = cache
        self._made: WeakKeyDictionary = WeakKeyDictionary()
        self._last = None

    def __call__(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Give the logits of a batch.

        Parameters
        ----------
        network : (B, C, x, y, z) -> (B, K, x, y, z); in eval mode.
        images : float32, on any device.

        Returns
        -------
        (B, K, x, y, z) on the network's device.

        Raises
        ------
        FloatingPointError
            If they are not finite: their arg-max would be background everywhere, an empty label map.
        """
        logits = self._run(network, images)
        if not torch.isfinite(logits.sum(dtype=torch.float32 if logits.dtype == torch.float16 else None)):
            raise FloatingPointError(
                "the network's answer is NaN or infinite, so that no label can be told from it; take other weights, or "
                "turn half precision off (amp: false)."
            )
        return logits

    def _run(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        device = device_of(network, images.device)
        if self.name_on(device) == "torch":
            images = images.to(device)
            if device.type == "cpu" and takes_half(device, self.amp):
                network = self._kept(network, torch.channels_last_3d, with_channels_last)
                images = images.contiguous(memory_format=torch.channels_last_3d)
            with autocast_for(device, self.amp):
                return network(images).contiguous()
        compiled = self._compile(network, images.shape[1:])
        if self._last is not compiled:  # networks take turns: the memory of one is enough
            self.release()
        self._last = compiled
        logits = [compiled(image) for image in images.to(device).split(1)]
        return logits[0] if len(logits) == 1 else torch.cat(logits)

    def release(self) -> None:
        """Give back the memory that the network run last keeps for its next image; PyTorch keeps none."""
        if self._last is not None:
            self._last.release()
            self._last = None

    def name_on(self, device: torch.device) -> str:
        """Give what runs the networks on ``device``: "openvino" or "torch"; ValueError where OpenVINO cannot."""
        if self.name == "auto":
            return "openvino" if device.type == "cpu" and has_openvino() else "torch"
        if self.name == "openvino" and device.type != "cpu":
            raise ValueError(f"The engine 'openvino' runs on processors, not on {device}. Use 'torch'.")
        return self.name

    def _compile(self, network: torch.nn.Module, shape: Sequence[int]):
        """Give the network compiled for images (C, x, y, z) of ``shape``."""
        from abdoseg.inferers.openvino_network import OpenVinoNetwork

        return self._kept(network, shape, lambda network: OpenVinoNetwork(network, shape, self.amp, self.cache))

    def _kept(self, network: torch.nn.Module, key: Hashable, make: Callable[[torch.nn.Module], Callable]) -> Callable:
        """Give what ``make`` made of the network under ``key``, anew where its weights have changed."""
        weights = tuple(
            (tensor.data_ptr(), None if tensor.is_inference() else tensor._version)
            for tensor in network.state_dict(keep_vars=True).values()
        )
        known, made = self._made.get(network, (None, None))
        if known != weights:
            made = {}
            self._made[network] = weights, made
        if key not in made:
            made[key] = make(network)
        return made[key]


def with_channels_last(network: torch.nn.Module) -> torch.nn.Module:
    """Give a copy of a network as processors run it in bfloat16: twice as fast as with channels first."""
    return with_norm(network, ChannelsLastNorm).to(memory_format=torch.channels_last_3d)


def has_openvino() -> bool:
    """Tell whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def device_of(network: torch.nn.Module, default: torch.device) -> torch.device:
    """Give the device of a network's parameters, or ``default`` where it has none."""
    parameter = next(network.parameters(), None)
    return default if parameter is None else parameter.device
