"""Flags of known classes: from a datalist's entry, through flips, caches and batches."""

import logging

import torch
from monai.data import DataLoader, PersistentDataset
from monai.data.utils import pickle_hashing
from monai.transforms import Compose, SelectItemsd

from abdoseg.caching import hash_case
from abdoseg.transforms import KnownClassesd, RandAnatomicalFlipd

MERGED = {"kind": "weak", "annotated_classes": [2, 14], "filled_classes": [1, 8]}
COMPLETE = {"image": "a.nii.gz"}


def ids(flags: torch.Tensor) -> list[int]:
    return flags.nonzero().flatten().tolist()


def test_flags_by_hand():
    known = KnownClassesd(cases=[COMPLETE])({**MERGED, "id": "a"})
    assert ids(known["known"]) == [0, 1, 2, 8, 14]
    assert (known["known"].dtype, known["known"].shape, known["id"]) == (torch.bool, (15,), "a")
    assert ids(KnownClassesd(cases=[COMPLETE])(COMPLETE)["known"]) == list(range(15))
    assert ids(KnownClassesd(cases=[COMPLETE], mask_unknown=False)(MERGED)["known"]) == list(range(15))


def test_flags_of_the_networks_own_classes():
    assert ids(KnownClassesd(cases=[COMPLETE], classes=range(1, 14))(MERGED)["known"]) == [0, 1, 2, 8]
    assert KnownClassesd(cases=[COMPLETE], classes=[14])(MERGED)["known"].tolist() == [True, True]
    assert KnownClassesd(cases=[COMPLETE], classes=[14])({"kind": "strong"})["known"].tolist() == [True, False]


def test_a_class_that_no_case_knows_is_absent(caplog):
    """Else nothing would ever keep its channel down."""
    strong = {"kind": "strong", "annotated_classes": list(range(1, 14))}
    weak = {"kind": "weak", "annotated_classes": [1]}
    with caplog.at_level(logging.WARNING):
        transform = KnownClassesd(cases=[strong, weak])
    assert caplog.messages == ["No training case tells of tumor; learned as absent."]
    assert ids(transform(strong)["known"]) == list(range(15))
    assert ids(transform(weak)["known"]) == [0, 1, 14]
    caplog.clear()
    KnownClassesd(cases=[strong], mask_unknown=False)
    assert not caplog.messages


def test_a_left_right_flip_exchanges_the_flags_with_the_labels():
    label = torch.tensor([2, 8, 14], dtype=torch.uint8).reshape(1, 3, 1, 1)
    data = {**KnownClassesd(cases=[COMPLETE])(MERGED), "image": label.float(), "label": label}
    for axis, swap, drawn, known in (
        ("left-right", True, [14, 7, 13], [0, 1, 7, 13, 14]),
        ("left-right", False, [14, 8, 2], [0, 1, 2, 8, 14]),
        ("inferior-superior", True, [2, 8, 14], [0, 1, 2, 8, 14]),
    ):
        flipped = RandAnatomicalFlipd("image", "label", axis=axis, prob=1, swap_sides=swap)(data)
        assert (flipped["label"].flatten().tolist(), ids(flipped["known"])) == (drawn, known)
    assert ids(RandAnatomicalFlipd("image", "label", prob=0)(data)["known"]) == [0, 1, 2, 8, 14]
    assert ids(data["known"]) == [0, 1, 2, 8, 14]


def test_flags_survive_the_cache_and_follow_the_datalist(tmp_path):
    def flags(case, **settings):
        transform = Compose([KnownClassesd(cases=[COMPLETE], **settings), SelectItemsd(keys=["known"])])
        hashing = {"hash_func": hash_case, "hash_transform": pickle_hashing}
        dataset = PersistentDataset([case, case], transform, cache_dir=tmp_path, **hashing)
        (batch,) = DataLoader(dataset, batch_size=2)
        assert batch["known"].shape == (2, 15)
        assert torch.equal(batch["known"][0], batch["known"][1])
        return ids(batch["known"][0])

    for _ in range(2):
        assert flags(MERGED) == [0, 1, 2, 8, 14]
    assert flags({**MERGED, "annotated_classes": [3]}) == [0, 1, 3, 8]
    assert flags(MERGED, mask_unknown=False) == list(range(15))
