"""Handlers on tiny real trainings: clipping clips, curves and scores tell the truth."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.handlers import StatsHandler

from abdoseg.files import CaseError
from abdoseg.handlers import ClipGradients, FlareScores, LearningCurve, ProgressiveResize, handlers_of_rank
from abdoseg.resuming import BestWeights, LastWeights
from tests.trainings import Training

AORTA, TUMOR = 5, 14


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


def test_a_step_without_finite_gradients_is_left_out(caplog):
    """One case in four whose label is no number costs its step, and no weight; the steps before and after count."""
    training, without = Training(), Training()
    for data in (training.data, without.data):
        data.extend(data[:2])  # three steps
    training.data[2:4] = [{**case, "label": torch.full((1,), float("nan"))} for case in training.data[2:4]]
    del without.data[2:4]
    for each in (training, without):
        each.trainer(ClipGradients(12)).run()
    assert torch.equal(training.network.weight, without.network.weight)
    assert "Epoch 1: a step whose gradients are not finite is left out." in caplog.text


def test_a_training_without_finite_gradients_ends(monkeypatch):
    monkeypatch.setattr("abdoseg.handlers.MOST_LOST", 4)
    training = Training(max_epochs=3)
    for case in training.data:
        case["label"] = torch.full((1,), float("inf"))
    with pytest.raises(CaseError, match=r"Epoch 2: the gradients of 4 steps in a row .* lower learning_rate"):
        training.trainer(ClipGradients(12)).run()


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


def stored(labels):
    """A (1, ...) label map in another orientation than RAS, 1 mm voxels, named by its file."""
    turn = nib.orientations.ornt_transform([[0, 1], [1, 1], [2, 1]], nib.orientations.axcodes2ornt("SAR"))
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
    savers = [LastWeights(tmp_path / "last.pt", training.network), BestWeights(tmp_path / "best.pt", training.network)]
    telling = [*savers, LearningCurve(tmp_path / "curve.jsonl", training.optimizer), StatsHandler()]
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
    # 53 = 3 * 16 + 5; 9 is less than 16.
    assert ProgressiveResize([(1, (53, 48, 9))], (16, 16, 16)).grids == [(1, (48, 48, 16))]
