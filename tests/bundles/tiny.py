"""Bundles made tiny: every folder of bundles/, a copy with a small architecture, and MONAI's workflow of it."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
from monai.bundle import ConfigParser, ConfigWorkflow

from abdoseg.datalist import write_datalist
from abdoseg.networks import read_architecture, write_architecture

REPOSITORY = Path(__file__).parents[2]
BUNDLES = sorted(folder for folder in (REPOSITORY / "bundles").iterdir() if folder.is_dir())
NETWORK_BUNDLES = [folder for folder in BUNDLES if (folder / "configs" / "inference.yaml").exists()]
BASES = ("train", "inference")
# Overlays on inference.yaml, not on train.yaml.
ON_INFERENCE = ("evaluate", "faithful")
# As many training steps as there are epochs, in this process.
TINY_SETTINGS = {"num_workers": 0, "iterations_per_epoch": 1, "max_epochs": 1}
TINY_PLAN = {
    "spacing": [4, 4, 4],
    "patch_size": [16, 16, 16],
    "batch_size": 2,
    "features": [2, 3, 4],
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "kernels": [[3, 3, 3]] * 3,
    "normalization": {"lower": -200, "upper": 300, "mean": 80, "std": 90},
    "classes": 14,
}


def name_of(path: Path) -> str:
    return path.name


def metadata_of(bundle: Path) -> dict:
    return json.loads((bundle / "configs" / "metadata.json").read_text())


def raw(bundle: Path, name: str) -> dict:
    """A config as it is written."""
    return ConfigParser.load_config_file(bundle / "configs" / f"{name}.yaml")


def overlays(bundle: Path) -> list[tuple[str, ...]]:
    """Names of the configs of a bundle that make networks, each with the one that it lies upon.

    A config with a ``bundle_root`` of its own that is no base stands alone and makes none.
    """
    names = sorted(path.stem for path in (bundle / "configs").glob("*.yaml"))
    names = [name for name in names if name in BASES or "bundle_root" not in raw(bundle, name)]
    on = {name: "inference" if name in ON_INFERENCE else "train" for name in names if name not in BASES}
    return [(name,) for name in names if name in BASES] + [(on[name], name) for name in names if name in on]


def config_files(bundle: Path, names) -> list[str]:
    return [str(bundle / "configs" / f"{name}.yaml") for name in names]


def shrink(architecture: dict) -> dict:
    """The same kinds of network, small enough for a cube of 16 voxels."""
    if architecture["kind"] == "coarse_to_fine":
        return {**architecture, "coarse": shrink(architecture["coarse"]), "fine": shrink(architecture["fine"])}
    if architecture["kind"] == "tumor_cascade":
        tumors = {family: shrink(part) for family, part in architecture["tumors"].items()}
        return {**architecture, "organs": shrink(architecture["organs"]), "tumors": tumors}
    if architecture["kind"] == "nnunet":
        return {**architecture, "plan": {**TINY_PLAN, "classes": architecture["plan"]["classes"]}}
    return {**architecture, "channels": [2, 3, 4], "image_size": [16, 16, 16], "dropout": 0.0}


def fallback_architecture(bundle: Path) -> dict:
    """What ``inference.yaml`` builds where no architecture stands beside the weights."""
    parser = ConfigParser()
    parser.read_config(config_files(bundle, ["inference"]))
    return read_architecture(bundle / "nowhere", parser.get_parsed_content("architecture"))


def copy_tiny(bundle: Path, folder: Path) -> Path:
    """Copy a bundle without weights and results; its models/architecture.json makes it tiny."""
    copy = folder / bundle.name
    shutil.copytree(bundle, copy, ignore=shutil.ignore_patterns("models", "eval"))
    write_architecture(copy / "models" / "architecture.json", shrink(fallback_architecture(bundle)))
    return copy


def workflow(bundle: Path, *names: str, **settings) -> ConfigWorkflow:
    """MONAI's workflow of the configs ``names``, from any directory, without changing the logging of the tests."""
    files = config_files(bundle, names)
    config = ConfigParser.load_config_files(files)
    tiny = {key: value for key, value in TINY_SETTINGS.items() if key in config}
    return ConfigWorkflow(
        files,
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="train" if names[0] == "train" else "infer",
        bundle_root=str(bundle),
        **tiny,
        **settings,
    )


def run(flow: ConfigWorkflow) -> ConfigWorkflow:
    flow.initialize()
    flow.run()
    flow.finalize()
    return flow


def write_cases(folder: Path) -> Path:
    """Write a data list of scans of 28 x 24 x 26 voxels of 4 mm with a block for each class; give its path.

    Two strong cases (0002 for validation), two merged weak ones with a tumor in the liver (0006 for validation) and two
    test scans, of which 0005 has no truth. 0003 and 0004 are stored in other orientations than RAS.
    """
    axes = {"0001": "RAS", "0002": "RAS", "0003": "LPS", "0004": "PIR", "0005": "RAS", "0006": "RAS"}
    for number, (case, axcodes) in enumerate(axes.items()):
        labels = block_labels(14 if case in ("0003", "0004", "0006") else 13)
        if case in ("0003", "0006"):
            labels[4:7, 5:8, 3:6] = 14
        noise = np.random.default_rng(number).normal(0, 5, labels.shape)
        image = np.where(labels > 0, labels * 20.0, -200) + noise
        save(folder / f"{case}_0000.nii.gz", image.astype(np.int16), axcodes)
        save(folder / f"{case}.nii.gz", labels, axcodes)
    organs = list(range(1, 14))
    strong = {"kind": "strong", "annotated_classes": organs}
    weak = {"kind": "weak", "merged": True, "annotated_classes": [14], "filled_classes": organs}
    held_out = {"validation": True, "teacher_validation": True}
    in_liver = {"hosts": {"0": 1, "1": 1, "4": 0}, "tumor_known": True}
    content = {
        "training": [
            {**files("0001"), **strong},
            {**files("0002"), **strong, **held_out},
            {**files("0003"), **weak, **in_liver},
            {**files("0006"), **weak, **in_liver, "validation": True},
        ],
        "testing": [{**files("0004"), "kind": "test"}, {"id": "0005", "image": "0005_0000.nii.gz", "kind": "test"}],
    }
    write_datalist(folder / "datalist.json", content)
    return folder / "datalist.json"


def files(case: str) -> dict:
    return {"id": case, "image": f"{case}_0000.nii.gz", "label": f"{case}.nii.gz"}


def block_labels(classes: int) -> np.ndarray:
    """Blocks of 6 x 6 x 7 voxels in three layers of two rows of three: ids 1 to ``classes``."""
    labels = np.zeros((28, 24, 26), np.uint8)
    for index in range(classes):
        x, y, z = 2 + 8 * (index % 3), 3 + 9 * (index // 3 % 2), 1 + 8 * (index // 6)
        labels[x : x + 6, y : y + 6, z : z + 7] = index + 1
    return labels


def save(path: Path, volume: np.ndarray, axcodes: str) -> None:
    """Write a RAS volume of 4 mm voxels in the orientation ``axcodes``."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = (-50, -40, 600)
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(axcodes)
    )
    nib.save(nib.Nifti1Image(volume, affine).as_reoriented(turn), path)
