"""Cached training samples are made anew when a file behind them changes."""

import errno
import os
import pickle

import numpy as np
import pytest
import torch
from monai.data.utils import pickle_hashing
from monai.transforms import Transform

from abdoseg.caching import CaseCache, hash_case


@pytest.fixture
def case(tmp_path):
    for name in ("image", "label"):
        (tmp_path / name).write_text(f"{name} 1")
        os.utime(tmp_path / name, ns=(1, 1))
    return {"image": str(tmp_path / "image"), "label": str(tmp_path / "label"), "kind": "weak"}


def test_the_hash_follows_size_and_time_of_both_files_and_the_rest_of_the_case(case):
    first = hash_case(case)
    assert hash_case(dict(case)) == first
    assert hash_case({**case, "kind": "strong"}) != first
    for name in ("image", "label"):
        os.utime(case[name], ns=(2, 2))
        moved = hash_case(case)
        assert moved != first
        with open(case[name], "a") as file:
            file.write("0")
        os.utime(case[name], ns=(2, 2))
        assert hash_case(case) not in (moved, first)
        first = hash_case(case)


def test_a_case_without_files_has_a_hash(tmp_path):
    assert hash_case({"image": str(tmp_path / "none")}) != hash_case({"image": str(tmp_path / "other")})


def test_a_merged_label_that_was_written_anew_is_read_anew(case, tmp_path):
    def read(item):
        return {"label": open(item["label"]).read()}

    def dataset():
        return CaseCache([case], read, tmp_path / "cache", hash_func=hash_case, hash_transform=pickle_hashing)

    assert dataset()[0] == {"label": "label 1"}
    with open(case["label"], "w") as file:
        file.write("label 2")
    assert dataset()[0] == {"label": "label 2"}
    assert len(list((tmp_path / "cache").iterdir())) == 2


class Make(Transform):
    """Give a sample with an array and a text, and count how often."""

    def __init__(self):
        self.count = 0

    def __call__(self, item):
        self.count += 1
        return {"image": np.arange(4.0), "name": "a"}


def cached(case, tmp_path):
    """A data set of one sample, what makes it, and its file."""
    make = Make()
    dataset = CaseCache([case], make, tmp_path / "cache", hash_func=hash_case)
    return dataset, make, lambda: next((tmp_path / "cache").iterdir())


def test_a_sample_is_the_same_whether_it_was_made_or_read(case, tmp_path):
    dataset, make, file = cached(case, tmp_path)
    fresh, again = dataset[0], dataset[0]
    assert make.count == 1
    assert type(fresh["image"]) is type(again["image"])
    assert torch.equal(fresh["image"], again["image"])
    assert file().name == f"{hash_case(case).decode()}.pt"


class Hostile:
    """Unpickled without care, it runs code."""

    def __reduce__(self):
        return os._exit, (7,)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", pickle.dumps(Hostile()), None])
def test_a_file_that_is_broken_or_hostile_is_made_anew(case, tmp_path, content):
    dataset, make, file = cached(case, tmp_path)
    dataset[0]
    file().write_bytes(file().read_bytes()[:-40] if content is None else content)
    assert torch.equal(torch.as_tensor(dataset[0]["image"]), torch.arange(4.0, dtype=torch.float64))
    assert make.count == 2
    dataset[0]
    assert make.count == 2


def test_a_hostile_torch_file_is_made_anew(case, tmp_path):
    dataset, make, file = cached(case, tmp_path)
    dataset[0]
    torch.save({"image": Hostile()}, file())
    dataset[0]
    assert make.count == 2


def test_a_full_disk_is_told_as_such(case, tmp_path, monkeypatch):
    dataset, _, _ = cached(case, tmp_path)
    (tmp_path / "aside").symlink_to("/dev/full")
    made = os.open("/dev/full", os.O_WRONLY), str(tmp_path / "aside")
    monkeypatch.setattr("abdoseg.files.tempfile.mkstemp", lambda **_: made)
    with pytest.raises(OSError, match="No space left") as error:
        dataset[0]
    assert error.value.errno == errno.ENOSPC
