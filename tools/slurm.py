"""The stages of a chain as jobs of Slurm, each after the one before it."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from abdoseg.files import CaseError
from tools.chain import BUNDLES, Stage

# A training may need that many jobs, if the time of one is not enough.
MOST_REQUEUES = 1000
FIRST_PORT, PORTS = 20000, 20000


@dataclass(frozen=True)
class StageJob:
    """What a job does on each of its machines: one stage, by a command of its own.

    Parameters
    ----------
    command : words of the command after ``python -m tools``.
    nnodes : machines of the job.
    """

    command: tuple[str, ...]
    nnodes: int

    def __call__(self) -> int:
        """Run the command; RuntimeError, by which the job fails, if it does."""
        import submitit

        command = [sys.executable, "-m", "tools.attached", *self.command]
        if self.nnodes > 1:
            here = submitit.JobEnvironment()
            port = FIRST_PORT + int(here.job_id) % PORTS  # two jobs may share a machine
            command += [f"--nnodes={self.nnodes}", f"--node_rank={here.node}"]
            command.append(f"--rdzv_endpoint={here.hostnames[0]}:{port}")
        code = subprocess.run(command, check=False, preexec_fn=_ignore_warnings).returncode
        if code not in (0, 1):  # 1: some cases are set aside, all others done
            raise RuntimeError(f"{shlex.join(command)} ended with exit code {code}; its output tells why.")
        return code

    def checkpoint(self):
        """Give what is to be done when Slurm takes the machines away: the same again, which goes on where it was."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _ignore_warnings() -> None:
    """Slurm tells of the end by a signal, which is for the process that waits for the command."""
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def job_options(text: str) -> dict[str, str | bool]:
    """Read options of sbatch: "partition=gpu,time=1-00:00:00,gres=gpu:8,exclusive".

    Raises
    ------
    CaseError
        If the time is missing, without which submitit asks for five minutes, or one is set that the chain decides.
    """
    found = {}
    for part in re.split(r",(?=[a-z_-]+(?:=|,|$))", text):
        name, given, value = part.partition("=")
        found[name.strip().lstrip("-").replace("-", "_")] = value if given else True
    if "time" not in found:
        raise CaseError(f"--slurm {text!r} has no time; give each job's limit, such as time=1-00:00:00 for a day.")
    if taken := {"nodes", "ntasks", "ntasks_per_node", "dependency", "job_name"} & set(found):
        raise CaseError(
            f"--slurm must not set {', '.join(sorted(taken))}, which the chain decides; --nnodes and --nproc_per_node "
            "tell how many machines and processes."
        )
    return found


def command_of(chain: str, options: Mapping) -> tuple[str, ...]:
    """Words by which a job calls `run`: the chain and its options, as `tools.__main__` reads them."""
    named = {name: value for name, value in options.items() if value is not None}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in named.items()}
    chain = str(Path(chain).absolute()) if chain.endswith(".yaml") else chain
    return ("run", chain, *(f"--{name}={text}" for name, text in texts.items()))


def submit(stages: list[Stage], command: tuple[str, ...], options: dict, nnodes: int, folder: Path) -> list[str]:
    """Submit a job a stage; each waits until the one before has succeeded, and goes if that fails.

    Parameters
    ----------
    stages : in their order.
    command : words after ``python -m tools`` that run the chain.
    options : see `job_options`.
    nnodes : machines of the stages that several can share; the others get one.
    folder : for the jobs' output and submitit's files; all machines must see it.

    Returns
    -------
    The jobs' ids.

    Raises
    ------
    CaseError
        If submitit or Slurm is not installed, or Slurm refuses a job.
    """
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise CaseError("--slurm needs submitit; install it by: pip install -e '.[cluster]'") from error
    if shutil.which("sbatch") is None:
        raise CaseError("--slurm needs sbatch, which this machine does not have; run it where jobs are submitted.")
    setup = [
        f"export PYTHONPATH={shlex.quote(str(BUNDLES.parent))}${{PYTHONPATH:+:$PYTHONPATH}}",
        # From Slurm 22.05 on, srun does not take this over by itself.
        '[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',
    ]
    executor = submitit.SlurmExecutor(folder, max_num_timeout=MOST_REQUEUES)
    jobs: list[str] = []
    for number, stage in enumerate(stages, 1):
        machines = nnodes if stage.is_shared else 1
        after = {"dependency": f"afterok:{jobs[-1]}", "kill_on_invalid_dep": "yes"} if jobs else {}
        executor.update_parameters(
            job_name=stage.name,
            nodes=machines,
            ntasks_per_node=1,
            setup=setup,
            additional_parameters={**options, **after},
        )
        try:
            job = executor.submit(StageJob((*command, f"--only={stage.name}"), machines))
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            told = " ".join(str(error).split())
            raise CaseError(f"Slurm refuses the job of stage {stage.name}: {told}") from error
        jobs.append(job.job_id)
        told = f" after {jobs[-2]}" if len(jobs) > 1 else ""
        print(f"[{number}/{len(stages)}] {stage.name}: job {job.job_id}{told}", flush=True)
    print(f"output of the jobs: {folder}")
    return jobs
