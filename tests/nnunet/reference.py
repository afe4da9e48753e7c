"""Plan, train and apply tiny models with the nnunetv2 package itself; run as a program, because it reads its folders.

Usage: python reference.py FOLDER, with the environment variables nnUNet_raw, nnUNet_preprocessed and nnUNet_results.
FOLDER/models.json lists what to make; each data set stands in FOLDER/raw and has a fingerprint in FOLDER/preprocessed.
Leaves plans.json, dataset.json and fold_X/checkpoint_final.pth as nnU-Net's trainer does, the labels that nnU-Net's
predictor gives the scans in imagesTs, and logits.npz: a preprocessed patch and what the network says of it.
"""

import json
import sys
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncM,
)
from nnunetv2.inference import predict_from_raw_data
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from tests.nnunet.models import patch_of

CPU = torch.device("cpu")


def plan(folder: Path, settings: dict) -> dict:
    """Plan as nnU-Net does, but with few features and the wanted patch."""
    residual = settings.get("residual", False)
    planner = (nnUNetPlannerResEncM if residual else ExperimentPlanner)(settings["dataset"])
    planner.UNet_base_num_features, planner.UNet_max_features_3d = settings["features"]
    if residual:
        planner.UNet_blocks_per_stage_encoder = (1, 2, 2, 1, 1, 1, 1)
    with torch.device("meta"):  # the planner builds a network for each patch that it tries
        planner.plan_experiment()
    written = Path(folder, "preprocessed", settings["dataset"], f"{planner.plans_identifier}.json")
    plans = json.loads(written.read_text())
    plans["configurations"]["3d_fullres"]["patch_size"] = settings["patch"]
    return plans


def train(trainer: nnUNetTrainer, raw: Path, steps: int) -> None:
    """A few steps on random patches."""
    torch.manual_seed(0)
    configuration = trainer.configuration_manager
    trainer.network = trainer.build_network_architecture(
        trainer.plans_manager, configuration, 1, trainer.label_manager.num_segmentation_heads, True
    )
    trainer.optimizer, trainer.lr_scheduler = trainer.configure_optimizers()
    preprocessor = configuration.preprocessor_class(verbose=False)
    cases = []
    for image in sorted(raw.glob("imagesTr/*_0000.nii.gz")):
        label = raw / "labelsTr" / image.name.replace("_0000", "")
        data, seg, _ = preprocessor.run_case(
            [str(image)], str(label), trainer.plans_manager, configuration, trainer.dataset_json
        )
        cases.append((torch.from_numpy(data), torch.from_numpy(seg.astype(np.int64)).clamp(min=0)))
    random, size = np.random.default_rng(0), np.array(configuration.patch_size)
    counts = torch.bincount(torch.cat([seg.flatten() for _, seg in cases])).float()
    weight = (counts.sum() / counts.clamp(min=1)).sqrt()
    optimizer = torch.optim.AdamW(trainer.network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for step in range(steps):
        data, seg = (pad(array, size) for array in cases[step % len(cases)])
        found = torch.nonzero(seg[0] == 1 + step % (len(counts) - 1)).numpy()  # around one class after the other
        center = found[random.integers(len(found))] if len(found) else size // 2
        corner = (center - random.integers(size)).clip(0, np.array(data.shape[1:]) - size)
        place = (slice(None), *(slice(c, c + p) for c, p in zip(corner, size, strict=True)))
        logits = trainer.network(data[place][None])[0]
        share, drawn = logits.softmax(1)[0], torch.nn.functional.one_hot(seg[place][0], len(counts)).permute(3, 0, 1, 2)
        overlap = 2 * (share * drawn).sum((1, 2, 3)) / (share.sum((1, 2, 3)) + drawn.sum((1, 2, 3)) + 1)
        loss = torch.nn.functional.cross_entropy(logits, seg[place], weight) - overlap.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():  # biases of transposed convolutions start at 0 and matter little otherwise
        for name, parameter in trainer.network.named_parameters():
            if "transpconvs" in name and name.endswith("bias"):
                parameter += 0.1 * torch.randn_like(parameter)


def pad(array: torch.Tensor, size) -> torch.Tensor:
    missing = [max(0, p - n) for n, p in zip(array.shape[1:], size, strict=True)]
    return torch.nn.functional.pad(array, [n for m in missing[::-1] for n in (0, m)])


@contextmanager
def single_precision():
    """Let nnU-Net gather logits in single precision.

    In half precision its weights at the corners of a scan have one digit, which decides what a network says there that
    has hardly been trained.
    """
    half, weights = torch.half, predict_from_raw_data.compute_gaussian
    torch.half = torch.float32
    predict_from_raw_data.compute_gaussian = cache(partial(weights, dtype=torch.float32))
    try:
        yield
    finally:
        torch.half, predict_from_raw_data.compute_gaussian = half, weights


def make(folder: Path, settings: dict) -> None:
    """Make one model and let nnU-Net apply it."""
    raw = folder / "raw" / settings["dataset"]
    dataset = json.loads((raw / "dataset.json").read_text())
    plans = plan(folder, settings)
    trainer = nnUNetTrainer({**plans, "continue_training": False}, "3d_fullres", 0, dataset, CPU)
    train(trainer, raw, settings["steps"])
    trainer.inference_allowed_mirroring_axes = settings["mirrored"] and tuple(settings["mirrored"])
    trainer.current_epoch = 2
    for epoch in (0, 1):  # NumPy's numbers, as nnU-Net's training leaves them
        trainer.logger.log("train_losses", np.float32(0.5), epoch)
        trainer.logger.log("mean_fg_dice", np.float64(0.3 + epoch), epoch)
        trainer.logger.log("dice_per_class_or_region", [np.float64(0.1)], epoch)
    trainer._best_ema = np.float64(0.3)
    Path(trainer.output_folder).mkdir(parents=True, exist_ok=True)
    trainer.save_checkpoint(str(Path(trainer.output_folder, "checkpoint_final.pth")))
    model = Path(trainer.output_folder_base)
    (model / "plans.json").write_text(json.dumps(plans))
    (model / "dataset.json").write_text(json.dumps(dataset))
    predictor = nnUNetPredictor(device=CPU, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), use_folds=(0,))
    output = folder / "predictions" / settings["dataset"]
    output.mkdir(parents=True)
    with single_precision():
        predictor.predict_from_files_sequential(str(raw / "imagesTs"), str(output))
    patch, logits = patch_of(predictor, sorted(raw.glob("imagesTs/*"))[0])
    np.savez(folder / f"{settings['dataset']}.npz", patch=patch, logits=logits, model=str(model))


if __name__ == "__main__":
    root = Path(sys.argv[1])
    for model_settings in json.loads((root / "models.json").read_text()):
        make(root, model_settings)
