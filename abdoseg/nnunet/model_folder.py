"""A trained nnU-Net v2 model on disk: which files it has, and its plans as one of our plans, axes (x, y, z) RAS."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from abdoseg.files import CaseError
from abdoseg.transforms.flip import FLIP_AXES

REORIENTING_READER = "NibabelIOWithReorient"
RESAMPLING = "resample_data_or_seg_to_shape"
NORMALIZATION = "CTNormalization"
PREPROCESSOR = "DefaultPreprocessor"
NETWORKS = ("PlainConvUNet", "ResidualEncoderUNet")


@dataclass(frozen=True)
class ModelFolder:
    """The files of one trained network.

    Parameters
    ----------
    path : the folder, TRAINER__PLANS__CONFIGURATION as a rule.
    plans, dataset : content of plans.json and dataset.json.
    fold : "0" to "4", or "all".
    checkpoint : file with its weights.
    """

    path: Path
    plans: dict
    dataset: dict
    fold: str
    checkpoint: Path


def find_model(folder: str | os.PathLike, fold: str | None, checkpoint: str) -> ModelFolder:
    """Find the files of a model folder.

    Parameters
    ----------
    folder : holds plans.json, dataset.json and fold_X/.
    fold : X; None takes the only one there is.
    checkpoint : name of the file in fold_X, or ``fold_X/NAME``.

    Raises
    ------
    CaseError
        If a file is missing or not JSON, or there are several folds and none is chosen.
    """
    folder = Path(folder).absolute()
    plans, dataset = (_read_json(folder / name) for name in ("plans.json", "dataset.json"))
    if "/" in checkpoint:
        fold, checkpoint = checkpoint.removeprefix("fold_").split("/", 1)
    folds = sorted(path.parent.name.removeprefix("fold_") for path in folder.glob(f"fold_*/{checkpoint}"))
    if not folds:
        others = sorted({path.name for path in folder.glob("fold_*/*.pth")})
        hint = f"--checkpoint takes {' or '.join(others)}" if others else "train the model first"
        raise CaseError(f"{folder} has no fold_X/{checkpoint}; {hint}.")
    if fold is None and len(folds) > 1:
        raise CaseError(
            f"{folder} has the folds {', '.join(folds)}; choose one by --fold {folds[0]} (one teacher is one network, "
            "the mean of several is not supported)."
        )
    fold = folds[0] if fold is None else fold
    if fold not in folds:
        raise CaseError(f"{folder} has no fold_{fold}/{checkpoint}; --fold takes {' or '.join(folds)}.")
    return ModelFolder(folder, plans, dataset, fold, folder / f"fold_{fold}" / checkpoint)


def _read_json(path: Path) -> dict:
    if not path.is_file():
        raise CaseError(f"{path} does not exist; name the folder TRAINER__PLANS__CONFIGURATION of a trained nnU-Net.")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise CaseError(f"{path} is not JSON ({error}); take it from nnU-Net's results folder again.") from error


def configuration_of(plans: Mapping, name: str, path: Path) -> dict:
    """Give a configuration of the plans with what it inherits; CaseError if it is not one whole 3-D network."""
    known = plans.get("configurations", {})
    settings: dict = {}
    link, seen = name, set()
    while link is not None:
        if link not in known or link in seen:
            raise CaseError(f"{path}: plans.json has no configuration {link!r}; it has {', '.join(known)}.")
        seen.add(link)
        settings = {**known[link], **settings}
        link = known[link].get("inherits_from")
    if len(settings["patch_size"]) != 3:
        raise CaseError(
            f"{path} is the two-dimensional configuration {name!r}; import a 3d_fullres or 3d_lowres model."
        )
    if settings.get("previous_stage"):
        raise CaseError(
            f"{path} is the cascade's second stage {name!r}, which needs the labels of another network; import a "
            "3d_fullres or 3d_lowres model."
        )
    return settings


def axes_of(transpose_forward: Sequence[int], orientation: str) -> list[int]:
    """Give, for each axis (x, y, z) of a RAS volume, the network's axis that runs along it.

    nnU-Net reads a file's axes (i, j, k) in the order (k, j, i) and then applies ``transpose_forward``.

    Parameters
    ----------
    transpose_forward : of the plans.
    orientation : of the files as stored, three letters for (i, j, k), for example "LAS".
    """
    pairs = ("RL", "AP", "SI")
    stored = [next(axis for axis, letter in enumerate(orientation) if letter in pair) for pair in pairs]
    return [list(transpose_forward).index(2 - axis) for axis in stored]


def check_orientation(plans: Mapping, orientation: str | None, path: Path) -> str:
    """Give the orientation of the scans as the network has seen them; CaseError where it must be told, or is wrong."""
    reader = plans.get("image_reader_writer")
    if reader == REORIENTING_READER:
        if orientation not in (None, "RAS"):
            raise CaseError(
                f"{path}: its scans were read by {reader}, which turns them to RAS; leave --orientation out."
            )
        return "RAS"
    if orientation is None:
        raise CaseError(
            f"{path}: its scans were read by {reader}, which keeps a file's orientation; say how the training scans "
            "were stored, for example --orientation LPS (TotalSegmentator: RAS)."
        )
    letters = orientation.upper()
    if len(letters) != 3 or any(sum(letter in pair for letter in letters) != 1 for pair in ("RL", "AP", "SI")):
        raise CaseError(f"Unknown orientation {orientation!r}. Use three letters such as RAS, LPS or LAS.")
    return letters


def plan_of(model: ModelFolder, name: str, orientation: str | None, mirrored: Sequence[int] | None) -> dict:
    """Translate a configuration of nnU-Net's plans into a plan of ours.

    Parameters
    ----------
    model : its files.
    name : of the configuration that the checkpoint was trained with.
    orientation : how the training scans were stored; None where nnU-Net's reader turned them to RAS.
    mirrored : axes of the network that it was trained mirrored along, and may be mirrored along when it labels.

    Returns
    -------
    dict
        A plan without "classes". Under "imported" stand "orientation", "mirror_axes" and "resampling".

    Raises
    ------
    CaseError
        If the configuration has what the teacher cannot do the same way.
    """
    plans, path = model.plans, model.path
    settings = configuration_of(plans, name, path)
    _check_preprocessing(settings, model.dataset, path)
    orientation = check_orientation(plans, orientation, path)
    axes = axes_of(plans["transpose_forward"], orientation)
    by_modality = plans.get("foreground_intensity_properties_by_modality", {})
    numbers = plans.get("foreground_intensity_properties_per_channel", by_modality)["0"]
    return {
        "spacing": _turned(settings["spacing"], axes),
        "patch_size": _turned(settings["patch_size"], axes),
        "batch_size": settings["batch_size"],
        **network_of(settings, axes, path),
        "normalization": {
            "lower": numbers["percentile_00_5"],
            "upper": numbers["percentile_99_5"],
            "mean": numbers["mean"],
            "std": numbers["std"],
        },
        "imported": {
            "orientation": orientation,
            "mirror_axes": [
                direction for axis, direction in zip(axes, FLIP_AXES, strict=True) if axis in (mirrored or ())
            ],
            "resampling": {
                part: _resampling(settings, function, path)
                for part, function in (("image", "resampling_fn_data"), ("logits", "resampling_fn_probabilities"))
            },
        },
    }


def _turned(triple: Sequence, axes: Sequence[int]) -> list:
    return [triple[axis] for axis in axes]


def _check_preprocessing(settings: Mapping, dataset: Mapping, path: Path) -> None:
    channels = dataset.get("channel_names") or dataset.get("modality") or {}
    if len(channels) != 1:
        raise CaseError(
            f"{path} takes {len(channels)} channels ({', '.join(channels.values())}); a teacher takes one CT."
        )
    if list(settings["normalization_schemes"]) != [NORMALIZATION]:
        schemes = ", ".join(settings["normalization_schemes"])
        raise CaseError(f"{path} was trained with {schemes}; only models with {NORMALIZATION} (channel 'CT') fit.")
    if settings.get("preprocessor_name", PREPROCESSOR) != PREPROCESSOR:
        raise CaseError(f"{path} was trained with {settings['preprocessor_name']}; only {PREPROCESSOR} is supported.")


def _resampling(settings: Mapping, function: str, path: Path) -> dict:
    """Settings of one of the two resamplings, as plain numbers."""
    kwargs = dict(settings.get(f"{function}_kwargs", {}))
    kwargs.pop("is_seg", None)
    order = kwargs.get("order", 3)
    if settings.get(function) != RESAMPLING or (function == "resampling_fn_probabilities" and order != 1):
        raise CaseError(
            f"{path}: its {function} is {settings.get(function)} of order {order}; only {RESAMPLING} is supported, and "
            "for probabilities only order 1."
        )
    return {"order": order, "order_z": kwargs.get("order_z", 0), "force_separate_z": False, **kwargs}


def network_of(settings: Mapping, axes: Sequence[int], path: Path) -> dict:
    """Give the part of a plan that describes the network; CaseError if the teacher cannot be built like it."""
    kind, details = _architecture(settings, path)
    stages = details["n_stages"]

    def each(value, length: int = stages) -> list:
        return list(value) if isinstance(value, list | tuple) else [value] * length

    if kind not in NETWORKS:
        raise CaseError(f"{path} is a {kind}; only {' and '.join(NETWORKS)} can be imported.")
    slope = (details.get("nonlin_kwargs") or {}).get("negative_slope", 0.01)
    norm = {"eps": 1e-5, "affine": False, **(details.get("norm_op_kwargs") or {})}
    residual = kind == "ResidualEncoderUNet"
    decoder = each(details["n_conv_per_stage_decoder"], stages - 1)
    convolutions = {*decoder, *each(details.get("n_conv_per_stage", decoder[0]))}
    oddities = {
        "convolutions": "Conv3d" not in details["conv_op"],
        "norms": not str(details["norm_op"]).endswith("InstanceNorm3d") or norm != {"eps": 1e-5, "affine": True},
        "activations": not str(details["nonlin"]).endswith("LeakyReLU") or slope != 0.01,
        "convolutions a stage": not residual and convolutions != {2},
        "widths of stem or blocks": residual and not _is_plain_residual(details),
    }
    if odd := [what for what, found in oddities.items() if found]:
        raise CaseError(
            f"{path}: its plans have other {' and '.join(odd)} than nnU-Net's defaults; it cannot be imported."
        )

    def triples(values) -> list:
        return [_turned(each(value, 3), axes) for value in each(values)]

    return {
        "features": each(details["features_per_stage"]),
        "strides": triples(details["strides"]),
        "kernels": triples(details["kernel_sizes"]),
        "upsampling_bias": bool(details.get("conv_bias", False)),
        **({"blocks": each(details["n_blocks_per_stage"]), "decoder_convolutions": decoder[0]} if residual else {}),
    }


def _is_plain_residual(details: Mapping) -> bool:
    """Whether a residual encoder has nothing but basic blocks, as nnU-Net's presets M, L and XL have."""
    decoder = details["n_conv_per_stage_decoder"]
    return (
        str(details.get("block", "BasicBlockD")).endswith("BasicBlockD")
        and details.get("stem_channels") in (None, details["features_per_stage"][0])
        and details.get("bottleneck_channels") is None
        and not details.get("squeeze_excitation")
        and not details.get("disable_default_stem")
        and details.get("pool_type", "conv") == "conv"
        and (isinstance(decoder, int) or len(set(decoder)) == 1)
    )


