"""What the inferers share: one case at a time out of a batch, from raw volume to logits, from logits to labels."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from monai.data import MetaTensor

from abdoseg.allocator import keep_freed_memory
from abdoseg.inferers.engines import Engine
from abdoseg.transforms.components import ComponentRules, keep_components
from abdoseg.transforms.geometry import file_name_of, require_ras, spacing_of
from abdoseg.transforms.intensity import window_and_standardize
from abdoseg.transforms.resample import resize_volume

LabelCase = Callable[[torch.Tensor, np.ndarray, str, torch.Tensor], None]


def label_batch(inputs: MetaTensor, label_case: LabelCase) -> MetaTensor:
    """Label the cases of a batch one by one.

    Parameters
    ----------
    inputs : (B, 1, x, y, z) MetaTensor in RAS, HU, with an affine (4, 4) or (B, 4, 4).
    label_case : called with a plain (1, x, y, z) tensor, its (3,) spacing in mm, its file's name, and a uint8 tensor
        (x, y, z) of background, into which it writes the labels.

    Returns
    -------
    (B, 1, x, y, z) uint8 MetaTensor with the metadata of ``inputs``, on their device.

    Raises
    ------
    TypeError
        For a plain tensor, whose spacing is unknown.
    ValueError
        For another shape or orientation.
    """
    if not isinstance(inputs, MetaTensor):
        raise TypeError(
            f"The inferer needs a MetaTensor, whose affine tells the spacing; got {type(inputs).__name__}. "
            "Load images with LoadImaged(image_only=True)."
        )
    if inputs.ndim != 5 or inputs.shape[1] != 1:
        raise ValueError(f"The inferer got the shape {tuple(inputs.shape)}; it must be (B, 1, x, y, z).")
    volumes = inputs.as_tensor()
    labels = torch.zeros(volumes.shape, dtype=torch.uint8, device=volumes.device)
    with torch.no_grad(), keep_freed_memory() if volumes.device.type == "cpu" else nullcontext():
        for index, volume in enumerate(volumes):
            require_ras(inputs, index)
            label_case(volume, spacing_of(inputs, index), file_name_of(inputs, index), labels[index, 0])
    return MetaTensor(labels).copy_meta_from(inputs)


def student_logits(
    volume: torch.Tensor,
    network: torch.nn.Module,
    image_size: Sequence[int],
    hu_window: Sequence[float],
    engine: Engine,
) -> torch.Tensor:
    """Run a student on a raw volume: resize, window, standardize, network (paper A, papers-spec.md 2.7).

    Parameters
    ----------
    volume : (1, x, y, z), HU.
    network : (1, 1, *image_size) -> (1, C, *image_size).
    image_size : (x, y, z).
    hu_window : (lower, upper), HU.
    engine : runs the network.

    Returns
    -------
    (C, *image_size) logits on the network's device.
    """
    image = window_and_standardize(resize_volume(volume, image_size), *hu_window)
    logits = engine(network, image[None])[0]
    engine.release()  # labels of the whole scan are made next, which take memory themselves
    return logits


def clean_labels(labels: torch.Tensor, spacing, rules: ComponentRules | None) -> torch.Tensor:
    """Apply component rules to (x, y, z) uint8 labels on a grid of ``spacing`` mm; None leaves them as they are."""
    if rules is None:
        return labels
    return torch.from_numpy(keep_components(labels.cpu().numpy(), spacing, rules)).to(labels.device)
