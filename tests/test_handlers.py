"""Handlers on tiny real trainings: clipping clips, resuming changes nothing, curves and scores tell the truth."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedTrainer
from monai.handlers import CheckpointSaver, LrScheduleHandler, StatsHandler
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from abdoseg.files import CaseError
from abdoseg.handlers import ClipGradients, FlareScores, LearningCurve, ProgressiveResize, Resume, handlers_of_rank

AORTA, TUMOR = 5, 14


class Training:
    """A linear model of three inputs, four cases in a fixed order, batches of two; Adam, whose moments matter."""

    def __init__(self, max_epochs=1, optimizer=torch.optim.Adam, lr=0.1, scale=1.0):
        torch.manual_seed(0)
        self.network = torch.nn.Linear(3, 1)
        generator = torch.Generator().manual_seed(1)
        self.data = [
            {"image": torch.randn(3, generator=generator), "label": scale * torch.randn(1, generator=generator)}
            for _ in range(4)
        ]
        self.optimizer = optimizer(self.network.parameters(), lr=lr)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=2, gamma=0.5)
        self.max_epochs = max_epochs

    def trainer(self, *handlers):
        return SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=self.max_epochs,
            train_data_loader=DataLoader(Dataset(self.data), batch_size=2),
            network=self.network,
            optimizer=self.optimizer,
            loss_function=torch.nn.MSELoss(),
            train_handlers=[LrScheduleHandler(self.scheduler, print_lr=False), *handlers],
            decollate=False,
        )

    def resume(self, path):
        return Resume(path, {"model": self.network, "optimizer": self.optimizer, "lr_scheduler": self.scheduler})

    def step(self, *handlers, scaler=None):
        """Weights' change in one step of plain gradient descent at rate 1: the gradient that the optimizer saw."""
        before = torch.cat([parameter.detach().flatten().clone() for parameter in self.network.parameters()])
        self.data = self.data[:2]
        trainer = self.trainer(*handlers)
        trainer.amp = scaler is not None
        trainer.add_event_handler(Events.STARTED, lambda engine: setattr(engine, "scaler", scaler))
        trainer.run()
        return before - torch.cat([parameter.detach().flatten() for parameter in self.network.parameters()])


def steep():
    return Training(optimizer=torch.optim.SGD, lr=1.0, scale=1000)


def test_clipping_shortens_the_gradient_and_keeps_its_direction():
    free, clipped = steep().step(), steep().step(ClipGradients(12))
    assert free.norm() > 100
    torch.testing.assert_close(clipped, free * (12 / free.norm()), rtol=1e-3, atol=1e-3)


def test_a_gradient_below_the_limit_is_left_alone():
    free, clipped = steep().step(), steep().step(ClipGradients(1e6))
    assert torch.equal(free, clipped)


@pytest.mark.filterwarnings("ignore:.*autocast")
def test_clipping_sees_the_gradient_without_the_scale_of_mixed_precision():
    scaler = torch.amp.GradScaler("cpu", init_scale=1024)
    clipped = steep().step(ClipGradients(12), scaler=scaler)
    assert scaler.get_scale() == 1024, "the step was taken"
    assert clipped.norm().item() == pytest.approx(12, rel=1e-3)


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


def rows_of(path):
    return [json.loads(row) for row in path.read_text().splitlines()]


