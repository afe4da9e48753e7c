"""Killed trainings: what is resumed ends bit by bit like what was never interrupted; weights are whole or absent."""

import errno
import os

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from monai.optimizers import WarmupCosineSchedule
from monai.transforms import Compose, RandGaussianNoised
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from abdoseg.files import CaseError
from abdoseg.resuming import BestWeights, EpochSeeds, LastWeights, Resume
from tests.trainings import Training


def test_a_resumed_training_ends_like_an_uninterrupted_one(tmp_path):
    whole = Training(max_epochs=5)
    whole.trainer(whole.resume(tmp_path / "whole.pt")).run()

    first = Training(max_epochs=5)
    trainer = first.trainer(first.resume(tmp_path / "resume.pt"))

    @trainer.on(Events.ITERATION_COMPLETED(once=7))  # in the middle of the fourth epoch
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    second = Training(max_epochs=5)
    torch.nn.init.zeros_(second.network.weight)
    trainer = second.trainer(second.resume(tmp_path / "resume.pt"))
    started = []
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: started.append(engine.state.epoch))
    trainer.run()

    assert started == [4, 5]
    assert trainer.state.iteration == 10
    assert torch.equal(second.network.weight, whole.network.weight)
    assert second.optimizer.param_groups[0]["lr"] == whole.optimizer.param_groups[0]["lr"] == 0.1 * 0.5**2
    assert not (tmp_path / "resume.pt").exists(), "a later training would go on from it"


@pytest.mark.parametrize("batch_size", [1, 6])
def test_a_training_that_goes_on_with_other_steps_an_epoch_does_the_epochs_that_are_left(batch_size, tmp_path):
    """As with another number of processes: two of four epochs in 3 steps each, the others in 6 steps or in 1."""

    def training(size):
        network = torch.nn.Linear(3, 1)
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
        items = [{"image": torch.ones(3), "label": torch.ones(1)} for _ in range(6)]
        loader = DataLoader(Dataset(items), 0, batch_size=size)
        schedule = WarmupCosineSchedule(optimizer, warmup_steps=len(loader), t_total=4 * len(loader))
        objects = {"model": network, "optimizer": optimizer, "schedule": schedule}
        trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=4,
            train_data_loader=loader,
            network=network,
            optimizer=optimizer,
            loss_function=torch.nn.MSELoss(),
            train_handlers=[LrScheduleHandler(schedule, False, epoch_level=False)],
            decollate=False,
        )
        Resume(tmp_path / "resume.pt", objects).attach(trainer)
        return trainer, schedule

    trainer, _ = training(2)

    @trainer.on(Events.EPOCH_STARTED(once=3))
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    trainer, schedule = training(batch_size)
    rates = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: rates.append(trainer.optimizer.param_groups[0]["lr"]))
    trainer.run()
    steps = 6 // batch_size
    assert (trainer.state.epoch, trainer.state.iteration, schedule.last_epoch) == (4, 4 * steps, 4 * steps)
    # A cosine over the three epochs after the warm-up: a third of it is done, and its last step is the end.
    progress = [(steps + step) / (3 * steps) for step in range(1, 2 * steps + 1)]
    assert rates == pytest.approx([0.5 * (1 + np.cos(np.pi * share)) for share in progress])


def test_a_learning_rate_that_has_no_effect_on_a_resumed_training_is_told(tmp_path, caplog):
    trained = Training()
    trained.resume(tmp_path / "resume.pt").store(trained.trainer())
    other = Training()
    other.scheduler.base_lrs = [0.5]
    other.resume(tmp_path / "resume.pt").load(other.trainer())
    assert "resume.pt: goes on with its learning rate, 0.1, not 0.5; delete it to start anew." in caplog.text


