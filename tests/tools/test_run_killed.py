"""A chain that is killed between two of its writes."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from tools.chain import Manifests, Stage
from tools.run import missing_stages

ROOT = Path(__file__).parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from tools.chain import Stage
from tools.run import run_stages

def end(event, arguments):
    if event == "os.rmdir":  # the files in the folder are gone
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(end)
root = Path(sys.argv[1])
run_stages([Stage("label", "predict", arguments={"seed": 1}, state=(str(root / "labels"),))], "data", root)
"""


def test_what_a_killed_chain_was_removing_is_not_taken_for_done(tmp_path):
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "0001.nii.gz").touch()
    earlier = Stage("label", "predict", arguments={"seed": 0}, state=(str(labels),))
    key = earlier.key({}, "data")
    Manifests(tmp_path).write("label", {"key": key, "status": "done"})
    assert missing_stages([earlier], "data", tmp_path) == []
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list(labels.iterdir()) == []
    later = replace(earlier, arguments={"seed": 1})
    for stage in (earlier, later):
        assert missing_stages([stage], "data", tmp_path) == [stage]
        assert Manifests(tmp_path).read("label")["key"] != stage.key({}, "data"), "it would go on with what is left"
