"""Synthesis in a training: what comes out, how large it is at which progress, and that seeds decide."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from abdoseg.synthesis import RandRecontrastd, RandSynthesized
from tests.synthesis.small import block_patient, block_tissues

ITEM = {"anatomy": block_patient()}


def rendered(seed=0, **options):
    transform = RandSynthesized(**({"view": "organs", "size": (32, 32, 32)} | options))
    transform.set_random_state(seed)
    return transform(ITEM)


def test_image_and_label_come_out_and_the_seed_decides():
    first, again, other = rendered(1), rendered(1), rendered(2)
    assert sorted(first) == ["image", "label"]
    assert first["image"].shape == first["label"].shape == (1, 32, 32, 32)
    assert first["image"].dtype == torch.float32
    assert first["label"].dtype == torch.uint8
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["image"], other["image"])


def test_a_network_of_organs_alone_sees_no_tumor_class():
    with_class = [rendered(seed, tumor_share=1.0)["label"] for seed in range(6)]
    without = [rendered(seed, tumor_share=1.0, tumor_class=False)["label"] for seed in range(6)]
    assert any((label == 14).any() for label in with_class)
    assert not any((label == 14).any() for label in without)
    for label, organs in zip(with_class, without, strict=True):
        assert torch.equal(label[label != 14], organs[label != 14])


def test_early_stages_are_coarser_by_hand():
    clock = SimpleNamespace(progress=0.0)
    transform = RandSynthesized("patch", (96, 80, 96), (3, 3, 3), stages=[(0.5, 1.5)], clock=clock)
    # 96 / 1.5 = 64, 80 / 1.5 = 53.3 -> 48 as a multiple of 16; the patch spans the same mm.
    assert transform.grid(0.49) == ((64, 48, 64), (4.5, 5.0, 4.5))
    assert transform.grid(0.5) == ((96, 80, 96), (3, 3, 3))
    small = RandSynthesized("scan", (16, 16, 16), stages=[(1.1, 4)], clock=clock)
    assert small.grid(0.0) == ((16, 16, 16), None)
    coarse = RandSynthesized("organs", (64, 64, 64), stages=[(0.5, 2)], clock=clock)
    coarse.set_random_state(0)
    assert coarse(ITEM)["image"].shape == (1, 32, 32, 32)
    clock.progress = 0.5
    assert coarse(ITEM)["image"].shape == (1, 64, 64, 64)


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="Unknown view 'all'"):
        RandSynthesized("all", (8, 8, 8))
    with pytest.raises(ValueError, match="A patch needs a spacing"):
        RandSynthesized("patch", (8, 8, 8))


def test_a_real_case_gets_another_contrast():
    label = torch.from_numpy(block_tissues())[None]
    label[label > 13] = 0
    image = MetaTensor(torch.full(label.shape, 50, dtype=torch.int16), affine=torch.eye(4))
    change = RandRecontrastd(prob=1.0)
    change.set_random_state(3)
    result = change({"image": image, "label": label})
    assert torch.equal(result["label"], label)
    assert (torch.as_tensor(image) == 50).all()
    assert isinstance(result["image"], MetaTensor)
    assert torch.equal(result["image"].affine, image.affine)
    values = result["image"][0].numpy()
    assert len({float(np.median(values[block_tissues() == organ])) for organ in (1, 2, 3, 9)}) == 4
    never = RandRecontrastd(prob=0.0)
    assert never({"image": image, "label": label})["image"] is image
