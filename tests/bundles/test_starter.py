"""The starter overlays: one step on a synthetic stream leaves weights; its scans are rendered anew and normalized."""

import json

import pytest
import torch

from abdoseg.networks import build_network, load_checkpoint, read_architecture
from tests.bundles.tiny import REPOSITORY, copy_tiny, run, workflow

BUNDLES = ("teacher_nnunet", "coarse_seg", "fine_seg")


@pytest.mark.parametrize("name", BUNDLES)
def test_one_step_on_rendered_scans(name, datalist, tmp_path):
    copy = copy_tiny(REPOSITORY / "bundles" / name, tmp_path)
    flow = workflow(copy, "train", "starter", datalist=datalist, budget_steps=2, **{"train#trainer#max_epochs": 5})
    run(flow)
    # An epoch is one step here; the budget ends the training before its epochs do.
    assert flow.trainer.state.iteration == 2
    architecture = read_architecture(copy / "models" / "architecture.json", {})
    load_checkpoint(copy / "models" / "model.pt", build_network(architecture))
    rows = [json.loads(row) for row in (copy / "eval" / "learning_curve.jsonl").read_text().splitlines()]
    assert all(row["loss"] > 0 for row in rows)
    assert not (copy / "eval" / "resume.pt").exists()

    first, again = (flow.train_dataset[0] for _ in range(2))
    assert first["image"].shape == first["label"].shape == (1, 16, 16, 16)
    assert not torch.equal(first["image"], again["image"])  # rendered anew
    highest = 13 if name == "teacher_nnunet" else 14
    assert 0 < first["label"].max() <= highest
    if name == "teacher_nnunet":
        lower, upper = (architecture["plan"]["normalization"][end] for end in ("lower", "upper"))
        mean, std = (architecture["plan"]["normalization"][part] for part in ("mean", "std"))
        assert (lower - mean) / std - 1e-4 <= first["image"].min()
        assert first["image"].max() <= (upper - mean) / std + 1e-4
    else:
        assert abs(first["image"].mean()) < 1e-3
        assert first["image"].std(correction=0).item() == pytest.approx(1, abs=1e-3)
