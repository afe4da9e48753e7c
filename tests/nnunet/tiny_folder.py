"""A model folder as nnU-Net v2 lays it out, with random weights of nnU-Net's own network, made in a moment."""

import copy
import json
from pathlib import Path

import numpy as np
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

DEFAULTS = {
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-05, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
ARCHITECTURE = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 3,
        "features_per_stage": [4, 6, 8],
        "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        "n_conv_per_stage": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2],
        **DEFAULTS,
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}
RESIDUAL = {
    **ARCHITECTURE,
    "network_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
    "arch_kwargs": {
        **{name: value for name, value in ARCHITECTURE["arch_kwargs"].items() if name != "n_conv_per_stage"},
        "n_blocks_per_stage": [1, 3, 2],
        "n_conv_per_stage_decoder": [1, 1],
    },
}
RESAMPLING = "resample_data_or_seg_to_shape"
FULLRES = {
    "preprocessor_name": "DefaultPreprocessor",
    "batch_size": 2,
    "patch_size": [8, 16, 16],
    "spacing": [28.0, 24.0, 12.0],
    "normalization_schemes": ["CTNormalization"],
    "use_mask_for_norm": [False],
    "resampling_fn_data": RESAMPLING,
    "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
    "resampling_fn_seg": RESAMPLING,
    "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
    "resampling_fn_probabilities": RESAMPLING,
    "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
    "architecture": ARCHITECTURE,
}
# As plans were before nnU-Net 2.4: TotalSegmentator's.
OLD = {
    **{name: value for name, value in FULLRES.items() if name != "architecture"},
    "UNet_class_name": "PlainConvUNet",
    "UNet_base_num_features": 4,
    "unet_max_num_features": 6,
    "n_conv_per_stage_encoder": [2, 2, 2],
    "n_conv_per_stage_decoder": [2, 2],
    "num_pool_per_axis": [1, 2, 2],
    "pool_op_kernel_sizes": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
    "conv_kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
}
PLANS = {
    "dataset_name": "Dataset009_tiny",
    "plans_name": "nnUNetPlans",
    "label_manager": "LabelManager",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "image_reader_writer": "SimpleITKIO",
    "foreground_intensity_properties_per_channel": {
        "0": {"mean": 90.0, "std": 80.0, "percentile_00_5": -100.0, "percentile_99_5": 300.0}
    },
    "configurations": {
        "2d": {"patch_size": [16, 16], "spacing": [24.0, 12.0]},
        "3d_fullres": FULLRES,
        "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
        "3d_lowres": {"inherits_from": "3d_fullres", "spacing": [40.0, 30.0, 20.0], "next_stage": "3d_cascade_fullres"},
    },
}
LABELS = {"background": 0, "spleen": 1, "kidney_right": 2, "femur_left": 3, "liver": 4}
DATASET = {"channel_names": {"0": "CT"}, "labels": LABELS, "numTraining": 2, "file_ending": ".nii.gz"}


def network_of(architecture: dict, classes: int, seed: int = 0) -> torch.nn.Module:
    """nnU-Net's own network with random weights, all biases included."""
    torch.manual_seed(seed)
    network = get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        1,
        classes,
        deep_supervision=True,
    )
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.2)
    return network.eval()


def checkpoint_of(network: torch.nn.Module, configuration: str = "3d_fullres", mirrored=(0, 2)) -> dict:
    """The keys that nnU-Net's trainer writes, with NumPy's numbers where it has them."""
    return {
        "network_weights": network.state_dict(),
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01, "params": [0]}]},
        "grad_scaler_state": None,
        "logging": {
            "mean_fg_dice": [np.float64(0.5), np.float32(0.25)],
            "dice_per_class_or_region": [[np.float64(0.1), np.float64(np.nan)]],
            "epoch_start_timestamps": [1.5],
        },
        "_best_ema": np.float64(0.5),
        "current_epoch": 7,
        "init_args": {
            "plans": PLANS,
            "configuration": configuration,
            "fold": 0,
            "dataset_json": DATASET,
            "device": torch.device("cuda"),
        },
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": mirrored,
    }


def write_model(
    folder: Path,
    fullres: dict | None = None,
    plans: dict | None = None,
    dataset: dict | None = None,
    folds=("0",),
    configuration: str = "3d_fullres",
    mirrored=(0, 2),
    network: torch.nn.Module | None = None,
    without: str | None = None,
) -> Path:
    """Write a model folder; ``fullres``, ``plans`` and ``dataset`` replace entries, ``without`` takes one away."""
    content = copy.deepcopy({**PLANS, **(plans or {})})
    content["configurations"]["3d_fullres"] = {**FULLRES, **(fullres or {})}
    content["configurations"]["3d_fullres"].pop(without, None)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(content))
    description = {**DATASET, **(dataset or {})}
    (folder / "dataset.json").write_text(json.dumps(description))
    for fold in folds:
        (folder / f"fold_{fold}").mkdir(exist_ok=True)
        found = network or network_of(ARCHITECTURE, len(description["labels"]))
        torch.save(checkpoint_of(found, configuration, mirrored), folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder
