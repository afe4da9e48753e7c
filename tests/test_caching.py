"""Cached training samples are made anew when a file behind them changes."""

import os

import pytest
from monai.data import PersistentDataset
from monai.data.utils import pickle_hashing

from abdoseg.caching import hash_case


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
        return PersistentDataset([case], read, tmp_path / "cache", hash_func=hash_case, hash_transform=pickle_hashing)

    assert dataset()[0] == {"label": "label 1"}
    with open(case["label"], "w") as file:
        file.write("label 2")
    assert dataset()[0] == {"label": "label 2"}
    assert len(list((tmp_path / "cache").iterdir())) == 2
