"""One of the processes that torchrun starts for a stage of a chain: `python -m tools.stage_rank JOB.json PARENT`."""

import json
import sys
from dataclasses import replace
from pathlib import Path

from abdoseg.files import write_json
from abdoseg.ranks import is_first
from tools.attached import end_with_parent
from tools.chain import Stage, read_manifest
from tools.faults import fault_of
from tools.perform import perform

OVERLAY = "multi_gpu_train.yaml"


def do_part(job: dict) -> int:
    """Do this process's part of a stage, and write to the job's file how it went; gives the exit code.

    Parameters
    ----------
    job : see `tools.torchrun.Crew`.
    """
    result = Path(job["result"])
    if told := read_manifest(result):
        # torchrun has started it again: what a person has to mend stays as it is, and what is done is done, though
        # another process was lost while it ended.
        return 2 if "fault" in told else 0
    stage = Stage(**job["stage"])
    if stage.run == "training":
        stage = replace(stage, configs=(*stage.configs, OVERLAY))
    try:
        outcome = perform(stage, job["tracking"] if is_first() else {})
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if (fault := fault_of(error)) is None:
            raise
        write_json(result, {"fault": fault})
        return 2
    if is_first():
        write_json(result, {"failed": outcome.get("failed") or {}})
    return 0


if __name__ == "__main__":
    end_with_parent(int(sys.argv[2]))
    sys.exit(do_part(json.loads(Path(sys.argv[1]).read_text())))
