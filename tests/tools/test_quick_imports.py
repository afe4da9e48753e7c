"""What the process of ``python -m tools predict`` imports."""

import json
import subprocess
import sys

import mlflow
import pytest

from tests.tools.small_data import STUDENT, save_scan, save_weights
from tools.chain import BUNDLES
from tools.quick_imports import FOR_TRAINING, quick_imports

# As `python -m tools`, and then the modules that it leaves.
RUN = """
import json, runpy, sys
try:
    runpy.run_module("tools", run_name="__main__", alter_sys=True)
finally:
    print(json.dumps([name for name, module in sys.modules.items() if module is not None]))
"""


def imported_by_predict(folder, *options: str) -> set[str]:
    """Modules that the command imports while it labels one scan."""
    save_weights(folder / "weights", STUDENT)
    save_scan(folder / "scans" / "0001_0000.nii.gz")
    command = [sys.executable, "-c", RUN, "predict", str(BUNDLES / "fine_seg"), str(folder / "scans")]
    command += [str(folder / "out"), "--weights", str(folder / "weights"), *options]
    done = subprocess.run(command, cwd=BUNDLES.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((folder / "out" / "manifest.json").read_text())["seconds"].keys() == {"0001"}
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_predict_imports_nothing_that_only_training_uses(tmp_path):
    imported = imported_by_predict(tmp_path)
    assert {"monai.bundle", "monai.handlers", "torch", "nibabel"} <= imported
    assert not imported & set(FOR_TRAINING)


def test_what_was_left_out_can_still_be_imported(tmp_path):
    assert "mlflow" in imported_by_predict(tmp_path, "--tracking", "mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'out' / 'mlruns.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("fine_seg").experiment_id])
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize(("command", "left_out"), [("predict", True), ("run", False), ("starter", False)])
def test_a_chain_that_begins_with_labeling_can_train_afterwards(command, left_out):
    """Resumed where scans were being labeled, it imports MONAI in `predict` first."""
    code = (
        "import importlib.machinery, sys, tools.quick_imports as q\n"
        "sys.modules['__main__'].__spec__ = importlib.machinery.ModuleSpec('tools.__main__', None)\n"
        "with q.quick_imports():\n    import monai.handlers\n"
        "from monai.handlers import MeanDice\nMeanDice(include_background=False)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, command], cwd=BUNDLES.parent, capture_output=True, text=True, check=False
    )
    assert (done.returncode != 0) == left_out, done.stderr


def test_no_other_process_leaves_anything_out():
    with quick_imports():
        assert all(sys.modules.get(name, sys) is not None for name in FOR_TRAINING)
    code = "import tools.quick_imports as q\nwith q.quick_imports():\n    import ignite, monai.handlers"
    subprocess.run([sys.executable, "-c", code], cwd=BUNDLES.parent, check=True)
