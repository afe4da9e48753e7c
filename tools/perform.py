"""What a stage of a chain does, in this process."""

import gc
import importlib

from tools.chain import BUNDLES, Stage


def perform(stage: Stage, tracking: dict) -> dict:
    """Do a stage.

    Parameters
    ----------
    stage : whatever was done of it is not done again, where its command or bundle can tell.
    tracking : see `tools.workflow.run_bundle`; only trainings are recorded step by step.

    Returns
    -------
    What its command or bundle gives, with the cases that it set aside in "failed".
    """
    try:
        if stage.tool:
            function = getattr(importlib.import_module(f"tools.{stage.tool}"), stage.tool)
            bundle = {"bundle": str(BUNDLES / stage.bundle)} if stage.bundle else {}
            return function(**bundle, **stage.arguments) or {}
        from tools.workflow import run_bundle  # imports torch and MONAI, which takes seconds: not where all is done

        return run_bundle(stage, tracking if stage.run == "training" else {})
    finally:
        gc.collect()  # engines and their handlers hold each other, and a network with its last batch, also on a GPU
