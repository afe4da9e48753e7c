"""Run one run id of a bundle in this process: each start of Python and MONAI costs 6-8 s."""

import logging

from ignite.handlers import ProgressBar
from monai.bundle import ConfigWorkflow

from abdoseg.handlers import step_loss
from tools.chain import BUNDLES, Stage


def run_bundle(stage: Stage, tracking: dict) -> dict:
    """Do a stage with its bundle, with a progress bar where it trains.

    Parameters
    ----------
    stage : names bundle, config files, run id and overrides.
    tracking : further arguments of ``monai.bundle.ConfigWorkflow``, which tell where the run is recorded; may be empty.

    Returns
    -------
    The first dictionary with "failed" among the results of the run id, else {}.
    """
    root = BUNDLES / stage.bundle
    workflow = ConfigWorkflow(
        config_file=[str(path) for path in stage.config_files()],
        meta_file=str(root / "configs" / "metadata.json"),
        logging_file=str(root / "configs" / "logging.conf"),
        run_id=stage.run,
        workflow_type="train",
        **{"bundle_root": str(root), **stage.arguments, **tracking},
    )
    workflow.initialize()
    if "train" in workflow.parser:
        trainer = workflow.parser.get_parsed_content("train#trainer")
        ProgressBar(desc=stage.name, ncols=100).attach(
            trainer, output_transform=lambda output: {"loss": step_loss(output)}
        )
        # What ends a training comes up as an exception; ignite and MONAI would log its traceback once more each.
        logging.getLogger("ignite").setLevel(logging.CRITICAL)
    result = workflow.run()
    workflow.finalize()
    return next((item for item in result or [] if isinstance(item, dict) and "failed" in item), {})
