"""Small real files for the tests of the commands: a data set in the FLARE23 layout, tiny networks, short trainings."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
import yaml

from abdoseg.networks import build_network, write_architecture

SHAPE = (24, 20, 18)
AFFINE = np.diag([-12.0, 12.0, 14.0, 1.0]) + np.array([[0, 0, 0, 130], [0, 0, 0, -110], [0, 0, 0, -90], [0] * 4])
ORGANS = tuple(range(1, 14))
FIVE = (1, 2, 3, 4, 13)
# Row by row from the right to the left: liver and right kidney lie on the right of spleen and left kidney.
PLACES = (1, 13, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 2, 14)
COARSE = {"kind": "residual_unet", "channels": [4, 8], "image_size": [16, 16, 16]}
FINE = {"kind": "efficient_segnet", "channels": [4, 8], "image_size": [16, 16, 16]}
STUDENT = {"kind": "coarse_to_fine", "coarse": COARSE, "fine": FINE}
PLAN = {
    "spacing": [12, 12, 14],
    "patch_size": [16, 16, 16],
    "batch_size": 1,
    "features": [4, 8, 8],
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "kernels": [[3, 3, 3], [3, 3, 3], [3, 3, 3]],
    "normalization": {"lower": -900, "upper": 700, "mean": 50, "std": 200},
    "classes": 14,
}
TEACHER = {"kind": "nnunet", "plan": PLAN}
TUMOR = {"kind": "nnunet", "plan": {**PLAN, "classes": 2}}
TUMOR_CASCADE = {"kind": "tumor_cascade", "organs": TEACHER, "tumors": {"liver": TUMOR, "rest": TUMOR}}
# Laid over a bundle's train.yaml they make its training a second long.
SHORT = {"max_epochs": 1, "num_workers": 0, "val_interval": 1}
OVERLAYS = {
    "teacher": {**SHORT, "iterations_per_epoch": 2},
    "coarse": {**SHORT, "batch_size": 1, "warmup_epochs": 0, "image_size": [16, 16, 16], "architecture": COARSE},
    "fine": {
        **SHORT,
        "batch_size": 1,
        "warmup_epochs": 0,
        "image_size": [16, 16, 16],
        "architecture": {
            "_target_": "abdoseg.networks.coarse_to_fine_architecture",
            "coarse_dir": "@coarse_dir",
            "fine": FINE,
        },
    },
}


def labels_of(classes, seed: int = 0) -> np.ndarray:
    """All 14 classes as boxes side by side, moved by the seed; those not in ``classes`` are 0."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    shift = seed % 3
    for index, class_id in enumerate(PLACES):
        x, y = 2 + 5 * (index % 4) + shift, 2 + 4 * (index // 4)
        labels[x : x + 3, y : y + 3, 4:14] = class_id
    return np.where(np.isin(labels, classes), labels, 0).astype(np.uint8)


def save(path: Path, volume: np.ndarray, affine=AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(volume, affine), path)
    return path


def save_scan(path: Path, seed: int = 0, affine=AFFINE) -> Path:
    """A scan whose classes have their own HU, in noise."""
    noise = np.random.default_rng(seed).normal(0, 10, SHAPE)
    return save(path, (40.0 * labels_of(range(1, 15), seed) - 100 + noise).astype(np.int16), affine)


def save_data_set(root: Path, training: list, testing: int = 0, truth: bool = True) -> Path:
    """A data set whose training case number i has the classes ``training[i]`` drawn."""
    for number, classes in enumerate(training, 1):
        save_scan(root / "imagesTr2200" / f"{number:04}_0000.nii.gz", number)
        save(root / "labelsTr2200" / f"{number:04}.nii.gz", labels_of(classes, number))
    for number in range(101, 101 + testing):
        save_scan(root / "validation" / f"{number:04}_0000.nii.gz", number)
        if truth:
            save(root / "truth" / f"{number:04}.nii.gz", labels_of(range(1, 15), number))
    return root


def save_weights(folder: Path, architecture: dict, seed: int = 0) -> Path:
    """Random weights of a network beside its architecture."""
    torch.manual_seed(seed)
    network = build_network(architecture)
    write_architecture(folder / "architecture.json", network.architecture)
    torch.save(network.state_dict(), folder / "model.pt")
    return folder


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def one_training(folder: Path, classes: list, overlay: dict) -> list[str]:
    """A chain of the coarse training alone, on a data list of its own, and the options of `run`."""
    data = save_data_set(folder / "data", classes)
    training = [
        {
            "id": f"{number:04}",
            "image": str(data / "imagesTr2200" / f"{number:04}_0000.nii.gz"),
            "label": str(data / "labelsTr2200" / f"{number:04}.nii.gz"),
            "kind": "strong",
            "annotated_classes": list(drawn),
        }
        for number, drawn in enumerate(classes, 1)
    ]
    (folder / "list.json").write_text(json.dumps({"training": training}))
    (folder / "overlay.yaml").write_text(yaml.safe_dump({**OVERLAYS["coarse"], **overlay}))
    stage = {
        "name": "coarse",
        "bundle": "coarse_seg",
        "run": "training",
        "configs": ["train.yaml", str(folder / "overlay.yaml")],
        "arguments": {
            "seed": "{seed}",
            "datalist": str(folder / "list.json"),
            "ckpt_dir": "{work_dir}/weights",
            "output_dir": "{work_dir}",
        },
        "outputs": ["{work_dir}/weights/model.pt"],
        "state": ["{work_dir}/weights", "{work_dir}/resume.pt"],
    }
    (folder / "one.yaml").write_text(yaml.safe_dump({"parameters": {"seed": 0}, "stages": [stage]}))
    return [str(folder / "one.yaml"), str(data), str(folder / "work")]
