"""Run a whole chain, from a folder of scans to a report; what is done already is not done again."""

import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from abdoseg.files import CaseError
from tools.chain import Manifests, Stage, check_tracking, data_signature
from tools.faults import fault_of
from tools.lock import sole_user
from tools.perform import perform
from tools.pipeline import load_pipeline
from tools.slurm import command_of, job_options, submit
from tools.start_teacher import with_teacher
from tools.torchrun import Crew
from tools.trust import check_stages


def run(
    chain: str,
    data_dir: str,
    work_dir: str,
    preset: str | None = None,
    only: str | None = None,
    tracking: str | None = None,
    nproc_per_node: int = 1,
    nnodes: int = 1,
    node_rank: int = 0,
    rdzv_endpoint: str | None = None,
    slurm: str | None = None,
    trust: bool = False,
    **parameters,
) -> dict:
    """Run a chain of bundles and commands on a folder of scans.

    `python -m tools run two_stage --data_dir FLARE23 --work_dir runs/flare23` is paper A at full size. Its stages are
    audit, plan, teacher, pseudo_labels, merge, coarse, fine, predict_teacher, predict_student, score_teacher,
    score_student, report and pack.

    With `--teacher starter` the teacher is the one that this project comes with, or with `--teacher FOLDER` another. It
    labels the weak cases as it is where no case is strong; where some are, its training goes on with them.

    Each stage leaves WORK_DIR/manifests/STAGE.json. Started again, the chain does what is missing or what a change of
    data or settings has made stale; a training that was killed goes on from its last epoch. Scans that a stage has set
    aside are named at the end, and the exit code is 1.

    With --nproc_per_node, torchrun starts that many processes for each training and for each stage that labels, merges
    or scores case by case; with --nnodes on each of several machines that see the same files, where the same command
    runs with another --node_rank. With --slurm, each stage that is not done becomes a job. docs/clusters.md tells more.

    Args:
        chain: Name of a file in tools/pipelines, such as two_stage, or the path of another chain (.yaml).
        data_dir: Data set in the FLARE23 layout (imagesTr2200, labelsTr2200, unlabelTr1800, validation, truth), in
            another that docs/datasets.md lists, or a datasets.yaml, which declares several.
        work_dir: Folder for all results.
        preset: "demo" makes every stage small enough for two CPU cores; "faithful", of the cascade, switches our fixes
            of paper B's code off; without one the papers' protocol runs.
        only: Do just these stages, separated by commas; what they need must be done already.
        tracking: "mlflow" records the chain and its stages in WORK_DIR/mlruns.db, which `make ui` shows, or where the
            environment variable MLFLOW_TRACKING_URI says. The address of an MLflow server records them there.
        nproc_per_node: Processes on each machine, as a rule one a GPU. In a training each takes a batch of its own.
        nnodes: Machines that run this command.
        node_rank: Number of this machine; 0 does the chain, the others join in.
        rdzv_endpoint: HOST:PORT by which the others reach machine 0; needed if there are several.
        slurm: Options of sbatch for each stage's job, separated by commas, such as "time=1-00:00:00,gres=gpu:8". Each
            job waits for the one before; --nnodes and --nproc_per_node hold for the stages that many can share.
        trust: Run config files that are not this project's own. They are code: without this option, what they would run
            is listed, and nothing runs. Files that give values only need no trust.
        parameters: Replace parameters of the chain, which stand at the head of its file, for example --seed 1 or
            --fine_overlay my.yaml (a config file that is laid over the bundle's train.yaml).
    """
    if not Path(data_dir).exists():
        raise CaseError(f"{data_dir} does not exist; --data_dir takes the folder of a data set, or a datasets.yaml.")
    check_tracking(tracking)
    root = Path(work_dir).absolute()
    crew = None if slurm is not None else Crew(root, nproc_per_node, nnodes, rdzv_endpoint)
    if crew and node_rank:
        return crew.follow()
    places = {"data_dir": str(Path(data_dir).absolute()), "work_dir": str(root)}
    stages = load_pipeline(chain, preset, {**with_teacher(parameters), **places})
    if isinstance(parameters.get("teacher"), str) and all(stage.tool != "start_teacher" for stage in stages):
        raise CaseError(f"Chain {chain} has no teacher; leave --teacher {parameters['teacher']} out.")
    check_stages(stages, trust)
    if crew is None:
        processes = {"tracking": tracking, "nproc_per_node": nproc_per_node, "trust": trust or None}
        command = command_of(chain, {**places, "preset": preset, **processes, **parameters})
        todo = missing_stages(stages, data_signature(data_dir), root, only)
        submit(todo, command, job_options(slurm), nnodes, root / "slurm")
        return {}
    options = {"data_dir": data_dir, "preset": preset, **parameters}
    track = partial(_tracker, tracking, chain, root, options)
    with crew.leading():
        return run_stages(stages, data_signature(data_dir), root, only, track, crew)


def run_stages(
    stages: list[Stage],
    inputs: str,
    root: Path,
    only: str | None = None,
    track: Callable[[], AbstractContextManager] = nullcontext,
    crew: Crew | None = None,
) -> dict:
    """Do the stages of a chain that are not done.

    Parameters
    ----------
    stages : in their order.
    inputs : hash of the data that the first ones work on.
    root : work folder, which holds the manifests.
    only : names of the stages wanted, separated by commas; None: all.
    track : gives the context in which the chain is recorded.
    crew : does the stages that many processes can share, if it has more than one.

    Returns
    -------
    ``{"failed": {"STAGE: CASE": reason}}``.

    Raises
    ------
    CaseError
        If a stage is unknown, cannot be done, or uses one that is neither done nor wanted.
    """
    manifests = Manifests(root)
    keys, wanted = _plan(stages, inputs, manifests, only)
    with sole_user(root), track() as tracker:
        for number, stage in enumerate(stages, 1):
            if stage in wanted:
                do = crew.perform if crew and crew.size > 1 and stage.is_shared else perform
                _do(stage, keys, manifests, f"[{number}/{len(stages)}] {stage.name}", tracker, do)
    failed = {
        f"{stage.name}: {case}": reason
        for stage in wanted
        for case, reason in manifests.read(stage.name).get("failed", {}).items()
    }
    if failed:
        print("Set aside:", *(f"  {case}: {reason}" for case, reason in failed.items()), sep="\n")
    return {"failed": failed}


