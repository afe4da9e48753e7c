"""A Slurm of one machine, this one, for tests; and the programs' answers."""

import importlib.util
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CONFIG = """
ClusterName=tiny
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={port}
SlurmdPort={next_port}
AuthInfo=socket={folder}/munge.socket
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MailProg=/bin/true
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def told(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def wait_until(reached, seconds: float = 600, pause: float = 0.5) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(pause)


def lacking() -> str | None:
    """Tell what is missing to run a Slurm here, or None."""
    if importlib.util.find_spec("submitit") is None:
        return "submitit is not installed; the extra 'cluster'"
    for program in ("slurmctld", "slurmd", "munged", "sbatch"):
        if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin") is None:
            return f"{program} is not installed; apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "Slurm's own programs need root"


@contextmanager
def running_slurm(folder: Path) -> Iterator[None]:
    """Let a Slurm run with its own key, ports and folders, all in ``folder``; skip the test where that cannot be."""
    if reason := lacking():
        pytest.skip(reason)
    (folder / "state").mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    port = 20000 + os.getpid() % 10000 * 2
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(host=host, port=port, next_port=port + 1, folder=folder))
    places = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid", "seed-file": "munge.seed"}
    places["log-file"] = "munge.log"
    munged = ["munged", "--foreground", "--force", *(f"--{name}={folder / file}" for name, file in places.items())]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(config))
        patch.setenv("PATH", os.environ["PATH"] + ":/usr/sbin")
        programs = []
        try:
            for command in (
                munged,
                ["slurmctld", "-D", "-f", str(config)],
                ["slurmd", "-D", "-f", str(config), "-N", host],
            ):
                with (folder / f"{command[0]}.txt").open("w") as log:
                    programs.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
                time.sleep(1)
            wait_until(lambda: told("sinfo", "-h", "-o", "%T") == "idle")
            yield
        finally:
            subprocess.run(["scancel", "--user=root"], capture_output=True, check=False)
            for program in reversed(programs):
                program.terminate()
                program.wait(60)
