"""Processes that share cases: nothing is lost, done twice or heard twice, also where the store has known others."""

import os
import threading
import time

import pytest
from torch.distributed import HashStore, TCPStore

from abdoseg.ranks import Alone, Ranks, _keep_to_one_gpu, join


def together(store, world, work):
    """Run ``work(ranks)`` in one thread a process, all on one store; give what each returned."""
    results = [None] * world

    def run(rank):
        results[rank] = work(Ranks(store, rank, world))

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    return results


def squares(ranks, slow=None):
    """Square the share of the numbers that the first process names; a process that is ``slow`` begins late."""
    noted = []
    numbers = ranks.agree([1, 2, 3, 4, 5] if ranks.first else None)
    if ranks.first == slow:
        time.sleep(0.5)
    with ranks.gathering(noted.append) as hand_over:
        for number in ranks.share(numbers):
            hand_over([number, number**2])
    return sorted(noted)


@pytest.mark.parametrize("slow", [True, False], ids=["first_late", "others_late"])
def test_the_first_hears_every_outcome_once_and_the_others_none(slow):
    every = [[1, 1], [2, 4], [3, 9], [4, 16], [5, 25]]
    assert together(HashStore(), 3, lambda ranks: squares(ranks, slow)) == [every, [], []]
    assert squares(Alone()) == every


def test_rounds_do_not_mix(tmp_path):
    """A process that is through with the first round does not hand over to the second before the first one hears."""

    def twice(ranks):
        rounds = []
        for name in "ab":
            noted = []
            with ranks.gathering(noted.append) as hand_over:
                for _ in ranks.share(range(4)):
                    hand_over(name)
            rounds.append("".join(noted))
        return rounds

    assert together(HashStore(), 2, twice) == [["aaaa", "bbbb"], ["", ""]]


def test_what_an_earlier_attempt_left_in_the_store_is_not_heard():
    """torchrun keeps its store when it starts its processes again: here, after one died with its share half told."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def die_early(ranks):
        noted = []
        ranks.agree(["old"])
        try:
            with ranks.gathering(noted.append) as hand_over:
                hand_over("old")
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            return noted

    together(store, 2, die_early)
    noted, other = together(store, 2, squares)
    assert (len(noted), other) == (5, [])


def test_without_torchrun_a_process_is_alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(join(), Alone)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert isinstance(join(), Alone)


@pytest.mark.parametrize(
    ("visible", "local_rank", "kept"),
    [
        (None, 1, "1"),
        (None, 5, "1"),  # more processes than GPUs: in turn
        ("2,GPU-ab", 1, "GPU-ab"),
        ("", 1, ""),
    ],
)
def test_each_process_of_a_machine_keeps_one_gpu(monkeypatch, visible, local_rank, kept):
    monkeypatch.setenv("LOCAL_RANK", str(local_rank))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    _keep_to_one_gpu(lambda: 4 if local_rank == 1 else 2)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == kept


def test_without_gpus_nothing_is_hidden(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    _keep_to_one_gpu(lambda: 0)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
