"""Ignite handlers that MONAI lacks: gradient clipping, resuming in place, learning curves, FLARE23 scores."""

import json
import logging
import os
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents

from abdoseg.files import atomic_path, write_json
from abdoseg.metrics import flare_scores, summarize
from abdoseg.transforms import spacing_of

logger = logging.getLogger(__name__)


def step_loss(output: dict | list[dict]) -> float:
    """Loss of one training step, from the trainer's output, decollated into a list or not."""
    return float((output[0] if isinstance(output, list) else output)["loss"])


class ClipGradients:
    """Clip the gradient's norm before each optimizer step (nnU-Net: 12); MONAI's trainer has no switch for it.

    Attach it to the handlers of a ``SupervisedTrainer``; with mixed precision the gradients are unscaled first.
    """

    def __init__(self, max_norm: float) -> None:
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        parameters = [parameter for group in engine.optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, self.max_norm)


class Resume:
    """Save the whole training state after each epoch, go on from it when the same command starts again.

    Unlike MONAI's ``CheckpointSaver`` and ``CheckpointLoader`` it can stand in ``train#handlers`` (it takes the trainer
    from ``attach``), and it deletes its file when training has ended, so that a later training starts anew.

    Parameters
    ----------
    path : file of the state; written aside and renamed.
    objects : name -> object with ``state_dict`` and ``load_state_dict``, e.g. model, optimizer, learning rate schedule.
    save : whether to write (in distributed training only rank 0 does).
    """

    def __init__(self, path: str | os.PathLike, objects: dict, save: bool = True) -> None:
        self.path = Path(path)
        self.objects = objects
        self.save = save

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.load)
        if self.save:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.store)
            engine.add_event_handler(Events.COMPLETED, self.finish)

    def load(self, engine: Engine) -> None:
        """Restore all objects and the engine's counters, if the file is there."""
        if not self.path.exists():
            return
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, target in self.objects.items():
            target.load_state_dict(state[name])
        engine.state.epoch = state["epoch"]
        engine.state.iteration = state["iteration"]
        logger.info("Resumed %s after epoch %d.", self.path, state["epoch"])

    def store(self, engine: Engine) -> None:
        """Write all objects and the engine's counters."""
        state = {name: source.state_dict() for name, source in self.objects.items()}
        state |= {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
        with atomic_path(self.path) as temporary:
            torch.save(state, temporary)

    def finish(self, engine: Engine) -> None:
        """Delete the file: the trained weights stand elsewhere."""
        self.path.unlink(missing_ok=True)


class LearningCurve:
    """Append one line of JSON an epoch: epoch, mean loss, learning rate and, when validated, the mean DSC.

    Parameters
    ----------
    path : the ``.jsonl`` file. Training that starts at epoch 1 starts it anew; training that resumes keeps it.
    optimizer : its first parameter group tells the learning rate.
    """

    def __init__(self, path: str | os.PathLike, optimizer: torch.optim.Optimizer) -> None:
        self.path = Path(path)
        self.optimizer = optimizer
        self.losses: list[float] = []
        self.validation_dsc: float | None = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def start(self, engine: Engine) -> None:
        """Begin an empty file, or keep the epochs that a resumed training has behind it."""
        rows = self.path.read_text().splitlines() if self.path.exists() else []
        kept = [row for row in rows if json.loads(row)["epoch"] <= engine.state.epoch]
        with atomic_path(self.path) as temporary:
            temporary.write_text("".join(f"{row}\n" for row in kept))

    def collect(self, engine: Engine) -> None:
        """Note the loss of one step."""
        self.losses.append(step_loss(engine.state.output))

    def note_validation(self, evaluator: Engine) -> None:
        """Note the key metric of a validation that has just ended; see ``ValidationCurve``."""
        self.validation_dsc = float(evaluator.state.metrics[evaluator.state.key_metric_name])

    def write(self, engine: Engine) -> None:
        """Append the line of the epoch that has just ended."""
        row = {
            "epoch": engine.state.epoch,
            "loss": sum(self.losses) / len(self.losses),
            "lr": float(self.optimizer.param_groups[0]["lr"]),
            "validation_dsc": self.validation_dsc,
        }
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self.losses, self.validation_dsc = [], None


class ValidationCurve:
    """Hand the key metric of each validation to a ``LearningCurve``; attach it to the evaluator's handlers."""

    def __init__(self, curve: LearningCurve) -> None:
        self.curve = curve

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.COMPLETED, self.curve.note_validation)


class FlareScores:
    """Score each inferred label map against its reference on the scan's own grid, by the official FLARE23 rules.

    Attach it to an evaluator whose output holds ``pred`` and ``label`` as (1, x, y, z) RAS label maps with an affine.

    Parameters
    ----------
    path : JSON file with the summary and each case's scores, written when the evaluator has ended.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self.cases: dict[str, dict] = {}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def __call__(self, engine: Engine) -> None:
        for item in engine.state.output:
            prediction, reference = (item[key][0].cpu().numpy().astype("uint8") for key in ("pred", "label"))
            scores = flare_scores(prediction, reference, spacing_of(item["label"]))
            present = {int(label) for label in set(reference.ravel())} - {0}
            self.cases[str(item.get("id", len(self.cases)))] = {"scores": scores, "present": sorted(present)}

    def write(self, engine: Engine) -> None:
        """Write the JSON file."""
        summary = summarize(self.cases)
        write_json(self.path, {"summary": summary, "cases": self.cases})
        logger.info("Scores of %d cases: %s", len(self.cases), self.path)