def missing_stages(stages: list[Stage], inputs: str, root: Path, only: str | None = None) -> list[Stage]:
    """Stages that `run_stages` would do; takes and raises what it does."""
    manifests = Manifests(root)
    keys, wanted = _plan(stages, inputs, manifests, only)
    return [stage for stage in wanted if not manifests.is_done(stage, keys[stage.name])]


def _plan(
    stages: list[Stage], inputs: str, manifests: Manifests, only: str | None
) -> tuple[dict[str, str], list[Stage]]:
    """Key of each stage, and the stages that are wanted."""
    _check_places(stages)
    keys: dict[str, str] = {}
    for stage in stages:
        keys[stage.name] = stage.key(keys, inputs)
    wanted = _wanted(stages, only)
    _check_prerequisites(wanted, stages, keys, manifests)
    return keys, wanted


def _check_places(stages: list[Stage]) -> None:
    """Raise a CaseError if what is given to a stage lies where a stage begins by removing what was there."""
    removed = [(Path(path).resolve(), stage.name) for stage in stages for path in stage.state]
    for path in {path for stage in stages for path in (*stage.config_files(), *map(Path, stage.inputs))}:
        for state, name in removed:
            if path.resolve().is_relative_to(state):
                raise CaseError(f"{path} lies in {state}, which stage {name} may remove; copy it elsewhere first.")


def _wanted(stages: list[Stage], only: str | None) -> list[Stage]:
    if only is None:
        return stages
    wanted = {name.strip() for name in only.split(",")}
    names = [stage.name for stage in stages]
    if unknown := wanted - set(names):
        raise CaseError(f"The chain has no stage {', '.join(sorted(unknown))}. It has: {', '.join(names)}.")
    return [stage for stage in stages if stage.name in wanted]


def _check_prerequisites(wanted: list[Stage], stages: list[Stage], keys: dict[str, str], manifests: Manifests) -> None:
    """Raise a CaseError if a wanted stage uses one that is neither done nor wanted."""
    others = {stage.name: stage for stage in stages if stage not in wanted}
    for stage in wanted:
        for name in stage.after:
            if name in others and not manifests.is_done(others[name], keys[name]):
                raise CaseError(
                    f"Stage {stage.name} needs stage {name}, which is not done with this data and these settings; "
                    f"add {name} to --only, or leave --only out."
                )


def _do(
    stage: Stage, keys: dict[str, str], manifests: Manifests, title: str, tracker, do: Callable[[Stage, dict], dict]
) -> None:
    """Do a stage if it is not done, and note in its manifest how it went."""
    key = keys[stage.name]
    before = manifests.read(stage.name)
    if manifests.is_done(stage, key):
        print(f"{title}: {before['status']} already")
        return
    if before.get("key", key) != key:
        # Killed while it is removed, what is left must not be taken for done when the earlier settings come back.
        manifests.write(stage.name, {"key": "", "status": "removed"})
        _forget(stage)
    if reason := stage.missing_cases():
        manifests.write(stage.name, {"key": key, "status": "skipped", "reason": reason})
        print(f"{title}: skipped, {reason}")
        return
    print(f"{title} ...", flush=True)
    manifests.begin(stage, keys)
    start, seconds = time.perf_counter(), None
    try:
        with tracker.stage(stage) if tracker else nullcontext({}) as tracking:
            result = do(stage, tracking)
            if absent := [output for output in stage.outputs if not Path(output).exists()]:
                raise CaseError(f"it ended without writing {absent[0]}.")
            seconds = round(time.perf_counter() - start, 1)
            # Before the tracker's last words: a server that is gone by then must not cost a training.
            manifests.end(stage.name, {"status": "done", "seconds": seconds, "failed": result.get("failed") or {}})
    except Exception as error:
        fault = fault_of(error)
        if seconds is None:
            manifests.end(stage.name, {"status": "failed", "reason": fault or repr(error)})
        if fault is None:
            raise
        raise CaseError(f"Stage {stage.name}: {fault}") from error
    print(f"{title}: {seconds:.1f} s", flush=True)


def _forget(stage: Stage) -> None:
    """Remove what an earlier definition of the stage has left behind: it must not be resumed.

    What was trained, for days on a GPU perhaps, is put aside: it gets the ending .before, one generation of it.
    """
    for path in map(Path, stage.state):
        trained = path / "model.pt" if path.is_dir() else path
        if stage.run == "training" and trained.is_file():
            aside = path.with_name(f"{path.name}.before")
            _remove(aside)
            path.rename(aside)
            print(f"{stage.name}: data or settings have changed; what was trained before is kept as {aside}")
        else:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _tracker(tracking: str | None, chain: str, work_dir: Path, options: dict):
    """Context of a chain: a `tools.tracking.Tracker`, or None where nothing is recorded."""
    if tracking is None:
        return nullcontext()
    from tools.tracking import Tracker  # imports mlflow, which takes seconds

    return Tracker(tracking, Path(chain).stem, work_dir, options).chain()
