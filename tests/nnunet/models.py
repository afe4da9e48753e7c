"""Tiny real nnU-Net models: phantoms on disk, and what the nnunetv2 package makes of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from abdoseg.networks import build_network
from abdoseg.nnunet.model_folder import axes_of

# HU and center and radius in the body (fractions of its edges, x to the right, y to the front, z up) of what is in it.
ORGANS = {
    "liver": (110, (0.70, 0.55, 0.60), (0.20, 0.26, 0.24)),
    "right kidney": (210, (0.68, 0.22, 0.33), (0.10, 0.11, 0.15)),
    "left kidney": (290, (0.28, 0.22, 0.36), (0.10, 0.11, 0.15)),
    "spleen": (150, (0.20, 0.52, 0.66), (0.12, 0.16, 0.16)),
    "bone": (600, (0.48, 0.10, 0.50), (0.07, 0.08, 0.60)),
}


def phantom(shape, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Give HU (int16) and labels (1 to 5 in the order of ORGANS) of a body of ``shape`` (x, y, z), RAS.

    The first slices are padding of 0 HU, which nnU-Net crops.
    """
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*((np.arange(n) + 0.5) / n for n in shape), indexing="ij"))
    image = np.where(((grid[:2] - 0.5) ** 2).sum(0) < 0.22, 30.0, -900.0)
    labels = np.zeros(shape, np.uint8)
    for value, (hu, center, radius) in enumerate(ORGANS.values(), 1):
        center = np.array(center) + random.uniform(-0.02, 0.02, 3)
        inside = sum(((grid[a] - center[a]) / radius[a]) ** 2 for a in range(3)) < 1
        image[inside], labels[inside] = hu, value
    image += random.normal(0, 8, shape)
    image[:, :, :1], labels[:, :, :1] = 0, 0
    return image.round().astype(np.int16), labels


def save(path: Path, volume: np.ndarray, spacing, axcodes: str) -> None:
    """Write a RAS volume (x, y, z) in the orientation ``axcodes``."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-80, -60, 300)
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(axcodes)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(volume, affine).as_reoriented(turn), path)


def write_data_set(folder: Path, dataset: str, labels: dict, shape, spacing, axcodes: str, reader: str | None) -> None:
    """Write a raw data set of two training and one test phantom, and its fingerprint."""
    raw = folder / "raw" / dataset
    for number in range(3):
        image, truth = phantom(shape, number)
        part = "Ts" if number == 2 else "Tr"
        save(raw / f"images{part}" / f"case{number}_0000.nii.gz", image, spacing, axcodes)
        save(raw / f"labels{part}" / f"case{number}.nii.gz", truth, spacing, axcodes)
    describe(folder, dataset, labels, reader, {"mean": 170, "std": 120, "percentile_00_5": 80, "percentile_99_5": 630})


def describe(folder: Path, dataset: str, labels: dict, reader: str | None, intensities: dict) -> None:
    """Write the dataset.json and the fingerprint of a raw data set; ``intensities`` are those of the foreground, HU."""
    raw = folder / "raw" / dataset
    scans = [nib.load(path) for path in sorted(raw.glob("imagesTr/*"))]
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **labels},
        "numTraining": len(scans),
        "file_ending": ".nii.gz",
        **({"overwrite_image_reader_writer": reader} if reader else {}),
    }
    (raw / "dataset.json").write_text(json.dumps(description))
    if reader == "NibabelIOWithReorient":
        scans = [nib.as_closest_canonical(scan) for scan in scans]
    fingerprint = {
        "shapes_after_crop": [list(scan.shape[::-1]) for scan in scans],
        "spacings": [[float(edge) for edge in scan.header.get_zooms()[::-1]] for scan in scans],
        "foreground_intensity_properties_per_channel": {"0": {"median": 150, "min": -50, "max": 700, **intensities}},
        "median_relative_size_after_cropping": 0.95,
    }
    preprocessed = folder / "preprocessed" / dataset
    preprocessed.mkdir(parents=True)
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))


def make_models(folder: Path, models: list[dict]) -> None:
    """Let nnunetv2 make the models; see reference.py."""
    (folder / "models.json").write_text(json.dumps(models))
    folders = {f"nnUNet_{part}": str(folder / part) for part in ("raw", "preprocessed", "results")}
    program = Path(__file__).with_name("reference.py")
    done = subprocess.run(
        [sys.executable, program, folder],
        env=os.environ | folders | {"PYTHONPATH": str(program.parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def imported_logits(model, folder: Path, patch: np.ndarray, logits: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (C, x, y, z) of a patch in nnU-Net's axes: those of the imported network, and nnU-Net's ``logits``."""
    network = build_network(model.architecture).eval()
    network.load_state_dict(model.state)
    plans, dataset = (json.loads((folder / name).read_text()) for name in ("plans.json", "dataset.json"))
    recipe = model.architecture["plan"]["imported"]
    turn = [axis + 1 for axis in axes_of(plans["transpose_forward"], recipe["orientation"])]
    names = list(dataset["labels"])
    with torch.no_grad():
        found = network(torch.from_numpy(patch).permute(0, *turn)[None])[0]
    channels = [names.index(name) for name in recipe["class_names"]]
    return found, torch.from_numpy(logits)[channels].permute(0, *turn)


def patch_of(predictor, scan: Path) -> tuple[np.ndarray, np.ndarray]:
    """The middle of a scan as nnU-Net preprocesses it, as large as a patch, and what its network says of it."""
    settings = predictor.configuration_manager
    data, _, _ = settings.preprocessor_class(verbose=False).run_case(
        [str(scan)], None, predictor.plans_manager, settings, predictor.dataset_json
    )
    missing = [(0, max(0, size - n)) for size, n in zip(settings.patch_size, data.shape[1:], strict=True)]
    data = np.pad(data, [(0, 0), *missing])
    starts = [(n - size) // 2 for size, n in zip(settings.patch_size, data.shape[1:], strict=True)]
    patch = data[:, *(slice(start, start + size) for start, size in zip(starts, settings.patch_size, strict=True))]
    with torch.no_grad():
        return patch, predictor.network.eval()(torch.from_numpy(patch)[None])[0].numpy()


def dice(found: np.ndarray, wanted: np.ndarray, value) -> float:
    """Dice of one class; 1 where neither has it."""
    a, b = found == value, wanted == value
    return 2 * (a & b).sum() / max(1, a.sum() + b.sum()) if a.any() or b.any() else 1.0