def test_what_fails_at_the_end_does_not_cost_the_training(tmp_path):
    class Tracker:
        """A handler behind the state's, whose server is gone when the training has ended."""

        def attach(self, engine):
            engine.add_event_handler(Events.COMPLETED, self.tell)

        def tell(self):
            raise ConnectionError("no server")

    first = Training(max_epochs=2)
    with pytest.raises(ConnectionError):
        first.trainer(first.resume(tmp_path / "resume.pt"), Tracker()).run()
    second = Training(max_epochs=2)
    trainer = second.trainer(second.resume(tmp_path / "resume.pt"))
    started = []
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: started.append(engine.state.epoch))
    trainer.run()
    assert started == []
    assert torch.equal(second.network.weight, first.network.weight)
    assert not (tmp_path / "resume.pt").exists()


def test_a_state_of_another_training_is_named(tmp_path):
    trained = Training()
    handler = trained.resume(tmp_path / "resume.pt")
    handler.store(trained.trainer())
    other = Training(max_epochs=2)
    other.network = torch.nn.Linear(3, 2)
    with pytest.raises(CaseError, match=r"(?s)resume\.pt is of another training \(.*size mismatch.*; delete it"):
        other.trainer(other.resume(tmp_path / "resume.pt")).run()


def test_the_state_of_a_distributed_network_fits_a_single_one(tmp_path):
    training = Training()
    handler = training.resume(tmp_path / "resume.pt")
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        wrapped = Resume(tmp_path / "resume.pt", {"model": DistributedDataParallel(training.network)})
        wrapped.store(training.trainer())
    finally:
        distributed.destroy_process_group()
    assert list(torch.load(tmp_path / "resume.pt")["model"]) == ["weight", "bias"]
    torch.nn.init.zeros_(training.network.weight)
    handler.objects = {"model": training.network}
    handler.load(training.trainer())
    assert training.network.weight.any()


def test_only_the_first_process_writes_the_state(tmp_path):
    training = Training()
    trainer = training.trainer()
    trainer.state.rank = 1
    training.resume(tmp_path / "resume.pt").attach(trainer)
    written = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: written.append((tmp_path / "resume.pt").exists()))
    trainer.run()
    assert written == [False]


@pytest.mark.parametrize("content", [b"", b"no state"])
def test_a_broken_state_is_named(tmp_path, content):
    (tmp_path / "resume.pt").write_bytes(content)
    training = Training()
    with pytest.raises(CaseError, match=r"(?s)resume\.pt is of another training \(.*; delete it to start anew"):
        training.trainer(training.resume(tmp_path / "resume.pt")).run()


class Augmented:
    """A training that shuffles, adds noise to its data and drops out: what it learns depends on every random number."""

    def __init__(self, folder, num_workers=0, seed=3):
        torch.manual_seed(0)
        self.network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
        generator = torch.Generator().manual_seed(1)
        items = [
            {"image": torch.randn(3, generator=generator), "label": torch.randn(1, generator=generator)}
            for _ in range(6)
        ]
        dataset = Dataset(items, Compose([RandGaussianNoised("image", prob=0.7, std=1.0)]))
        optimizer = torch.optim.Adam(self.network.parameters())
        self.best = BestWeights(folder / "model.pt", self.network)
        objects = {"model": self.network, "optimizer": optimizer, "best": self.best}
        self.trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=4,
            train_data_loader=DataLoader(dataset, num_workers, batch_size=2, shuffle=True),
            network=self.network,
            optimizer=optimizer,
            loss_function=torch.nn.MSELoss(),
            train_handlers=[EpochSeeds(seed, dataset), Resume(folder / "resume.pt", objects)],
            decollate=False,
        )

    def weights(self):
        return torch.cat([parameter.detach().flatten() for parameter in self.network.parameters()])

    def interrupted_in_the_third_epoch(self):
        @self.trainer.on(Events.ITERATION_COMPLETED(once=8))
        def interrupt():
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            self.trainer.run()
        return self


@pytest.mark.parametrize("num_workers", [0, 2])
def test_order_augmentation_and_dropout_are_those_of_an_uninterrupted_training(tmp_path, num_workers):
    (whole := Augmented(tmp_path / "whole", num_workers)).trainer.run()
    Augmented(tmp_path, num_workers).interrupted_in_the_third_epoch()
    resumed = Augmented(tmp_path, num_workers)
    np.random.default_rng().random(5)
    torch.rand(7)  # another process has drawn other numbers before
    resumed.trainer.run()
    assert torch.equal(resumed.weights(), whole.weights())


