"""The Makefile hands its variables on whole."""

import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_folders_of_scans_and_results_may_have_blanks_in_their_names():
    variables = ["WORK=runs/my work", "STUDIES=/data/CT Export, März"]
    told = subprocess.run(
        ["make", "--dry-run", "label-server", *variables], cwd=ROOT, capture_output=True, text=True, check=True
    )
    (line,) = (line for line in told.stdout.splitlines() if " tools serve " in line)
    options = ["--bundles", "runs/my work", "--studies", "/data/CT Export, März", "--work_dir", "runs/my work/label"]
    assert shlex.split(line)[-6:] == options
