"""Ignite handlers that MONAI lacks: gradient clipping, learning curves, FLARE23 scores, coarser grids."""

import json
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from monai.handlers import MLFlowHandler, StatsHandler

from abdoseg.datalist import case_id
from abdoseg.files import CaseError, atomic_path, write_json
from abdoseg.labels import CLASS_IDS
from abdoseg.metrics import score_label_maps, summarize
from abdoseg.resuming import LastWeights
from abdoseg.transforms import affine_of, file_name_of

logger = logging.getLogger(__name__)
MOST_LOST = 50  # a scaler that halves at each of so many steps has long left the range of float16 behind


def step_loss(output: dict | list[dict]) -> float:
    """Loss of one training step, from the trainer's output, decollated into a list or not."""
    return torch.as_tensor((output[0] if isinstance(output, list) else output)["loss"]).item()


class ClipGradients:
    """Clip the gradient's norm before each optimizer step (nnU-Net: 12); MONAI's trainer has no switch for it.

    Attach it to the handlers of a ``SupervisedTrainer``; with mixed precision the gradients are unscaled first. A step
    whose gradients are not finite is left out, as the scaler of mixed precision on CUDA devices does; one such step
    would make a NaN of every weight. Where no step is left, the training ends: ignite's ``TerminateOnNan`` would end it
    at the first.

    Parameters
    ----------
    max_norm : Euclidean norm of all gradients together, at most.

    Raises
    ------
    CaseError
        When called, after ``MOST_LOST`` steps in a row whose gradients are not finite.
    """

    def __init__(self, max_norm: float) -> None:
        self.max_norm = max_norm
        self.lost = 0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        parameters = [parameter for group in engine.optimizer.param_groups for parameter in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.max_norm)
        if torch.isfinite(norm):
            self.lost = 0
            return
        self.lost += 1
        if self.lost == MOST_LOST:
            raise CaseError(
                f"Epoch {engine.state.epoch}: the gradients of {MOST_LOST} steps in a row are NaN or infinite; lower "
                "learning_rate, turn half precision off (amp: false), or look for scans with absurd values."
            )
        if engine.scaler is None:
            engine.optimizer.zero_grad(set_to_none=True)
        logger.warning("Epoch %d: a step whose gradients are not finite is left out.", engine.state.epoch)


class LearningCurve:
    """Append one line of JSON an epoch: epoch, mean loss, learning rate and, when validated, the mean DSC.

    Parameters
    ----------
    path : the ``.jsonl`` file. Training that starts at epoch 1 starts it anew; training that resumes keeps the epochs
        behind it.
    optimizer : its first parameter group tells the learning rate.
    evaluator : engine of the validations between the epochs, whose key metric is the mean DSC; None: there is none.
    """

    def __init__(
        self, path: str | os.PathLike, optimizer: torch.optim.Optimizer, evaluator: Engine | None = None
    ) -> None:
        self.path = Path(path)
        self.optimizer = optimizer
        self.evaluator = evaluator
        self.losses: list[float] = []
        self.validation_dsc: float | None = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)
        if self.evaluator is not None:
            self.evaluator.add_event_handler(Events.COMPLETED, self.note_validation)

    def collect(self, engine: Engine) -> None:
        """Note the loss of one step."""
        self.losses.append(step_loss(engine.state.output))

    def note_validation(self, evaluator: Engine) -> None:
        """Note the key metric of a validation that has just ended."""
        self.validation_dsc = float(evaluator.state.metrics[evaluator.state.key_metric_name])

    def write(self, engine: Engine) -> None:
        """Write the line of the epoch that has just ended behind those of the epochs before it."""
        row = {
            "epoch": engine.state.epoch,
            "loss": sum(self.losses) / len(self.losses),
            "lr": float(self.optimizer.param_groups[0]["lr"]),
            "validation_dsc": self.validation_dsc,
        }
        rows = self.path.read_text().splitlines() if self.path.exists() else []
        kept = [line for line in rows if json.loads(line)["epoch"] < engine.state.epoch]
        with atomic_path(self.path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in [*kept, json.dumps(row)]))
        self.losses, self.validation_dsc = [], None


