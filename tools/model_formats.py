"""TorchScript and ONNX of every network of a checkpoint, each checked against PyTorch's own answer."""

import copy
import importlib.util
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from abdoseg.files import CaseError, atomic_path
from abdoseg.networks import CascadeNetwork, CoarseToFineNetwork
from abdoseg.networks.channels import channels_of
from abdoseg.networks.efficient_segnet import PooledConvolution

ENDINGS = {"torchscript": ".ts", "onnx": ".onnx"}
TOLERANCE = 1e-3


def parts_of(network: nn.Module, name: str = "model") -> dict[str, nn.Module]:
    """Networks of a checkpoint by the names of their exports: "model", or the parts of a container."""
    if isinstance(network, CoarseToFineNetwork):
        prefix = "" if name == "model" else f"{name}_"
        parts = {"coarse": network.coarse, "fine": network.fine}
        return {f"{prefix}{part}": found for part, found in parts.items() if found is not None}
    if isinstance(network, CascadeNetwork):
        organs = {} if network.organs is None else parts_of(network.organs, "organs")
        return {**organs, **dict(network.tumors.items())}
    return {name: network}


def input_shape(architecture: dict) -> tuple[int, ...]:
    """Shape (1, channels, x, y, z) of what the inferers feed a network: the student's grid, or the plan's patch."""
    size = architecture["plan"]["patch_size"] if "plan" in architecture else architecture["image_size"]
    return (1, channels_of(architecture)[0], *size)


def export_networks(network: nn.Module, folder: Path, formats: Sequence[str]) -> dict[str, float]:
    """Write each network of a checkpoint in each format, for inputs of the size that the inferers use.

    Parameters
    ----------
    network : as ``build_network`` makes it, with its weights. Its parts take standardized intensities, as it does.
    folder : gets NAME.ts and NAME.onnx for each name of ``parts_of``; the batch of an ONNX model may have any size.
    formats : of "torchscript" and "onnx".

    Returns
    -------
    dict : file name -> largest absolute difference of its logits from PyTorch's, on a random input.

    Raises
    ------
    CaseError
        If a format is unknown, its libraries are missing, or an export answers otherwise than PyTorch by more than
        1e-3.
    """
    if unknown := set(formats) - set(ENDINGS):
        allowed = " and ".join(ENDINGS)
        raise CaseError(f"Unknown export format {', '.join(map(repr, sorted(unknown)))}. Use {allowed}.")
    if "onnx" in formats and (lacking := [name for name in ("onnx", "onnxruntime") if not _is_installed(name)]):
        raise CaseError(f"ONNX needs {' and '.join(lacking)}; install the extra 'export' of this project.")
    differences = {}
    for name, part in parts_of(network).items():
        part = part.eval()
        image = torch.randn(input_shape(part.architecture), generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            expected = part(image)
        for form in formats:
            path = folder / f"{name}{ENDINGS[form]}"
            with atomic_path(path) as temporary:
                found = {"torchscript": _torchscript, "onnx": _onnx}[form](part, image, temporary)
                difference = float((found - expected).abs().max())
                if not difference <= TOLERANCE:  # also for NaN
                    raise CaseError(f"{path} answers otherwise than PyTorch, by {difference:.2g} instead of 0.001.")
            differences[path.name] = difference
    return differences


def _is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _torchscript(network: nn.Module, image: Tensor, path: Path) -> Tensor:
    content = io.BytesIO()  # a file's own name, here a temporary one, would stand in it
    torch.jit.save(torch.jit.script(network), content)
    path.write_bytes(content.getvalue())
    with torch.inference_mode():
        return torch.jit.load(path)(image)


def _onnx(network: nn.Module, image: Tensor, path: Path) -> Tensor:
    import onnx
    import onnxruntime

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on the tracing of what is constant here
        torch.onnx.export(
            with_fixed_pooling(network, image),
            (image,),
            path,
            dynamo=False,
            input_names=["image"],
            output_names=["pred"],
            dynamic_axes={"image": {0: "batch"}, "pred": {0: "batch"}},
        )
    model = onnx.load(path)
    for node in model.graph.node:  # where in which file it came from, another on every machine
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    onnx.checker.check_model(model)
    onnx.save(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"image": image.numpy()})[0])


class FixedPooling(nn.Module):
    """A ``PooledConvolution`` for maps of one size, without the adaptive pooling that ONNX lacks.

    A bin of adaptive pooling is a box, so that its mean is a product of three matrices, one an axis.
    """

    def __init__(self, module: PooledConvolution, shape: Sequence[int], size: Sequence[int]):
        super().__init__()
        self.convolution = module.convolution
        for axis, voxels, bins in zip("xyz", shape, size, strict=True):
            means = functional.adaptive_avg_pool1d(torch.eye(voxels)[None], bins)[0]
            self.register_buffer(axis, means)  # (voxels, bins)
        self.shape = tuple(shape)

    def forward(self, features: Tensor, size: list[int]) -> Tensor:
        """Map (B, C, x, y, z) to the same shape; ``size`` is known."""
        pooled = features @ self.z
        pooled = (pooled.transpose(3, 4) @ self.y).transpose(3, 4)
        pooled = (pooled.transpose(2, 4) @ self.x).transpose(2, 4)
        return functional.interpolate(self.convolution(pooled), self.shape, mode="trilinear", align_corners=True)


def with_fixed_pooling(network: nn.Module, image: Tensor) -> nn.Module:
    """Copy of a network that answers inputs of the size of ``image`` as it does, without adaptive pooling."""
    network = copy.deepcopy(network)
    seen: dict[str, tuple[list[int], list[int]]] = {}
    hooks = [
        module.register_forward_pre_hook(
            lambda _, inputs, name=name: seen.update({name: (list(inputs[0].shape[2:]), list(inputs[1]))})
        )
        for name, module in network.named_modules()
        if isinstance(module, PooledConvolution)
    ]
    with torch.inference_mode():
        network(image)
    for hook in hooks:
        hook.remove()
    for name, (shape, size) in seen.items():
        network.set_submodule(name, FixedPooling(network.get_submodule(name), shape, size))
    return network
