"""The nnunetv2 package as a peer in a benchmark: the teacher's weights in a folder of its own, and its predictor."""

import json
from pathlib import Path

import torch

from abdoseg.files import CaseError
from abdoseg.labels import NAMES
from abdoseg.networks import ARCHITECTURE_FILE, build_network, load_checkpoint, read_architecture
from abdoseg.nnunet.weights import nnunet_name

PLAIN_UNET = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
RESAMPLING = "resample_data_or_seg_to_shape"
# Reads scans in RAS, as the teacher has seen them.
READER = "NibabelIOWithReorient"


def write_nnunet_model(weights: Path, folder: Path) -> None:
    """Write the teacher's weights as nnU-Net lays out a trained model, with nnU-Net's default resampling.

    Parameters
    ----------
    weights : folder with ``model.pt`` and ``architecture.json`` of a teacher of this project's own training.
    folder : for plans.json, dataset.json and fold_0/checkpoint_final.pth.

    Raises
    ------
    CaseError
        If the weights are no such teacher's.
    """
    if not (weights / ARCHITECTURE_FILE).is_file():
        raise CaseError(f"{weights} has no {ARCHITECTURE_FILE}; give the folder of a teacher's weights.")
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    architecture = read_architecture(weights / ARCHITECTURE_FILE, None)
    plan = architecture["plan"] if architecture["kind"] == "nnunet" else {}
    if not plan or "imported" in plan or "blocks" in plan:
        raise CaseError(f"{weights} does not hold a plain U-Net of the teacher's own training; give such weights.")
    ours = build_network(architecture)
    load_checkpoint(weights / "model.pt", ours)
    settings = _architecture_of(plan)
    network = get_network_from_plans(
        settings["network_class_name"], settings["arch_kwargs"], settings["_kw_requires_import"], 1, plan["classes"]
    )
    theirs = dict(network.named_parameters())
    with torch.no_grad():
        for name, value in ours.state_dict().items():
            value = value.permute(0, 1, 4, 3, 2) if value.ndim == 5 else value
            theirs[nnunet_name(name, len(plan["features"]))].copy_(value)
    plans, dataset = _plans_of(plan, settings), _dataset_of(plan)
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    checkpoint = {
        "network_weights": network.state_dict(),
        "current_epoch": 0,
        "init_args": {"configuration": "3d_fullres", "fold": 0},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")


def _architecture_of(plan: dict) -> dict:
    """Network of a plan (axes x, y, z) as nnU-Net's plans describe it (axes z, y, x)."""
    stages = len(plan["features"])
    kwargs = {
        "n_stages": stages,
        "features_per_stage": plan["features"],
        "kernel_sizes": [kernel[::-1] for kernel in plan["kernels"]],
        "strides": [stride[::-1] for stride in plan["strides"]],
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "conv_op": "torch.nn.Conv3d",
        "conv_bias": bool(plan.get("upsampling_bias", False)),
        "norm_op": "torch.nn.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    imports = ["conv_op", "norm_op", "dropout_op", "nonlin"]
    return {"network_class_name": PLAIN_UNET, "arch_kwargs": kwargs, "_kw_requires_import": imports}


def _plans_of(plan: dict, architecture: dict) -> dict:
    numbers = plan["normalization"]
    kwargs = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    fullres = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": plan["batch_size"],
        "patch_size": plan["patch_size"][::-1],
        "spacing": plan["spacing"][::-1],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "architecture": architecture,
    }
    for part, changes in (("data", {}), ("seg", {"is_seg": True, "order": 1}), ("probabilities", {"order": 1})):
        fullres[f"resampling_fn_{part}"] = RESAMPLING
        fullres[f"resampling_fn_{part}_kwargs"] = {**kwargs, **changes}
    return {
        "dataset_name": "Dataset001_teacher",
        "plans_name": "nnUNetPlans",
        "label_manager": "LabelManager",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "image_reader_writer": READER,
        "foreground_intensity_properties_per_channel": {
            "0": {
                "mean": numbers["mean"],
                "std": numbers["std"],
                "percentile_00_5": numbers["lower"],
                "percentile_99_5": numbers["upper"],
            }
        },
        "configurations": {"3d_fullres": fullres},
    }


def _dataset_of(plan: dict) -> dict:
    return {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **{NAMES[value]: value for value in range(1, plan["classes"])}},
        "numTraining": 1,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": READER,
    }


class NnunetPeer:
    """Labels scans by nnunetv2's own predictor, from file to file, without test-time augmentation.

    Parameters
    ----------
    model : folder with plans.json, dataset.json and fold_0/.
    device : "cpu" or "cuda".
    output : folder for the label maps, whose values are the model's own.
    """

    def __init__(self, model: str, device: str, output: str) -> None:
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        Path(output).mkdir(parents=True, exist_ok=True)
        self.output = Path(output)
        self.predictor = nnUNetPredictor(use_mirroring=False, device=torch.device(device), allow_tqdm=False)
        self.predictor.initialize_from_trained_model_folder(model, use_folds=(0,))

    def __call__(self, scan: str) -> None:
        """Label one scan."""
        target = self.output / Path(scan).name.removesuffix(".nii.gz")
        self.predictor.predict_from_files_sequential([[scan]], [str(target)])
