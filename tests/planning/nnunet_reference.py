"""Plan data sets with the nnunetv2 package itself; run as a program, because it reads its folders on import.

Usage: python nnunet_reference.py FOLDER, with the environment variables nnUNet_raw, nnUNet_preprocessed and
nnUNet_results; plans every data set that stands in FOLDER/raw and has a fingerprint in FOLDER/preprocessed.
"""

import sys
from pathlib import Path

import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

if __name__ == "__main__":
    torch.set_default_device(
        "meta"
    )  # the planner builds a network for each patch that it tries; weights are not needed
    for dataset in sorted(Path(sys.argv[1], "raw").iterdir()):
        ExperimentPlanner(dataset.name).plan_experiment()
