"""Many cases side by side in processes: a broken case is named, and so is one whose process was killed."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait

from tools.faults import fault_of, innermost

# Fewer cases than this are worked on in one process, as starting another one takes seconds.
MANY_CASES = 20


def processors() -> int:
    """Processors that this process may use; where torchrun started several on this machine, its part of them."""
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def run_cases(
    function: Callable, cases: Mapping[str, Sequence], num_workers: int | None = None, preload: Sequence[str] = ()
) -> Iterator[tuple[str, object, str | None]]:
    """Call a function for each case, several side by side; each process holds one case.

    Parameters
    ----------
    function : of a module; what it takes and gives must be picklable.
    cases : id -> positional arguments.
    num_workers : processes; 0 or 1 works in this one. None takes one a processor for 20 cases or more, else this one.
    preload : modules to import once for all processes.

    Yields
    ------
    id, what the function gave (None if it failed) and the reason of the failure (None without one), as they are done.
    """
    if num_workers is None:
        num_workers = processors() if len(cases) >= MANY_CASES else 0
    if num_workers > 1:
        yield from _run_in_processes(function, cases, min(num_workers, len(cases)), preload)
        return
    for name, arguments in cases.items():
        yield name, *_attempt(function, arguments)


def _attempt(function: Callable, arguments: Sequence) -> tuple[object, str | None]:
    try:
        return function(*arguments), None
    except Exception as error:  # any fault of one case must not cost the others theirs
        return None, fault_of(error) or innermost(error)


def _run_in_processes(
    function: Callable, cases: Mapping[str, Sequence], count: int, preload: Sequence[str]
) -> Iterator[tuple[str, object, str | None]]:
    # Neither a plain fork, which may hang once torch has used its threads, nor a process that imports all anew.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__, *preload])
    waiting = iter(cases.items())
    busy: dict[Connection, tuple[multiprocessing.Process, str]] = {}

    def give_next(connection: Connection | None = None, process: multiprocessing.Process | None = None) -> None:
        """Hand the next case to a process, a new one if none is given; without a case it ends."""
        if (case := next(waiting, None)) is None:
            if connection is not None:
                connection.close()
                process.join()
            return
        if connection is None:
            connection, other = context.Pipe()
            process = context.Process(target=_serve, args=(function, other), daemon=True)
            process.start()
            other.close()
        with suppress(OSError):  # it has just died: its end of the connection will tell
            connection.send(case)
        busy[connection] = process, case[0]

    try:
        for _ in range(count):
            give_next()
        while busy:
            for connection in wait(list(busy)):
                process, name = busy.pop(connection)
                try:
                    result, reason = connection.recv()
                except (EOFError, ConnectionResetError):
                    connection.close()
                    process.join()
                    yield name, None, _killed(process.exitcode)
                    give_next()
                else:
                    yield name, result, reason
                    give_next(connection, process)
    finally:
        for connection, (process, _) in busy.items():
            connection.close()
            process.terminate()


def _serve(function: Callable, connection: Connection) -> None:
    """Work on cases until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process tells of it
    while True:
        try:
            _, arguments = connection.recv()
        except EOFError:
            return
        connection.send(_attempt(function, arguments))


def _killed(exit_code: int | None) -> str:
    how = f"by signal {-exit_code}" if exit_code is not None and exit_code < 0 else f"(exit code {exit_code})"
    return f"its process was killed {how}, often for want of memory; try it with fewer --num_workers."
