"""Time and memory of a run as FLARE measures them: wall time, peak, and area under the memory-time curve."""

import ctypes
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

MB = 1 << 20
# FLARE's tolerance of GPU memory; the area above it is told apart, and no rank is claimed.
TOLERATED_MB = 4096
NVML_LIBRARY = "libnvidia-ml.so.1"


class Sampler:
    """Reads gauges of memory over and over, from a thread, while the block runs.

    FLARE's script sleeps 0.1 s between its readings and takes that for their period, though a reading takes its time
    too. Here each reading's time is kept.

    Parameters
    ----------
    gauges : name -> function that gives megabytes (2^20 bytes) now, or raises ProcessLookupError when there is nothing
        left to measure.
    pause : seconds to sleep between two readings.
    """

    def __init__(self, gauges: Mapping[str, Callable[[], float]], pause: float = 0.1) -> None:
        self.gauges = dict(gauges)
        self.pause = pause
        self.times: list[float] = []
        self.samples: dict[str, list[float]] = {name: [] for name in self.gauges}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                values = {name: gauge() for name, gauge in self.gauges.items()}
            except ProcessLookupError:
                return
            self.times.append(time.perf_counter())
            for name, value in values.items():
                self.samples[name].append(value)
            self._stop.wait(self.pause)

    def figures(self, start: float, end: float) -> dict:
        """Figures of the time from ``start`` to ``end``, both of `time.perf_counter`.

        Returns
        -------
        dict
            ``"wall_s"``; ``"samples"``: how many; ``"period_s"``: true mean time between them, None for fewer than two;
            and for each gauge ``{"peak_mb", "auc_mb_s": sum of the samples times the true period, "above_4096_mb_s":
            the same of what lies above 4096 MB}``, None without a sample.
        """
        inside = [index for index, moment in enumerate(self.times) if start <= moment <= end]
        period = None
        if len(inside) > 1:
            period = (self.times[inside[-1]] - self.times[inside[0]]) / (len(inside) - 1)
        result = {"wall_s": round(end - start, 3), "samples": len(inside)}
        result["period_s"] = None if period is None else round(period, 4)
        for name, values in self.samples.items():
            result[name] = _curve([values[index] for index in inside], end - start if period is None else period)
        return result


def _curve(values: list[float], period: float) -> dict | None:
    if not values:
        return None
    above = sum(max(value - TOLERATED_MB, 0) for value in values)
    return {
        "peak_mb": round(max(values), 1),
        "auc_mb_s": round(sum(values) * period, 1),
        f"above_{TOLERATED_MB}_mb_s": round(above * period, 1),
    }


def process_memory(pid: int) -> float:
    """Resident memory in MB of a process and all its descendants; pages that they share count in each.

    Raises
    ------
    ProcessLookupError
        If the process has ended.
    """
    parents, resident = {}, {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                # The name in brackets may hold blanks; the state, the parent and the pages stand behind it.
                fields = (path / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            parents[int(path.name)], resident[int(path.name)] = int(fields[1]), int(fields[21])
    if pid not in parents:
        raise ProcessLookupError(f"Process {pid} has ended.")
    family = {pid}
    while born := {child for child, parent in parents.items() if parent in family} - family:
        family |= born
    return sum(resident[member] for member in family) * os.sysconf("SC_PAGE_SIZE") / MB


def card_memory(index: int = 0) -> Callable[[], float] | None:
    """Gauge of the memory in use on a GPU, in MB: total - free of the whole card, as FLARE takes it.

    All that runs on the card counts, and so does what the driver keeps. NVML is asked, which needs no CUDA context of
    its own. None if this machine has no NVIDIA driver or no such card.

    Parameters
    ----------
    index : of the card, in the order of nvidia-smi.
    """

    class Memory(ctypes.Structure):
        _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]

    try:
        nvml = ctypes.CDLL(NVML_LIBRARY)
    except OSError:
        return None
    handle = ctypes.c_void_p()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)):
        return None

    def used() -> float:
        memory = Memory()
        if code := nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)):
            raise OSError(f"NVML does not tell the memory of card {index} (error {code}).")
        return (memory.total - memory.free) / MB

    return used
