"""Run a whole chain, from a folder of scans to a report; what is done already is not done again."""

import importlib
import logging
import shutil
import time
from pathlib import Path

from ignite.handlers import ProgressBar
from monai.bundle import ConfigWorkflow

from abdoseg.files import CaseError
from abdoseg.handlers import step_loss
from tools.chain import BUNDLES, Manifests, Stage, folder_signature, load_pipeline


def run(
    chain: str,
    data_dir: str,
    work_dir: str,
    preset: str | None = None,
    only: str | None = None,
    tracking: str | None = None,
    **parameters,
) -> dict:
    """Run a chain of bundles and commands on a folder of scans.

    `python -m tools run two_stage --data_dir FLARE23 --work_dir runs/flare23` is paper A at full size:
    audit -> teacher -> pseudo labels -> merge -> coarse -> fine -> predict -> score -> report.

    Each stage leaves WORK_DIR/manifests/STAGE.json. Started again, the chain does what is missing or what a change of
    data or settings has made stale; training goes on from its last epoch.

    Parameters
    ----------
    chain : name of a file in tools/pipelines, e.g. two_stage.
    data_dir : data set in the FLARE23 layout (imagesTr2200, labelsTr2200, unlabelTr1800, validation).
    work_dir : folder for all results.
    preset : demo makes every stage small enough for two CPU cores; without it the papers' protocol runs.
    only : do just these stages, comma-separated; what they need must be done already.
    tracking : mlflow records each training as a run in WORK_DIR/mlruns.db.
    parameters : replace parameters of the chain, which stand at the head of its file, e.g. --seed 1.
    """
    if not Path(data_dir).is_dir():
        raise CaseError(f"{data_dir} is no folder; --data_dir takes a data set in the FLARE23 layout.")
    root = Path(work_dir).absolute()
    places = {"data_dir": str(Path(data_dir).absolute()), "work_dir": str(root)}
    stages = load_pipeline(chain, preset, {**parameters, **places})
    wanted = _wanted(stages, only)
    manifests = Manifests(root)
    inputs = folder_signature(data_dir)
    keys: dict[str, str] = {}
    failed: dict[str, str] = {}
    for number, stage in enumerate(stages, 1):
        keys[stage.name] = stage.key(keys, inputs)
        if stage.name not in wanted:
            continue
        title = f"[{number}/{len(stages)}] {stage.name}"
        if manifests.is_done(stage, keys[stage.name]):
            print(f"{title}: done already")
            continue
        print(f"{title} ...", flush=True)
        before = manifests.read(stage.name)
        if before.get("key", keys[stage.name]) != keys[stage.name]:
            _forget(stage)
        manifests.write(stage.name, {"key": keys[stage.name], "status": "running"})
        start = time.perf_counter()
        result = _run_tool(stage) if stage.tool else _run_bundle(stage, root, chain, tracking)
        seconds = round(time.perf_counter() - start, 1)
        if absent := [output for output in stage.outputs if not Path(output).exists()]:
            raise CaseError(f"Stage {stage.name} ended without writing {absent[0]}.")
        failed |= {f"{stage.name}: {case}": reason for case, reason in (result.get("failed") or {}).items()}
        manifests.write(stage.name, {"key": keys[stage.name], "status": "done", "seconds": seconds})
        print(f"{title}: {seconds:.1f} s", flush=True)
    if failed:
        print("Set aside:", *(f"  {case}: {reason}" for case, reason in failed.items()), sep="\n")
    return {"failed": failed}


def _wanted(stages: list[Stage], only: str | None) -> set[str]:
    names = [stage.name for stage in stages]
    wanted = {name.strip() for name in only.split(",")} if only else set(names)
    if unknown := wanted - set(names):
        raise CaseError(f"The chain has no stage {', '.join(sorted(unknown))}. It has: {', '.join(names)}.")
    return wanted


def _forget(stage: Stage) -> None:
    """Remove what an earlier definition of the stage has left half-done: it must not be resumed."""
    for path in map(Path, stage.state):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _run_tool(stage: Stage) -> dict:
    function = getattr(importlib.import_module(f"tools.{stage.tool}"), stage.tool)
    return function(**stage.arguments) or {}


def _run_bundle(stage: Stage, work_dir: Path, chain: str, tracking: str | None) -> dict:
    """Run one run id of a bundle in this process (each start of Python and MONAI costs 6-8 s)."""
    root = BUNDLES / stage.bundle
    overrides = {"bundle_root": str(root), **stage.arguments}
    if tracking:
        overrides |= {
            "tracking_uri": f"sqlite:///{work_dir / 'mlruns.db'}",
            "experiment_name": chain,
            "run_name": stage.name,
        }
    workflow = ConfigWorkflow(
        config_file=[str(root / "configs" / config) for config in stage.configs],
        meta_file=str(root / "configs" / "metadata.json"),
        logging_file=str(root / "configs" / "logging.conf"),
        run_id=stage.run,
        workflow_type="train",
        tracking=tracking,
        **overrides,
    )
    workflow.initialize()
    if "train" in workflow.parser:
        logging.getLogger("ignite").setLevel(logging.WARNING)
        trainer = workflow.parser.get_parsed_content("train#trainer")
        ProgressBar(desc=stage.name, ncols=100).attach(
            trainer, output_transform=lambda output: {"loss": step_loss(output)}
        )
    result = workflow.run()
    workflow.finalize()
    return next((item for item in result or [] if isinstance(item, dict) and "failed" in item), {})
