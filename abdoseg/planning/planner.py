"""nnU-Net's planning rules for 3D full resolution: fingerprint -> spacing, patch, strides, kernels, features, batch.

The rules are those of nnU-Net v2's default planner (Isensee et al., Nature Methods 2021, and its documentation). They
are written for arrays whose first axis is the coarsest; everything that enters or leaves this file is (x, y, z) RAS.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# nnU-Net's constants. REFERENCE_SIZE is the feature map size (elements) that a batch of 2 may have on an 8 GB card.
ANISOTROPY = 3
MIN_EDGE = 4
REFERENCE_SIZE, REFERENCE_GB, REFERENCE_BATCH = 560_000_000, 8, 2
LARGEST_SHARE_OF_DATA = 0.05
CONVOLUTIONS_PER_STAGE = 2

# Published patches, axes (x, y, z); "automatic" leaves everything to the rules.
PRESETS: dict[str, dict] = {
    "automatic": {},
    "paper_a": {"patch_size": (192, 192, 48), "batch_size": 2},  # paper A, tables 1-3: 48 x 192 x 192 as (z, y, x)
}


@dataclass(frozen=True)
class Topology:
    """Resolution levels of a U-Net, one entry a stage, the axes in the order of the spacing it was made for.

    Parameters
    ----------
    strides : factor by which each stage reduces its input; the first is all 1.
    kernels : size of the convolutions of each stage.
    divisor : what the patch must be divisible by, per axis.
    """

    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    divisor: tuple[int, ...]

    def pad(self, patch_size: Sequence[float]) -> list[int]:
        """Round a patch up to the next one that every stage divides evenly."""
        return [int(np.ceil(size / factor)) * factor for size, factor in zip(patch_size, self.divisor, strict=True)]


def topology(spacing: Sequence[float], patch_size: Sequence[float]) -> Topology:
    """Derive strides and kernels from spacing and patch.

    Axes are halved together as long as an edge keeps at least 4 voxels and its spacing is less than twice the finest
    of the axes that can still be halved; a single remaining axis is halved only down to 6. A kernel is 3 wide along an
    axis once its spacing is less than twice the finest, else 1; the bottleneck's is always 3.

    Parameters
    ----------
    spacing : mm, any axis order.
    patch_size : voxels, same axis order; it need not be divisible yet.
    """
    spacing, size = np.array(spacing, dtype=float), np.array(patch_size, dtype=float)
    kernel = np.ones(len(spacing), dtype=int)
    strides, kernels = [np.ones_like(kernel)], []
    while True:
        large = size >= 2 * MIN_EDGE
        if not large.any():
            break
        halved = large & (spacing / spacing[large].min() < 2)
        if halved.sum() == 1 and size[halved][0] < 3 * MIN_EDGE:
            break
        kernel = np.where(spacing / spacing.min() < 2, 3, kernel)
        stride = np.where(halved, 2, 1)
        spacing = spacing * stride
        size = np.ceil(size / stride)
        strides.append(stride)
        kernels.append(kernel)
    kernels.append(np.full_like(kernel, 3))
    return Topology(
        strides=tuple(tuple(stride.tolist()) for stride in strides),
        kernels=tuple(tuple(kernel.tolist()) for kernel in kernels),
        divisor=tuple(np.prod(strides, axis=0).tolist()),
    )


def feature_map_size(
    patch_size: Sequence[int], strides: Sequence[Sequence[int]], features: Sequence[int], classes: int
) -> int:
    """Count the elements of all feature maps that a U-Net computes for one patch; memory is proportional to it.

    Every stage has two convolutions on the way down and, but for the bottleneck, a transposed convolution and two
    convolutions on the way up; the head adds one map a class at full resolution.

    Parameters
    ----------
    patch_size : voxels; strides : one a stage, same axis order; features : channels, one a stage; classes : outputs.
    """
    sizes = np.array(patch_size) // np.cumprod(strides, axis=0)
    voxels = sizes.prod(axis=1, dtype=np.int64)
    per_stage = np.full(len(features), 2 * CONVOLUTIONS_PER_STAGE + 1)
    per_stage[-1] = CONVOLUTIONS_PER_STAGE
    return int((per_stage * np.array(features) * voxels).sum() + classes * voxels[0])


def target_spacing(shapes: Sequence[Sequence[int]], spacings: Sequence[Sequence[float]]) -> list[float]:
    """Choose the spacing to resample to: the median, but finer along an axis that is much coarser than the others.

    The axis is much coarser when its median spacing exceeds three times that of both others and three times its median
    number of voxels is less than either of the others'. It then gets the 10th percentile of its spacings, but never
    less than the others' spacing.

    Parameters
    ----------
    shapes : voxels (x, y, z), one a case.
    spacings : mm (x, y, z), one a case.
    """
    target = np.percentile(spacings, 50, axis=0)
    size = np.percentile(shapes, 50, axis=0)
    coarsest = _coarsest_axis(target)
    other_spacing, other_size = np.delete(target, coarsest), np.delete(size, coarsest)
    if target[coarsest] > ANISOTROPY * other_spacing.max() and ANISOTROPY * size[coarsest] < other_size.min():
        finer = np.percentile(spacings, 10, axis=0)[coarsest]
        # The extra hair keeps this axis the coarsest one.
        target[coarsest] = finer if finer >= other_spacing.max() else other_spacing.max() + 1e-5
    return target.tolist()


def _coarsest_axis(spacing: np.ndarray) -> int:
    """Index of the largest spacing; of equals, the last, because the rules count axes from z to x."""
    return 2 - int(np.argmax(np.asarray(spacing)[::-1]))


def _features(stages: int, base: int, largest: int) -> list[int]:
    return [min(largest, base * 2**stage) for stage in range(stages)]


def _automatic_patch(spacing, median_shape, size_of, largest_size: float, largest_voxels: float) -> list[int]:
    """Largest patch whose network fits: start at the volume of 256^3 in the spacing's proportions, then shrink.

    Spacing, median shape and the result are in planning order; ``size_of(patch, topology)`` estimates the network.
    """
    proportions = 1 / np.array(spacing)
    start = [round(edge) for edge in proportions * (256**3 / proportions.prod()) ** (1 / 3)]
    start = [min(edge, whole) for edge, whole in zip(start, median_shape, strict=True)]
    net = topology(spacing, start)
    patch = net.pad(start)
    while size_of(patch, net) > largest_size or np.prod(patch) > largest_voxels:
        # Of equally large axes nnU-Net takes the last one.
        axis = int(np.argsort(np.array(patch) / median_shape, kind="stable")[-1])
        # One step down may allow a smaller divisor, and with it a smaller step.
        smaller = list(patch)
        smaller[axis] -= net.divisor[axis]
        patch[axis] -= topology(spacing, smaller).divisor[axis]
        if patch[axis] < 1:
            raise ValueError(
                "No patch fits the memory and voxel limits; "
                "raise gpu_memory_gb or max_patch_voxels, or lower base_features."
            )
        net = topology(spacing, patch)
        patch = net.pad(patch)
    return patch


def check_options(
    preset: str, spacing: Sequence[float] | None, patch_size: Sequence[int] | None, **numbers: float | None
) -> None:
    """Raise a ValueError for an option of `make_plan` that is wrong whatever the data set; ``numbers`` are the others.

    Reading the scans takes hours.
    """
    if preset not in PRESETS:
        raise ValueError(f"Unknown preset '{preset}'. Use one of {', '.join(PRESETS)}.")
    for name, value in (("spacing", spacing), ("patch_size", patch_size)):
        if value is not None and (len(value) != 3 or not all(_is_positive(number) for number in value)):
            raise ValueError(f"{name} is {tuple(value)}; give three positive numbers, (x, y, z).")
    for name, value in numbers.items():
        if value is not None and not _is_positive(value):
            raise ValueError(f"{name} is {value}; give a positive number.")


def _is_positive(value) -> bool:
    return isinstance(value, int | float | np.number) and value > 0


def make_plan(
    fingerprint: dict,
    classes: int = 14,
    *,
    preset: str = "automatic",
    spacing: Sequence[float] | None = None,
    patch_size: Sequence[int] | None = None,
    batch_size: int | None = None,
    gpu_memory_gb: float = REFERENCE_GB,
    max_patch_voxels: int | None = None,
    base_features: int = 32,
    max_features: int = 320,
) -> dict:
    """Plan the network and its patches by the rules of nnU-Net v2 (3d_fullres).

    Parameters
    ----------
    fingerprint : from :func:`abdoseg.planning.fingerprint`.
    classes : network outputs, background included.
    preset : ``automatic`` or a published patch: a name in ``PRESETS``. An argument given beside it wins.
    spacing : mm (x, y, z), instead of the rule's.
    patch_size : voxels (x, y, z), instead of the rule's; strides and kernels are then derived for it.
    batch_size : patches a step, instead of the rule's.
    gpu_memory_gb : memory that the estimate of network and batch should fill.
    max_patch_voxels : largest number of voxels that a patch found by the rules may have.
    base_features, max_features : channels of the first stage, doubled at each stage up to the second number.

    Returns
    -------
    dict
        ``spacing``, ``patch_size``, ``strides``, ``kernels`` (axes (x, y, z)), ``batch_size``, ``features``,
        ``normalization`` (HU: clip to ``lower``..``upper``, subtract ``mean``, divide by ``std``), ``classes``,
        ``median_shape`` of the resampled scans, and ``fingerprint``: number of cases, their median shape and spacing,
        foreground statistics and the cases left out.

    Raises
    ------
    ValueError
        If an argument is unknown, not positive, or the given patch cannot be halved as often as the rules want.
    """
    numbers = {"classes": classes, "batch_size": batch_size, "gpu_memory_gb": gpu_memory_gb}
    numbers |= {"max_patch_voxels": max_patch_voxels, "base_features": base_features, "max_features": max_features}
    check_options(preset, spacing, patch_size, **numbers)
    patch_size = patch_size or PRESETS[preset].get("patch_size")
    batch_size = batch_size or PRESETS[preset].get("batch_size")
    shapes, spacings, foreground = fingerprint["shapes"], fingerprint["spacings"], fingerprint["foreground"]
    spacing = np.array(spacing or target_spacing(shapes, spacings), dtype=float)
    resampled = [np.rint(np.array(s) / spacing * n) for s, n in zip(spacings, shapes, strict=True)]
    median_shape = np.median(resampled, axis=0)
    if median_shape.min() <= 1:
        raise ValueError(f"The median scan has {median_shape.tolist()} voxels (x, y, z); 3D planning needs volumes.")

    coarsest = _coarsest_axis(spacing)
    order = [coarsest] + [axis for axis in (2, 1, 0) if axis != coarsest]
    back = np.argsort(order)

    def size_of(patch, net):
        return feature_map_size(patch, net.strides, _features(len(net.strides), base_features, max_features), classes)

    budget = REFERENCE_SIZE * gpu_memory_gb / REFERENCE_GB
    if patch_size is None:
        patch = _automatic_patch(spacing[order], median_shape[order], size_of, budget, max_patch_voxels or np.inf)
    else:
        patch = [int(patch_size[axis]) for axis in order]
    net = topology(spacing[order], patch)
    if patch != net.pad(patch):
        better = np.array(net.pad(patch))[back].tolist()
        raise ValueError(f"patch_size {list(patch_size)} does not divide by the strides of its plan; use {better}.")
    if batch_size is None:
        batch_size = round(budget / size_of(patch, net) * REFERENCE_BATCH)
        data_voxels = median_shape.prod() * len(shapes)
        batch_size = max(min(batch_size, round(data_voxels * LARGEST_SHARE_OF_DATA / np.prod(patch))), REFERENCE_BATCH)

    return {
        "spacing": spacing.tolist(),
        "patch_size": np.array(patch)[back].tolist(),
        "batch_size": int(batch_size),
        "features": _features(len(net.strides), base_features, max_features),
        "strides": np.array(net.strides)[:, back].tolist(),
        "kernels": np.array(net.kernels)[:, back].tolist(),
        "normalization": {
            "lower": foreground["percentile_00_5"],
            "upper": foreground["percentile_99_5"],
            "mean": foreground["mean"],
            "std": foreground["std"],
        },
        "classes": classes,
        "median_shape": median_shape.tolist(),
        "fingerprint": {
            "cases": len(shapes),
            "median_shape": np.median(shapes, axis=0).tolist(),
            "median_spacing": np.median(spacings, axis=0).tolist(),
            "foreground": foreground,
            "excluded": fingerprint.get("excluded", []),
        },
    }