def _architecture(settings: Mapping, path: Path) -> tuple[str, dict]:
    """Name and settings of the network, also where plans of before nnU-Net 2.4 spread them over the configuration."""
    if "architecture" in settings:
        architecture = settings["architecture"]
        return architecture["network_class_name"].split(".")[-1], architecture["arch_kwargs"]
    if "UNet_class_name" not in settings:
        raise CaseError(f"{path}: plans.json describes no network; it was not written by nnU-Net v2.")
    stages = len(settings["n_conv_per_stage_encoder"])
    base, limit = settings["UNet_base_num_features"], settings["unet_max_num_features"]
    return settings["UNet_class_name"], {
        "n_stages": stages,
        "features_per_stage": [min(base * 2**stage, limit) for stage in range(stages)],
        "conv_op": "torch.nn.Conv3d",
        "kernel_sizes": settings["conv_kernel_sizes"],
        "strides": settings["pool_op_kernel_sizes"],
        "n_conv_per_stage": settings["n_conv_per_stage_encoder"],
        "n_blocks_per_stage": settings["n_conv_per_stage_encoder"],
        "n_conv_per_stage_decoder": settings["n_conv_per_stage_decoder"],
        "conv_bias": True,
        "norm_op": "torch.nn.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "torch.nn.LeakyReLU",
    }
