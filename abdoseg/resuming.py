"""Ignite handlers by which a killed training ends as one that was never killed: its state, its weights, its seeds."""

import logging
import os
import pickle
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd
from monai.utils import set_determinism
from torch import nn

from abdoseg.files import CaseError
from abdoseg.networks.checkpoints import unwrap, write_state

logger = logging.getLogger(__name__)


class Resume:
    """Save the whole training state after each epoch, go on from it when the same command starts again.

    Unlike MONAI's ``CheckpointSaver`` and ``CheckpointLoader`` it can stand in ``train#handlers`` (it takes the trainer
    from ``attach``), and it deletes its file when training has ended, so that a later training starts anew. In
    distributed training every process reads and the first one writes; networks are stored without their wrapper, so
    that training may go on with another number of processes. It must come last among the trainer's handlers: what
    they do at the end of an epoch is then behind the state. Random numbers are not stored: see `EpochSeeds`. Whole
    epochs count: a training that goes on with more or fewer steps an epoch does those that are left, and a schedule of
    the learning rate by steps that is a function of their number, as MONAI's are, goes on from the same share of them.

    Parameters
    ----------
    path : file of the state; written aside and renamed.
    objects : name -> object with ``state_dict`` and ``load_state_dict``, e.g. model, optimizer, learning rate schedule,
        best weights. The scaler of mixed precision is added.
    """

    def __init__(self, path: str | os.PathLike, objects: dict) -> None:
        self.path = Path(path)
        self.objects = {name: unwrap(target) for name, target in objects.items()}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.load)
        if engine.state.rank == 0:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.store)
            engine.add_event_handler(Events.STARTED, self.finish_last)

    def load(self, engine: Engine) -> None:
        """Restore all objects and the engine's counters, if the file is there; CaseError if it does not fit."""
        if not self.path.exists():
            return
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            # With another number of processes or cases an epoch has other steps, and so has a schedule by steps.
            iteration = state["epoch"] * engine.state.epoch_length
            for name, target in self._all(engine).items():
                by_steps = state[name].get("last_epoch") == state["iteration"]
                if by_steps and iteration != state["iteration"]:
                    target.last_epoch = iteration
                    continue
                rates = getattr(target, "base_lrs", None)
                target.load_state_dict(state[name])
                if rates != getattr(target, "base_lrs", None):
                    told = f"{self.path}: goes on with its learning rate, {target.base_lrs[0]:g}, not {rates[0]:g}"
                    logger.warning("%s; delete it to start anew.", told)
        except (KeyError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise CaseError(f"{self.path} is of another training ({error}); delete it to start anew.") from error
        engine.state.epoch = state["epoch"]
        engine.state.iteration = iteration
        logger.info("Resumed %s after epoch %d.", self.path, state["epoch"])

    def store(self, engine: Engine) -> None:
        """Write all objects and the engine's counters."""
        state = {name: source.state_dict() for name, source in self._all(engine).items()}
        write_state(self.path, {**state, "epoch": engine.state.epoch, "iteration": engine.state.iteration})

    def finish_last(self, engine: Engine) -> None:
        """Let `finish` come last of all: what other handlers do at the end, as a tracker does, may fail."""
        if not engine.has_event_handler(self.finish, Events.COMPLETED):
            engine.add_event_handler(Events.COMPLETED, self.finish)

    def finish(self, engine: Engine) -> None:
        """Delete the file: the trained weights stand elsewhere."""
        self.path.unlink(missing_ok=True)

    def _all(self, engine: Engine) -> dict:
        scaler = getattr(engine, "scaler", None)
        return self.objects if scaler is None else {**self.objects, "scaler": scaler}


class EpochSeeds:
    """Draw the random numbers of every epoch from the seed and the epoch's number alone, whatever came before.

    Then a training that was resumed shuffles, crops and augments as one that was never interrupted, and each process of
    a distributed training in its own way. Attach it to a trainer.

    Parameters
    ----------
    seed : of the training; None leaves everything random.
    dataset : whose random transforms are seeded; those in a data loader's workers follow from PyTorch's seed.
    """

    def __init__(self, seed: int | None, dataset: torch.utils.data.Dataset) -> None:
        self.seed = seed
        self.dataset = dataset

    def attach(self, engine: Engine) -> None:
        if self.seed is not None:
            engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        numbers = np.random.SeedSequence([self.seed, engine.state.epoch, engine.state.rank])
        seed = int(numbers.generate_state(1)[0])
        set_determinism(seed=seed)
        set_rnd(self.dataset, seed)


class LastWeights:
    """Write a network's weights when the training has ended, whole or not at all.

    MONAI's ``CheckpointSaver`` writes in place, and writes half-trained weights under the same name when a training is
    interrupted.

    Parameters
    ----------
    path : file of the state dict.
    network : seen through DistributedDataParallel.
    """

    def __init__(self, path: str | os.PathLike, network: nn.Module) -> None:
        self.path = Path(path)
        self.network = unwrap(network)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.COMPLETED, self.write)

    def write(self, engine: Engine) -> None:
        """Write the weights."""
        write_state(self.path, self.network.state_dict())


class BestWeights(LastWeights):
    """Write a network's weights after each validation whose key metric is higher than all before.

    Attach it to the evaluator. ``state_dict`` holds the highest metric, so that a resumed training compares with it.
    """

    best: float | None = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.compare)

    def compare(self, engine: Engine) -> None:
        """Write the weights if they are the best so far; a metric that is not a number is the worst."""
        metric = float(engine.state.metrics[engine.state.key_metric_name])
        metric = -np.inf if np.isnan(metric) else metric
        if self.best is None or metric > self.best:
            self.write(engine)
            self.best = metric

    def state_dict(self) -> dict:
        return {"best": self.best}

    def load_state_dict(self, state: dict) -> None:
        self.best = state["best"]
