"""Cases one after the other in a stream: while one is worked on, the next is read and the one before is written."""

import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from tqdm import tqdm


@dataclass
class Passage:
    """A case on its way through the stream.

    Parameters
    ----------
    case : what names it.
    content : what the last step made of it.
    error : why a step failed; the steps after it are passed over.
    seconds : that its own steps took, without the waiting for its neighbors.
    """

    case: object
    content: object = None
    error: Exception | None = None
    seconds: float = 0.0

    def through(self, step: Callable) -> "Passage":
        """Take the case one step further."""
        if self.error is None:
            start = time.perf_counter()
            try:
                self.content = step(self.case, self.content)
            except Exception as error:  # any fault of one case must not cost the others theirs
                self.content, self.error = None, error
                _let_go(error)
            self.seconds += time.perf_counter() - start
        return self


def _let_go(error: BaseException | None) -> None:
    """Clear the variables of the functions that an error came through, which hold volumes as long as it lives.

    After a scan that did not fit into the memory of a GPU, the next one would find it full.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def stream(cases: Iterable, read: Callable, work: Callable, write: Callable, settle: Callable[[Passage], None]) -> None:
    """Take each case through three steps; at most three cases are in memory, one in each.

    ``work`` runs in the calling thread. An error there that is no `Exception`, as Ctrl-C is, ends the stream as soon
    as the reading and the writing under way are done.

    Parameters
    ----------
    cases : in order.
    read, work, write : called with a case and what the step before gave (None at first); they give the next content.
    settle : called with each passage at its end, successful or not, in the order of the cases, always in the same
        thread; what it raises ends the stream.
    """
    waiting = iter(cases)
    reader, writer = ThreadPoolExecutor(1, "read"), ThreadPoolExecutor(1, "write")

    def read_next():
        for case in waiting:
            return reader.submit(Passage(case).through, read)
        return None

    def finish(passage: Passage) -> None:
        settle(passage.through(write))

    try:
        ahead, behind = read_next(), None
        while ahead is not None:
            passage = ahead.result()
            ahead = read_next()
            passage.through(work)
            if behind is not None:
                behind.result()
            behind = writer.submit(finish, passage)
            del passage  # its content goes when it is written
        if behind is not None:
            behind.result()
    finally:
        reader.shutdown(cancel_futures=True)
        writer.shutdown()


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Within the block, SIGTERM raises KeyboardInterrupt, so that files in work are finished or removed.

    Outside of the main thread, which alone gets signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Progress(tqdm):
    """Progress bar of scans: how many a minute, and the time left."""

    def __init__(self, **options) -> None:
        times = "[{elapsed}, {remaining} left, {per_minute}{postfix}]"
        super().__init__(bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} " + times, **options)

    @property
    def format_dict(self) -> dict:
        """What the bar shows."""
        told = super().format_dict
        rate = 60 * told["n"] / told["elapsed"] if told["elapsed"] else 0
        return {**told, "per_minute": f"{rate:.3g} {told['unit']}s/min"}