class FlareScores:
    """Score each inferred label map against its reference on the scan's own grid, by the official FLARE23 rules.

    Attach it to an evaluator whose output holds ``pred`` and ``label``, (1, x, y, z) label maps on one grid, the label
    a MetaTensor, and perhaps ``id``; else the label's file names the case.

    Parameters
    ----------
    path : JSON file, written when the evaluator has ended: ``{"summary": see abdoseg.metrics.summarize, "cases": {id:
        {class name: {"dsc", "nsd", "present"}}}}``.
    classes : ids to score.
    """

    def __init__(self, path: str | os.PathLike, classes: Iterable[int] = CLASS_IDS) -> None:
        self.path = Path(path)
        self.classes = tuple(classes)
        self.cases: dict[str, dict] = {}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def __call__(self, engine: Engine) -> None:
        for item in engine.state.output:
            prediction, reference = (
                torch.as_tensor(item[key])[0].cpu().numpy().astype("uint8") for key in ("pred", "label")
            )
            name = item.get("id") or case_id(file_name_of(item["label"]))
            self.cases[name] = score_label_maps(prediction, reference, affine_of(item["label"]), self.classes)

    def write(self, engine: Engine) -> None:
        """Write the JSON file."""
        summary = summarize(self.cases)
        write_json(self.path, {"summary": summary, "cases": self.cases})
        organs, tumor = summary["organ_mean_dsc"], summary["tumor_dsc"]
        logger.info("%d cases: organ mean DSC %s, tumor DSC %s: %s", len(self.cases), organs, tumor, self.path)


def handlers_of_rank(handlers: Sequence, rank: int) -> list:
    """Handlers that a process of a distributed training attaches: the first all, the others none that writes or tells.

    Parameters
    ----------
    handlers : objects with ``attach``.
    rank : number of the process, from 0.
    """
    first_only = (LastWeights, StatsHandler, MLFlowHandler, LearningCurve)
    return [handler for handler in handlers if rank == 0 or not isinstance(handler, first_only)]


class ProgressiveResize:
    """Train the first epochs on coarser grids, at a fraction of the cost of a step, then on the full one.

    Fully convolutional networks carry over what they learned; on a processor it saves most of the time until small
    organs and tumors appear. Neither paper does it; only short protocols such as ``demo.yaml`` use it. Attach it to a
    trainer.

    Parameters
    ----------
    grids : pairs of a number of epochs and the grid (x, y, z) that these are trained on, in their order. Images are
        averaged to it, label maps take the nearest voxel.
    multiples : numbers (x, y, z) that the network's grids are multiples of; ``grids`` are rounded down to them.
    image_key, label_key : keys of the batch (B, 1, x, y, z).
    """

    def __init__(
        self,
        grids: Sequence[tuple[int, Sequence[int]]],
        multiples: Sequence[int] = (1, 1, 1),
        image_key: str = "image",
        label_key: str = "label",
    ) -> None:
        self.grids = [
            (int(epochs), tuple(max(int(n) // step, 1) * step for n, step in zip(grid, multiples, strict=True)))
            for epochs, grid in grids
        ]
        self.image_key = image_key
        self.label_key = label_key

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        last = 0
        for epochs, grid in self.grids:
            last += epochs
            if engine.state.epoch <= last:
                batch = engine.state.batch
                image = torch.nn.functional.adaptive_avg_pool3d(batch[self.image_key], grid)
                label = torch.nn.functional.interpolate(batch[self.label_key].float(), grid, mode="nearest-exact")
                label = label.to(batch[self.label_key].dtype)
                engine.state.batch = {**batch, self.image_key: image, self.label_key: label}
                return
