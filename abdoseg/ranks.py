"""Cases shared among the processes that torchrun started: each takes its own, the first hears of all and writes."""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import uuid4

POLL_SECONDS = 0.1


class Alone:
    """The only process: every case is its own. Has the methods of `Ranks`."""

    first = True

    def agree(self, value=None):
        """Give what the first process says, which is this one."""
        return value

    def share(self, cases: Sequence) -> Sequence:
        """Give the cases of this process: all."""
        return cases

    @contextmanager
    def gathering(self, note: Callable) -> Iterator[Callable]:
        """Give a function that hands an outcome over to ``note``."""
        yield note


class Ranks:
    """One of the processes of a torchrun.

    They talk through torchrun's own key-value store, which needs nothing but its address; collective operations would
    need all processes at once, and these end hours apart. All values are plain JSON.

    Parameters
    ----------
    store : a ``torch.distributed.Store`` that all of them reach.
    rank : number of this process, from 0.
    world : how many there are.

    Attributes
    ----------
    first : whether this is the process that decides, hears and writes.
    """

    def __init__(self, store, rank: int, world: int) -> None:
        from torch.distributed import PrefixStore  # imports torch, which takes seconds: not where one process is alone

        self.first = rank == 0
        self._rank, self._world = rank, world
        self._store = PrefixStore(self._meet(store), store)
        self._round = 0

    def _meet(self, store) -> str:
        """Wait until all processes are there; give a name that is theirs alone.

        The store outlives a process that torchrun starts again, and holds what was said before. So each says hello by a
        name that nobody had, and the first one answers to it until all have heard.
        """
        me = uuid4().hex
        if not self.first:
            store.set(f"hello/{self._rank}", me)
            _wait_for(store, f"answer/{me}")
            first = store.get(f"answer/{me}").decode()
            store.add(f"heard/{first}", 1)
            return first
        while store.add(f"heard/{me}", 0) < self._world - 1:
            for rank in range(1, self._world):
                if store.check([f"hello/{rank}"]):
                    store.set(f"answer/{store.get(f'hello/{rank}').decode()}", me)
            time.sleep(POLL_SECONDS)
        return me

    def agree(self, value=None):
        """Give what the first process says; its ``value`` counts, the others wait for it."""
        self._round += 1
        key = f"agreed/{self._round}"
        if self.first:
            self._store.set(key, json.dumps(value))
        else:
            _wait_for(self._store, key)
        return json.loads(self._store.get(key))

    def share(self, cases: Sequence) -> Sequence:
        """Give the cases of this process; the order of all must be the same in every process."""
        return cases[self._rank :: self._world]

    @contextmanager
    def gathering(self, note: Callable) -> Iterator[Callable]:
        """Give a function that hands an outcome over to the first process, where ``note`` is called with it.

        When the block ends, each process waits until the first one has noted all outcomes of all. An error in the block
        comes out at once; torchrun then ends the other processes.
        """
        self._round += 1
        noted = ended = 0

        def note_others() -> None:
            nonlocal noted, ended
            while self._store.check([key := f"outcome/{self._round}/{noted + 1}"]):
                outcome = json.loads(self._store.get(key))
                self._store.delete_key(key)
                noted += 1
                if outcome is None:
                    ended += 1
                else:
                    note(outcome["is"])

        def hand_over(outcome) -> None:
            if self.first:
                note(outcome)
                note_others()
            else:
                self._say({"is": outcome})

        yield hand_over
        if not self.first:
            self._say(None)
            _wait_for(self._store, f"over/{self._round}")
            self._store.add(f"left/{self._round}", 1)
            return
        while ended < self._world - 1:
            note_others()
            time.sleep(POLL_SECONDS)
        self._store.set(f"over/{self._round}", "")
        while self._store.add(f"left/{self._round}", 0) < self._world - 1:  # the store may end with this process
            time.sleep(POLL_SECONDS)

    def _say(self, outcome: dict | None) -> None:
        number = self._store.add(f"outcomes/{self._round}", 1)
        self._store.set(f"outcome/{self._round}/{number}", json.dumps(outcome))


def _wait_for(store, key: str) -> None:
    while not store.check([key]):  # the store's own wait would not let SIGTERM through
        time.sleep(POLL_SECONDS)


def is_first() -> bool:
    """Whether this process is the first of a torchrun, or alone."""
    return int(os.environ.get("RANK", 0)) == 0


def join() -> Alone | Ranks:
    """Meet the other processes that torchrun started, if it did: its environment variables tell.

    Where there are several GPUs, each process of a machine sees one of them from then on, in turn.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        return Alone()
    from datetime import timedelta

    import torch
    from torch.distributed import rendezvous

    _keep_to_one_gpu(torch.cuda.device_count)
    store, rank, world = next(rendezvous("env://", timeout=timedelta(minutes=30)))
    return Ranks(store, rank, world)


def _keep_to_one_gpu(count: Callable[[], int]) -> None:
    """Hide all GPUs but one, before CUDA starts: the bundles' configs take the first that they see."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = [str(number) for number in range(count())] if named is None else [name for name in named.split(",") if name]
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[int(os.environ.get("LOCAL_RANK", 0)) % len(gpus)]
