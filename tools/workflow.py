"""Run one run id of a bundle in this process: each start of Python and MONAI costs 6-8 s."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType

from ignite.handlers import ProgressBar
from monai.bundle import ConfigWorkflow

from abdoseg.allocator import keep_freed_memory
from abdoseg.handlers import step_loss
from abdoseg.ranks import is_first
from tools.chain import BUNDLES, Stage


def run_bundle(stage: Stage, tracking: dict) -> dict:
    """Do a stage with its bundle, with a progress bar where it trains.

    Parameters
    ----------
    stage : names bundle, config files, run id and overrides.
    tracking : ``tracking_uri``, ``experiment_name`` and ``run_name`` of an MLflow run; empty: none is recorded.

    Returns
    -------
    The first dictionary with "failed" among the results of the run id, else {}.
    """
    workflow = workflow_of(stage, tracking)
    workflow.initialize()
    memory = nullcontext()
    if "train" in workflow.parser:
        if workflow.parser.get_parsed_content("device").type == "cpu":
            memory = keep_freed_memory()
        trainer = workflow.parser.get_parsed_content("train#trainer")
        if is_first():
            ProgressBar(desc=stage.name, ncols=100).attach(
                trainer, output_transform=lambda output: {"loss": step_loss(output)}
            )
        # What ends a training comes up as an exception; ignite and MONAI would log its traceback once more each.
        logging.getLogger("ignite").setLevel(logging.CRITICAL)
    with memory:
        result = workflow.run()
    workflow.finalize()
    return next((item for item in result or [] if isinstance(item, dict) and "failed" in item), {})


def workflow_of(stage: Stage, tracking: Mapping = MappingProxyType({})) -> ConfigWorkflow:
    """Read the configs of a stage; nothing is built yet. ``tracking`` as `run_bundle` takes it."""
    root = BUNDLES / stage.bundle
    if tracking:
        executed = Path(stage.arguments["output_dir"]) / "executed_config.json"
        tracking = {**tracking, "tracking": "mlflow", "save_execute_config": str(executed)}
    return ConfigWorkflow(
        config_file=[str(path) for path in stage.config_files()],
        meta_file=str(root / "configs" / "metadata.json"),
        logging_file=str(root / "configs" / "logging.conf"),
        run_id=stage.run,
        workflow_type="train",
        **{"bundle_root": str(root), **stage.arguments, **tracking},
    )
