"""What a step of each training takes, how much of it waits for data, and what a plain loop of PyTorch takes."""

import dataclasses
import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from ignite.engine import Engine, Events

from abdoseg.allocator import keep_freed_memory
from abdoseg.files import CaseError
from abdoseg.handlers import ProgressiveResize
from tools.benchmark_predict import format_spread, spread
from tools.chain import Stage
from tools.pipeline import load_pipeline
from tools.score_tables import columns
from tools.workflow import workflow_of

# Steps at the start that are not counted: the first ones fill caches and choose algorithms.
UNCOUNTED = 3
COARSER_GRIDS = f"{ProgressiveResize.__module__}.{ProgressiveResize.__qualname__}"


def benchmark_training(
    chain: str, preset: str | None, work_dir: str, stages: Sequence[str], steps: int, parameters: Mapping
) -> dict:
    """Train some steps of each stage in a folder of its own, on the full grid, then the same in a plain loop.

    Parameters
    ----------
    chain, preset, parameters : as `run` takes them.
    work_dir : folder of a chain that has been run at least up to these stages.
    stages : those to measure; none: all trainings whose weights stand in the work folder.
    steps : how many are measured.

    Returns
    -------
    ``{"threads", "device", "stages": {name: {"cases", "prepare_s": of all cases before training, once, "batch": shape
    of an image batch, "step_s": spread, "waiting": share of the time in which the network waits for data, "plain_s":
    spread, "of_plain": plain / step, medians}}}``

    Raises
    ------
    CaseError
        If a stage is no training of the chain, or its data or the weights that it starts from are not there.
    """
    root = Path(work_dir).absolute()
    values = {**parameters, "data_dir": str(root / "data"), "work_dir": str(root)}
    trainings = {stage.name: stage for stage in load_pipeline(chain, preset, values) if stage.run == "training"}
    if unknown := [name for name in stages if name not in trainings]:
        raise CaseError(f"{chain} has no training {unknown[0]!r}. It has: {', '.join(trainings)}.")
    chosen = stages or [name for name, stage in trainings.items() if (Path(stage.arguments["ckpt_dir"])).is_dir()]
    if not chosen:
        raise CaseError(f"{root} holds no trained stage of {chain}; run the chain first.")
    result: dict = {"threads": torch.get_num_threads(), "stages": {}}
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            device, figures = _measure(trainings[name], folder, steps)
        result["device"] = str(device)
        result["stages"][name] = figures
        print(f"{name}: {figures['step_s']['median']} s a step, plain {figures['plain_s']['median']} s", flush=True)
    return result


def _measure(stage: Stage, folder: str, steps: int) -> tuple[torch.device, dict]:
    """Device and figures of one stage."""
    total = steps + UNCOUNTED
    arguments = {
        **stage.arguments,
        "ckpt_dir": f"{folder}/weights",
        "output_dir": folder,
        "max_epochs": 1,
        "warmup_epochs": 0,
        "train#trainer#epoch_length": total,
    }
    workflow = workflow_of(dataclasses.replace(stage, arguments=arguments))
    handlers = workflow.parser["train#handlers"]
    workflow.parser["train#handlers"] = [one for one in handlers if one["_target_"] != COARSER_GRIDS]
    workflow.initialize()
    logging.getLogger("ignite").setLevel(logging.WARNING)  # it would tell of each epoch
    content = workflow.parser.get_parsed_content
    trainer, dataset = content("train#trainer"), content("train#dataset")
    start = time.perf_counter()
    for index in range(len(dataset)):
        dataset[index]
    prepared = time.perf_counter() - start
    clock = StepClock()
    clock.attach(trainer)
    batches: list[Mapping] = []
    trainer.add_event_handler(Events.ITERATION_STARTED(once=1), lambda engine: batches.append(engine.state.batch))
    with keep_freed_memory() if trainer.state.device.type == "cpu" else nullcontext():
        workflow.run()
        plain = _plain_loop(trainer, batches[0], content("loss"), total)[UNCOUNTED:]
    waits, works = clock.waits[UNCOUNTED:], clock.works[UNCOUNTED:]
    whole = [wait + work for wait, work in zip(waits, works, strict=True)]
    figures = {
        "cases": len(dataset),
        "prepare_s": round(prepared, 2),
        "batch": list(batches[0]["image"].shape),
        "step_s": spread(whole),
        "waiting": round(sum(waits) / sum(whole), 3),
        "plain_s": spread(plain),
    }
    figures["of_plain"] = round(figures["plain_s"]["median"] / figures["step_s"]["median"], 3)
    return trainer.state.device, figures


class StepClock:
    """Seconds that each step of a trainer waits for its batch and works on it.

    Ignite's BasicTimeProfiler counts the steps by the data loader's length, which is not the trainer's epoch here.
    """

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.works: list[float] = []
        self._since = 0.0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._start)
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._end, self.waits)
        engine.add_event_handler(Events.ITERATION_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._end, self.works)

    def _start(self) -> None:
        self._since = time.perf_counter()

    def _end(self, seconds: list[float]) -> None:
        seconds.append(time.perf_counter() - self._since)


def _plain_loop(trainer, batch: Mapping, loss_function: Callable, steps: int) -> list[float]:
    """Seconds of each step on random images: forward, loss, backward, optimizer, and nothing of MONAI or ignite."""
    device, network, optimizer = trainer.state.device, trainer.network, trainer.optimizer
    images, target = trainer.prepare_batch(batch, device, False)
    images = torch.randn(images.shape, device=device)
    network.train()
    scaler = torch.amp.GradScaler(device.type, enabled=trainer.amp and device.type == "cuda")
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, enabled=trainer.amp):
            loss = loss_function(network(images), target)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        loss.item()  # waits for the card, as the trainer does when it logs
        seconds.append(time.perf_counter() - start)
    return seconds


def format_training(result: Mapping) -> str:
    """The figures as a table for the terminal."""
    rows = [["stage", "batch", "s a step", "waiting", "plain loop", "plain / step", "cases", "prepared once, s"]]
    for name, part in result["stages"].items():
        rows.append(
            [
                name,
                "x".join(map(str, part["batch"])),
                format_spread(part["step_s"], ".3f"),
                f"{part['waiting']:.1%}",
                format_spread(part["plain_s"], ".3f"),
                f"{part['of_plain']:.2f}",
                str(part["cases"]),
                f"{part['prepare_s']:.1f}",
            ]
        )
    return "\n".join([columns(rows), f"{result['device']}, {result['threads']} threads; medians [least, most]"])