def test_seeds_differ_between_epochs_and_processes_and_follow_the_trainings(tmp_path):
    drawn = {}
    for seed, rank in ((3, 0), (3, 1), (4, 0), (3, 0)):
        training = Augmented(tmp_path, seed=seed)
        training.trainer.state.rank = rank
        numbers = []
        handler = EpochSeeds(seed, training.trainer.data_loader.dataset)
        for epoch in (1, 2):
            training.trainer.state.epoch = epoch
            handler(training.trainer)
            numbers.append((torch.rand(1).item(), np.random.rand()))
        assert drawn.setdefault((seed, rank), numbers) == numbers, "the same seed gives the same numbers"
    assert len({number for numbers in drawn.values() for pair in numbers for number in pair}) == 3 * 2 * 2


def test_without_a_seed_nothing_is_seeded(tmp_path):
    training = Augmented(tmp_path, seed=None)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    training.trainer._fire_event(Events.EPOCH_STARTED)
    assert torch.equal(torch.rand(1), expected)


def validated(handler, metrics):
    """Let an evaluator validate once a metric."""
    values = iter(metrics)
    engine = Engine(lambda engine, batch: None)
    engine.state.key_metric_name = "mean_dsc"
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: engine.state.metrics.update(mean_dsc=next(values)))
    handler.attach(engine)
    for step in range(len(metrics)):
        with torch.no_grad():
            handler.network.weight.fill_(step)
        engine.run([0])


@pytest.mark.parametrize(
    ("metrics", "best"), [([0.1, 0.3, 0.2], 1), ([0.3, 0.3], 0), ([float("nan"), 0.0], 1), ([float("nan")] * 2, 0)]
)
def test_the_weights_of_the_first_best_validation_stay(tmp_path, metrics, best):
    network = torch.nn.Linear(1, 1)
    validated(BestWeights(tmp_path / "models" / "model.pt", network), metrics)
    assert torch.load(tmp_path / "models" / "model.pt")["weight"].item() == best


def test_a_worse_validation_after_resuming_does_not_take_the_place_of_the_best(tmp_path):
    first = BestWeights(tmp_path / "model.pt", torch.nn.Linear(1, 1))
    validated(first, [0.1, 0.5])
    second = BestWeights(tmp_path / "model.pt", torch.nn.Linear(1, 1))
    second.load_state_dict(first.state_dict())
    validated(second, [0.4])
    assert torch.load(tmp_path / "model.pt")["weight"].item() == 1
    validated(second, [0.6])
    assert torch.load(tmp_path / "model.pt")["weight"].item() == 0


def test_an_interrupted_training_leaves_no_last_weights(tmp_path):
    training = Augmented(tmp_path)
    LastWeights(tmp_path / "last.pt", training.network).attach(training.trainer)
    training.interrupted_in_the_third_epoch()
    assert not (tmp_path / "last.pt").exists()
    resumed = Augmented(tmp_path)
    LastWeights(tmp_path / "last.pt", resumed.network).attach(resumed.trainer)
    resumed.trainer.run()
    torch.testing.assert_close(torch.load(tmp_path / "last.pt"), resumed.network.state_dict(), rtol=0, atol=0)


def test_a_full_disk_is_told_as_such_and_leaves_what_was_there(tmp_path, monkeypatch):
    training = Training()
    path = tmp_path / "model.pt"
    path.write_text("what was there")
    (tmp_path / "aside").symlink_to("/dev/full")
    made = os.open("/dev/full", os.O_WRONLY), str(tmp_path / "aside")
    monkeypatch.setattr("abdoseg.files.tempfile.mkstemp", lambda **_: made)
    with pytest.raises(OSError, match="No space left") as error:
        LastWeights(path, training.network).write(None)
    assert error.value.errno == errno.ENOSPC
    assert path.read_text() == "what was there"
