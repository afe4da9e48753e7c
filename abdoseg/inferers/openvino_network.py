"""A network exported to OpenVINO, kept in a cache by the hash of its weights, and compiled for images of one size."""

import functools
import hashlib
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import openvino as ov
import torch
from torch import Tensor, nn

from abdoseg.inferers.norms import AxisNorm, EngineNorm, LayerNorm, with_norm
from abdoseg.inferers.precision import takes_half

logger = logging.getLogger(__name__)

# Counts the changes of what is exported: names in the cache depend on it.
EXPORT = 3
MODEL = "model.xml"
# Exports that a cache keeps: the networks of one cascade twice over.
KEPT = 12


class OpenVinoNetwork:
    """A PyTorch network, compiled by OpenVINO for the processor; as many threads as PyTorch has.

    Parameters
    ----------
    network : in eval mode.
    shape : (C, x, y, z) of its images.
    amp : whether in bfloat16 or in float32, see `abdoseg.inferers.precision.takes_half`; float32 on a processor for
        which OpenVINO has no bfloat16.
    cache : folder for exported networks, or None. Where it cannot be written, nothing is kept.
    """

    def __init__(
        self, network: nn.Module, shape: Sequence[int], amp: bool | str = "auto", cache: str | os.PathLike | None = None
    ) -> None:
        # Where it has no bfloat16 it takes float32, whatever it is asked for: then with the norm for that.
        half = takes_half(torch.device("cpu"), amp) and "BF16" in core().get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        )
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
        }
        norm = LayerNorm if half else AxisNorm
        model = read_or_export(network, shape, norm, None if cache is None else Path(cache))
        self.half = half
        self._shape = tuple(model.output(0).shape)
        self._compiled = core().compile_model(model, "CPU", options)
        self._request = self._compiled.create_infer_request()
        self._lock = threading.Lock()

    def __call__(self, image: Tensor) -> Tensor:
        """Map one image (1, C, x, y, z) to logits (1, K, x, y, z), both float32."""
        image = image.float().contiguous()  # by name, so that the memory lives until it has been read
        logits = torch.empty(self._shape)
        with self._lock:
            self._request.set_input_tensor(ov.Tensor(image.numpy(), shared_memory=True))
            self._request.set_output_tensor(ov.Tensor(logits.numpy(), shared_memory=True))
            self._request.infer()
        return logits

    def release(self) -> None:
        """Give back the memory of the activations, until the next image: 1.7 GB of the paper's fine network."""
        with self._lock:
            self._compiled.release_memory()


@functools.cache
def core() -> ov.Core:
    """Give OpenVINO's core, the same one as long as the process lives.

    OpenVINO moves the stack on which the thread's signals are handled, and unmaps it with its last core, even while
    the thread still points there: the next signal with a handler, such as the end of a child, then kills the process.
    """
    return ov.Core()


def read_or_export(network: nn.Module, shape: Sequence[int], norm: type[EngineNorm], cache: Path | None) -> ov.Model:
    """Give the OpenVINO model of a network, from the cache where it has been exported before."""
    if cache is None:
        return export(network, shape, norm)
    kept = cache / key_of(network, shape, norm)
    if not (kept / MODEL).is_file():
        model = export(network, shape, norm)
        try:
            keep_export(model, kept)
        except (OSError, RuntimeError) as error:  # a RuntimeError is OpenVINO's
            reason = str(error).split("\n")[0]
            logger.warning("%s: exported networks cannot be kept there (%s); each process exports anew.", cache, reason)
            return model
        drop_exports(cache)
    with suppress(OSError):  # a cache that is only lent
        os.utime(kept)
    try:
        return core().read_model(kept / MODEL)
    except RuntimeError as error:
        logger.warning("%s: the exported network is broken (%s); it is exported anew.", kept, str(error).split("\n")[0])
        shutil.rmtree(kept, ignore_errors=True)
        return export(network, shape, norm)


def keep_export(model: ov.Model, kept: Path) -> None:
    """Write a model to the folder ``kept`` of a cache, aside and renamed; the folder of another process stays."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=kept.parent, prefix=".tmp-"))
    try:
        ov.save_model(model, temporary / MODEL, compress_to_fp16=False)
        temporary.chmod(0o755)
        with suppress(OSError):  # another process was first, or has left a part of one
            temporary.rename(kept)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def drop_exports(cache: Path, kept: int = KEPT) -> None:
    """Delete all but the ``kept`` exports used last, and with them what killed processes have left of one."""
    with suppress(OSError):  # another process is at it
        for folder in sorted(cache.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)[kept:]:
            (folder / MODEL).unlink(missing_ok=True)  # without it the rest is no export any more
            shutil.rmtree(folder, ignore_errors=True)


def export(network: nn.Module, shape: Sequence[int], norm: type[EngineNorm]) -> ov.Model:
    """Convert a network for images (1, *shape), its instance norms computed as ``norm``."""
    logger.info("A network is exported to OpenVINO for images of %s voxels.", "x".join(map(str, shape[1:])))
    image = torch.zeros(1, *shape)
    with torch.no_grad():
        program = torch.export.export(with_norm(network, norm).cpu(), (image,))
    return ov.convert_model(program, input=[list(image.shape)])


def key_of(network: nn.Module, shape: Sequence[int], norm: type[EngineNorm]) -> str:
    """Hash all that decides an export: layers, norm, weights, size of the images, OpenVINO's version, this file's."""
    digest = hashlib.sha256(f"{EXPORT} {ov.__version__} {norm.__name__} {tuple(shape)} {network}".encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().numpy()).cast("B"))
    return digest.hexdigest()[:32]
