"""Stages of a chain under torchrun: its processes, on one machine or several, share trainings and cases."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from abdoseg.files import CaseError, first_line
from tools.attached import end_with_parent
from tools.chain import BUNDLES, Stage, read_manifest
from tools.workers import processors

MAX_RESTARTS = 3
# So long machines wait for each other; torchrun's own limit.
JOIN_SECONDS = 600
# Until then, what another machine wrote is seen in a shared file system.
VISIBLE_SECONDS = 60
# So long the first machine waits at the end for those that have joined: they look often, and one may be lost.
LEAVE_SECONDS = 10
POLL_SECONDS = 0.3


class Crew:
    """The processes that torchrun starts for each stage that many can share.

    The first machine does the chain; the others (`follow`) start torchrun when the first one does. It tells them so
    through a key-value store of PyTorch that it serves at the end point, where torchrun's processes of all machines
    meet, too. Files would not do: those of a killed chain look like those of a living one.

    Parameters
    ----------
    folder : that all machines see; what came of a stage is written there.
    nproc_per_node : processes on each machine.
    nnodes : machines.
    endpoint : "HOST:PORT" of the first machine, if there are several.

    Raises
    ------
    CaseError
        If a number is below 1, or the end point is missing or malformed.
    """

    def __init__(self, folder: Path, nproc_per_node: int, nnodes: int = 1, endpoint: str | None = None) -> None:
        for name, number in (("nproc_per_node", nproc_per_node), ("nnodes", nnodes)):
            if number < 1:
                raise CaseError(f"--{name} is {number}; use 1 or more.")
        self.folder = folder
        self.nproc_per_node = nproc_per_node
        self.nnodes = nnodes
        self.endpoint = endpoint
        if nnodes > 1:
            host, _, port = (endpoint or "").rpartition(":")
            if not host or not port.isdigit():
                raise CaseError(
                    f"--rdzv_endpoint is {endpoint!r}; several machines need HOST:PORT, the name of the first one and "
                    "a free port there."
                )
            self._address = host, int(port)
        self._store = None

    @property
    def size(self) -> int:
        """Processes in all."""
        return self.nproc_per_node * self.nnodes

    @contextmanager
    def leading(self) -> Iterator[None]:
        """Within the block, the other machines are told what to join in; at its end, that it is over.

        One that is slower to start than all the stages are to do is waited for: it would take the end for a fault.

        Raises
        ------
        CaseError
            If the end point is not on this machine, or taken.
        """
        if self.nnodes == 1:
            yield
            return
        self._store = self._connect(True)
        fault = "it was interrupted"
        try:
            yield
            fault = None
        except CaseError as error:
            fault = str(error)
            raise
        finally:
            self._tell({"over": True, "fault": fault})
            if fault is None and not self._have("joined", 0):
                print("all is done; the machines that have not joined yet are waited for, to tell them", flush=True)
                self._have("joined", JOIN_SECONDS)
            self._have("left", LEAVE_SECONDS)

    def perform(self, stage: Stage, tracking: dict) -> dict:
        """Do a stage with all processes of all machines; see `tools.perform.perform`.

        A process that dies is started again, and with it the others: what is done is not done again.

        Raises
        ------
        CaseError
            With what one of them says is to be mended, or if they end otherwise than well.
        """
        name = uuid4().hex
        result = self.folder / f".{stage.name}-{name}.json"
        sent = asdict(stage) | {"configs": [str(path) for path in stage.config_files()]}
        job = {"id": name, "stage": sent, "tracking": tracking, "result": str(result)}
        self._tell(job)
        try:
            code = self._start(job)
            if code == 0:
                self._wait_until_visible([result, *map(Path, stage.outputs)])
            outcome = read_manifest(result)
        finally:
            result.unlink(missing_ok=True)
            self._tell({})
        if code or "failed" not in outcome:
            ended = f"torchrun ended with exit code {code}; what its processes printed above tells why."
            raise CaseError(outcome.get("fault", ended))
        return outcome

    def follow(self) -> dict:
        """Join in what the first machine starts, until it tells that all is over.

        Raises
        ------
        CaseError
            If the first machine cannot be reached, dies, or ends with an error.
        """
        self._store = self._connect(False)
        self._store.add("joined", 1)
        last = None
        while not (word := self._hear()).get("over"):
            if word.get("id") not in (None, last):
                last = word["id"]
                print(f"{word['stage']['name']}: joining in", flush=True)
                self._start(word)  # however it ends: the first machine judges
            time.sleep(POLL_SECONDS)
        self._store.add("left", 1)
        if word["fault"]:
            raise CaseError(f"{self.endpoint}: the chain there has ended: {word['fault']}")
        return {}

    def _have(self, what: str, seconds: float) -> bool:
        """Wait until all other machines have "joined" or "left"; False if they have not by then."""
        deadline = time.monotonic() + seconds
        while not (done := self._store.add(what, 0) >= self.nnodes - 1) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return done

    def _connect(self, serve: bool):
        from torch.distributed import TCPStore  # imports torch, which takes seconds

        try:
            return TCPStore(
                *self._address, is_master=serve, wait_for_workers=False, timeout=timedelta(seconds=JOIN_SECONDS)
            )
        except RuntimeError as error:
            what = "cannot be served by this machine" if serve else f"has not answered for {JOIN_SECONDS} s"
            raise CaseError(
                f"--rdzv_endpoint {self.endpoint} {what} ({first_line(error)}); give the name of the first "
                "machine, where the same command runs with --node_rank 0, and a free port there."
            ) from error

    def _tell(self, word: dict) -> None:
        if self._store is not None:
            self._store.set("word", json.dumps(word))

    def _hear(self) -> dict:
        try:
            return json.loads(self._store.get("word")) if self._store.check(["word"]) else {}
        except RuntimeError as error:
            raise CaseError(f"{self.endpoint}: the chain there is gone; start it again on every machine.") from error

    def _start(self, job: dict) -> int:
        """Run torchrun on this machine until its processes are done; gives its exit code."""
        environment = {
            **os.environ,
            # The repository, whatever the current folder is called and holds.
            "PYTHONPATH": os.pathsep.join(filter(None, (str(BUNDLES.parent), os.environ.get("PYTHONPATH")))),
            "PYTHONSAFEPATH": "1",
            # What torchrun would share among its attempts does not reach a machine that takes the place of a lost one.
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": str(int(self.nnodes > 1)),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, processors() // self.nproc_per_node))),
        }
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(job, file)
            file.flush()
            command = [sys.executable, "-m", "tools.torchrun", str(os.getpid()), *self._options(job["id"])]
            with subprocess.Popen([*command, "-m", "tools.stage_rank", file.name], env=environment) as process:
                try:
                    return process.wait()
                except BaseException:
                    process.terminate()  # torchrun ends its processes, and is waited for
                    raise

    def _options(self, name: str) -> list[str]:
        options = [f"--nproc_per_node={self.nproc_per_node}", f"--max_restarts={MAX_RESTARTS}"]
        if self.nnodes == 1:
            return ["--standalone", *options]
        options += [f"--nnodes={self.nnodes}", f"--rdzv_id={name}", f"--rdzv_endpoint={self.endpoint}"]
        own = f"--local_addr={_own_address(*self._address)}"
        return [*options, "--rdzv_backend=c10d", "--rdzv_conf=is_host=0", own]

    def _wait_until_visible(self, paths: list[Path]) -> None:
        deadline = time.monotonic() + VISIBLE_SECONDS * (self.nnodes > 1)
        while not all(path.exists() for path in paths) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


def _own_address(host: str, port: int) -> str:
    """Address by which this machine reaches another, and is reached from there; host names often lead to 127.0.0.1."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(address)  # of a datagram socket: nothing is sent
        return probe.getsockname()[0]


def main(parent: str, *arguments: str) -> int:
    """torchrun, which ends when the process that started it does, and leaves the telling to its own processes."""
    end_with_parent(int(parent))
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args
    from torch.distributed.run import run as launch

    try:
        launch(parse_args([*arguments, str(os.getpid())]))
    except ChildFailedError:
        return 1
    except SignalException:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
