"""A process that labels one scan after the other, watched from outside: time and memory of each."""

import cProfile
import logging
import multiprocessing
import pstats
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from abdoseg.files import CaseError
from tools.efficiency import Sampler, card_memory, process_memory
from tools.faults import reason_of

# What takes the time of a case: stage -> file and name of a function, and of that which calls it where it matters.
STAGES = {
    "read": ("transforms/scan.py", "__call__"),
    "orient": ("spatial/dictionary.py", "__call__"),
    "coarse": ("inferers/coarse_to_fine.py", "region_of_interest"),
    "fine": ("inferers/case.py", "student_logits", "label_case"),
    "windows": ("inferers/windows.py", "run"),
    "restore": ("transforms/resample.py", "_restore_layer"),
    "components": ("inferers/case.py", "clean_labels", "label_case"),
    "orient back": ("post/dictionary.py", "__call__"),
    "write": ("transforms/save.py", "__call__"),
}


class WarmProcess:
    """Labels scans in a process of its own, whose memory is sampled all the time.

    Parameters
    ----------
    make : called there, once; gives what labels a scan, from file to file. Picklable.
    pause : seconds between two samples.
    gpu : index of the card to watch, where there is one.
    """

    def __init__(self, make: Callable[[], Callable[[str], None]], pause: float = 0.1, gpu: int = 0) -> None:
        # A new interpreter: a forked one could hang in the threads that torch has used.
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, make), daemon=True)
        self._process.start()
        other.close()
        self._sampler = watch(self._process.pid, pause, card_memory(gpu))
        self._sampler.__enter__()

    def __enter__(self) -> "WarmProcess":
        return self

    def __exit__(self, *error) -> None:
        self._connection.close()
        self._process.join()
        self._sampler.__exit__()

    def label(self, scan: str) -> dict:
        """Label a scan and give its figures, see `Sampler.figures`; CaseError with the reason if it failed."""
        start, end, _ = self._ask(scan, False)
        return self._sampler.figures(start, end)

    def stages(self, scan: str) -> tuple[dict[str, float], list[str]]:
        """Label a scan under a profiler and give the seconds of its stages, and what was logged meanwhile.

        What belongs to no stage is the "rest".
        """
        return self._ask(scan, True)[2]

    def _ask(self, scan: str, profiled: bool) -> tuple[float, float, tuple | None]:
        try:
            self._connection.send((scan, profiled))
            answer = self._connection.recv()
        except (EOFError, BrokenPipeError):
            self._process.join()
            code = self._process.exitcode
            why = "it was killed, as a rule for want of memory" if code == -signal.SIGKILL else "its error stands above"
            raise CaseError(f"{scan}: the process that labels it ended with code {code}; {why}.") from None
        if isinstance(answer, str):
            raise CaseError(answer)
        return answer


def watch(process_id: int, pause: float, card: Callable[[], float] | None) -> Sampler:
    """Give a sampler of a process, its children and the card."""
    gauges = {"host": partial(process_memory, process_id)}
    return Sampler(gauges if card is None else {**gauges, "card": card}, pause)


def predictor_for(bundle: str, weights: str | None, overrides: Mapping, output: str) -> Callable[[str], None]:
    """Give what labels scans with a bundle; for `WarmProcess`."""
    from tools.predictor import Predictor

    return Predictor(Path(bundle), Path(output), Path(weights) if weights else None, overrides)


class _Told(logging.Handler):
    """Keeps what this project logs."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.messages: list[str] = []
        logging.getLogger("abdoseg").addHandler(self)
        logging.getLogger("abdoseg").setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _serve(connection: Connection, make: Callable[[], Callable[[str], None]]) -> None:
    """Label what is asked for; all processes of a machine share the clock of perf_counter."""
    label = make()
    with getattr(label, "memory", nullcontext)():  # a `Predictor` as `predict` runs it
        _answer(connection, label, _Told())


def _answer(connection: Connection, label: Callable[[str], None], told: _Told) -> None:
    """Label one scan after the other, until nobody asks any more."""
    while True:
        try:
            scan, profiled = connection.recv()
        except EOFError:
            return
        told.messages.clear()
        profile = cProfile.Profile() if profiled else None
        start = time.perf_counter()
        try:
            if profile is None:
                label(scan)
            else:
                profile.runcall(label, scan)
        except Exception as error:  # any fault of one scan must not cost the others theirs
            connection.send(reason_of(error, scan))
            continue
        end = time.perf_counter()
        connection.send((start, end, profile and (stage_seconds(profile, end - start), list(told.messages))))


def stage_seconds(profile: cProfile.Profile, whole: float) -> dict[str, float]:
    """Seconds of each of `STAGES` that a profile knows, and the rest of the ``whole``."""
    calls = pstats.Stats(profile).stats
    seconds = {}
    for stage, (ending, name, *caller) in STAGES.items():
        for (path, _, function), (*_, cumulative, callers) in calls.items():
            if function != name or not path.endswith(ending):
                continue
            spent = cumulative
            if caller:
                spent = sum(part[3] for (*_, called_by), part in callers.items() if called_by == caller[0])
            seconds[stage] = seconds.get(stage, 0.0) + spent
    seconds["rest"] = max(whole - sum(seconds.values()), 0.0)
    return {stage: round(spent, 3) for stage, spent in seconds.items()}
