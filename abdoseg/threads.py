"""Cases through threads, in order, with few of them on their way at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

AHEAD = 8  # cases that may wait for each thread, or for one before them that takes long


def in_threads(function: Callable, cases: Iterable, num_threads: int) -> Iterator:
    """Give what a function makes of each case, in the order of the cases.

    ``Executor.map`` hands over all cases at once: of 100,000 it keeps as many tasks in memory, and all results that are
    not fetched yet. Here it is a few for each thread. Where the iteration ends early, waiting cases are dropped.

    Parameters
    ----------
    function : called in one of the threads; what it raises is raised at the case's turn.
    cases : its arguments.
    num_threads : cases in work at once.
    """
    threads = ThreadPoolExecutor(num_threads)
    waiting = deque()
    try:
        for case in cases:
            waiting.append(threads.submit(function, case))
            if len(waiting) > AHEAD * num_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)