def test_the_curve_has_mean_loss_rate_and_validation_of_each_epoch(tmp_path):
    evaluator = Engine(lambda engine, batch: None)
    evaluator.state.key_metric_name = "mean_dsc"
    evaluator.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: engine.state.metrics.update(mean_dsc=0.25))
    training = Training(max_epochs=3)
    curve = LearningCurve(tmp_path / "curve.jsonl", training.optimizer, evaluator)
    losses = []
    trainer = training.trainer()
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output["loss"].item())
    )
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda: evaluator.run([0]))
    curve.attach(trainer)
    trainer.run()

    rows = rows_of(tmp_path / "curve.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["loss"] for row in rows] == pytest.approx([(losses[i] + losses[i + 1]) / 2 for i in (0, 2, 4)])
    assert [row["validation_dsc"] for row in rows] == [None, 0.25, None]
    assert [row["lr"] for row in rows] == pytest.approx([0.1, 0.05, 0.05])


def test_a_curve_keeps_the_epochs_behind_a_resumed_training_and_no_others(tmp_path):
    path = tmp_path / "curve.jsonl"
    path.write_text("".join(json.dumps({"epoch": epoch, "loss": 7}) + "\n" for epoch in (1, 2, 3)))
    training = Training(max_epochs=3)
    trainer = training.trainer()
    trainer.add_event_handler(Events.STARTED, lambda engine: setattr(engine.state, "epoch", 1))
    LearningCurve(path, training.optimizer).attach(trainer)
    trainer.run()
    assert [row["epoch"] for row in rows_of(path)] == [1, 2, 3]
    assert rows_of(path)[0] == {"epoch": 1, "loss": 7}
    assert rows_of(path)[1]["loss"] != 7

    training = Training(max_epochs=1)
    training.trainer(LearningCurve(path, training.optimizer)).run()
    assert [row["epoch"] for row in rows_of(path)] == [1]
    assert rows_of(path)[0]["loss"] != 7


def stored(labels, axcodes="SAR"):
    """A (1, ...) label map in another orientation than RAS, 1 mm voxels, named by its file."""
    turn = nib.orientations.ornt_transform([[0, 1], [1, 1], [2, 1]], nib.orientations.axcodes2ornt(axcodes))
    image = nib.Nifti1Image(labels.astype(np.uint8), np.eye(4)).as_reoriented(turn)
    meta = {"filename_or_obj": "folder/case_7.nii.gz"}
    return MetaTensor(np.asarray(image.dataobj)[None].astype(np.float32), affine=image.affine, meta=meta)


def test_flare_scores_by_hand(tmp_path):
    """The last slice of the aorta does not count; of the tumor, half is hit; the liver is rightly absent."""
    reference = np.zeros((12, 10, 8))
    reference[2:6, 2:6, 1:6] = AORTA
    reference[8:10, 4:6, 2:4] = TUMOR
    prediction = np.roll(np.where(reference == TUMOR, TUMOR, 0), 1, axis=0) + np.where(reference == AORTA, AORTA, 0)
    prediction[2:6, 2:6, 5] = 0
    items = [
        {"id": "0001", "pred": stored(prediction), "label": stored(reference)},
        {"pred": stored(reference), "label": stored(reference)},
    ]
    engine = Engine(lambda engine, batch: [batch])
    FlareScores(tmp_path / "scores.json").attach(engine)
    engine.run(items)

    result = json.loads((tmp_path / "scores.json").read_text())
    assert list(result["cases"]) == ["0001", "case_7"]
    assert result["cases"]["0001"]["aorta"] == {"dsc": 1, "nsd": 1, "present": True}
    assert result["cases"]["0001"]["tumor"] == {"dsc": 0.5, "nsd": 1, "present": True}
    assert result["cases"]["0001"]["liver"] == {"dsc": 1, "nsd": 1, "present": False}
    assert result["summary"]["classes"]["tumor"] == {"dsc": 0.75, "nsd": 1, "n": 2}
    assert result["summary"]["classes"]["liver"] == {"dsc": None, "nsd": None, "n": 0}


def test_flare_scores_of_some_classes(tmp_path):
    engine = Engine(lambda engine, batch: [batch])
    FlareScores(tmp_path / "scores.json", classes=range(1, 14)).attach(engine)
    engine.run([{"pred": stored(np.ones((4, 4, 4))), "label": stored(np.ones((4, 4, 4)))}])
    (scores,) = json.loads((tmp_path / "scores.json").read_text())["cases"].values()
    assert len(scores) == 13
    assert "tumor" not in scores


def test_processes_after_the_first_neither_write_nor_tell(tmp_path):
    training = Training()
    silent = [ClipGradients(12), training.resume(tmp_path / "resume.pt")]
    saver = CheckpointSaver(tmp_path, {"model": training.network}, save_final=True)
    telling = [saver, LearningCurve(tmp_path / "curve.jsonl", training.optimizer), StatsHandler()]
    assert handlers_of_rank([*telling, *silent], rank=1) == silent
    assert handlers_of_rank([*telling, *silent], rank=0) == [*telling, *silent]


def test_the_first_epochs_train_on_a_coarser_grid():
    """Voxels 0..3 along x, averaged in pairs, are 0.5 and 2.5; labels take the nearest voxel."""
    image = torch.arange(4.0).reshape(1, 1, 4, 1, 1).expand(1, 1, 4, 2, 2)
    label = torch.tensor([5, 6, 7, 8]).reshape(1, 1, 4, 1, 1).expand(1, 1, 4, 2, 2)
    seen = []
    trainer = Engine(lambda engine, batch: seen.append((engine.state.epoch, batch["image"], batch["label"])))
    ProgressiveResize([(1, (2, 1, 1))]).attach(trainer)
    trainer.run([{"image": image, "label": label}], max_epochs=2)
    assert [epoch for epoch, _, _ in seen] == [1, 2]
    assert torch.equal(seen[0][1], torch.tensor([0.5, 2.5]).reshape(1, 1, 2, 1, 1))
    assert torch.equal(seen[0][2], torch.tensor([6, 8]).reshape(1, 1, 2, 1, 1))
    assert seen[1][1] is image
    assert seen[1][2] is label
