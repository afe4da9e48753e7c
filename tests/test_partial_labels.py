"""Unknown classes between batch and loss: what the trainer hands over, merged channels and masked ones."""

from math import log

import pytest
import torch

from abdoseg.partial_labels import mask_unknown, merge_unknown, prepare_batch, split_target

# Three classes, two voxels: probabilities 1/8, 2/8, 5/8 and 1/4, 1/4, 1/2.
LOGITS = torch.tensor([[0.0, 0.0], [log(2), 0.0], [log(5), log(2)]]).reshape(1, 3, 2, 1, 1)
NO_2 = torch.tensor([[True, True, False]])
EVERY = torch.tensor([[True, True, True]])


def labels_of(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.uint8).reshape(1, 1, -1, 1, 1)


def test_flags_go_with_the_label_where_a_class_is_unknown():
    batch = {"image": torch.zeros(2, 1, 2, 1, 1), "label": torch.ones(2, 1, 2, 1, 1)}
    image, label = prepare_batch(batch, "cpu")
    assert torch.equal(image, batch["image"])
    assert torch.equal(label, batch["label"])
    assert torch.equal(prepare_batch({**batch, "known": torch.cat([EVERY, EVERY])}, "cpu")[1], batch["label"])
    flags = torch.cat([EVERY, NO_2])
    _, (label, known) = prepare_batch({**batch, "known": flags}, "cpu")
    assert torch.equal(label, batch["label"])
    assert torch.equal(known, flags)


def test_flags_of_another_number_of_classes_are_refused():
    assert split_target((labels_of(0), NO_2), channels=3)[1] is NO_2
    with pytest.raises(ValueError, match="tell of 3 classes whether they are known, the network has 15 channels"):
        split_target((labels_of(0), NO_2), channels=15)


def test_the_background_takes_the_probability_of_unknown_classes():
    logits, labels = merge_unknown(LOGITS, labels_of(1, 0), NO_2)
    expected = torch.tensor([[6 / 8, 3 / 4], [2 / 8, 1 / 4], [0, 0]]).reshape(1, 3, 2, 1, 1)
    torch.testing.assert_close(logits.softmax(1), expected)
    assert torch.equal(labels, labels_of(1, 0))


def test_a_voxel_of_an_unknown_class_is_unknown():
    _, labels = merge_unknown(LOGITS, labels_of(2, 1), NO_2)
    assert torch.equal(labels, labels_of(0, 1))


def test_a_case_that_knows_all_is_left_as_it_is():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, 4, generator=generator) * 10
    labels = torch.randint(0, 3, (2, 1, 4, 4, 4), generator=generator)
    merged, kept = merge_unknown(logits, labels, torch.cat([EVERY, NO_2]))
    assert torch.equal(merged[0], logits[0])
    assert torch.equal(kept[0], labels[0])
    assert not torch.equal(merged[1], logits[1])
    masked, target = mask_unknown(logits, (labels == 1).expand_as(logits).float(), torch.cat([EVERY, NO_2]))
    assert torch.equal(masked[0], logits[0])
    assert torch.equal(masked[1, :2], logits[1, :2])
    assert not masked[1, 2].sigmoid().any()
    assert not target[1, 2].any()
