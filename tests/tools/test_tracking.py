"""Chains in MLflow: their runs, figures and files, in a database and on a server."""

import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import mlflow
import pytest
import yaml
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from abdoseg.files import CaseError
from tests.tools.small_data import ORGANS, one_training, save_data_set
from tools.__main__ import main
from tools.run import run


def score_chain(folder) -> list[str]:
    """A chain that scores the truth of two scans against itself, and the options of `run`."""
    data = save_data_set(folder / "data", [], testing=2)
    stage = {
        "name": "score",
        "tool": "evaluate",
        "arguments": {
            "predictions": "{data_dir}/truth",
            "references": "{data_dir}/truth",
            "output": "{work_dir}/own.json",
        },
        "outputs": ["{work_dir}/own.json"],
    }
    (folder / "own.yaml").write_text(yaml.safe_dump({"stages": [stage]}))
    return [str(folder / "own.yaml"), str(data), str(folder / "work")]


def chain_run(uri: str, experiment: str) -> tuple[mlflow.MlflowClient, mlflow.entities.Run, list]:
    """The one run of a chain, and those of its stages, first one first."""
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id], order_by=["start_time"])
    (parent,) = [item for item in runs if MLFLOW_PARENT_RUN_ID not in item.data.tags]
    stages = [item for item in runs if item is not parent]
    assert {item.data.tags[MLFLOW_PARENT_RUN_ID] for item in stages} == {parent.info.run_id}
    return client, parent, stages


@pytest.fixture(autouse=True)
def no_server_named(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_a_chain_is_a_run_and_its_stages_are_runs_below_it(tmp_path):
    arguments, work = score_chain(tmp_path), tmp_path / "work"
    run(*arguments, tracking="mlflow")
    client, parent, (stage,) = chain_run(f"sqlite:///{work}/mlruns.db", "own")
    assert (parent.info.run_name, parent.info.status) == ("work", "FINISHED")
    assert parent.data.params["data_dir"] == arguments[1]
    assert re.fullmatch("score [0-9a-f]{6}", stage.info.run_name)
    assert stage.info.status == "FINISHED"
    assert stage.data.params["output"] == str(work / "own.json")
    assert stage.data.metrics["organ_mean_dsc"] == 1
    assert stage.data.metrics["classes/liver/n"] == 2
    assert [file.path for file in client.list_artifacts(stage.info.run_id)] == ["own.json"]
    assert list((work / "mlruns").rglob("own.json")), "the artifacts lie in the work folder"


def test_a_chain_that_is_started_again_goes_on_in_its_run(tmp_path):
    arguments, uri = score_chain(tmp_path), f"sqlite:///{tmp_path}/work/mlruns.db"
    broken = tmp_path / "data" / "truth"
    broken.rename(tmp_path / "aside")
    with pytest.raises(CaseError, match="Stage score"):
        run(*arguments, tracking="mlflow")
    _, before, (failed,) = chain_run(uri, "own")
    assert (before.info.status, failed.info.status) == ("FAILED", "FAILED")
    # What a killed process leaves behind: a run of a stage that nobody ended.
    mlflow.MlflowClient(uri).update_run(failed.info.run_id, status="RUNNING")
    (tmp_path / "aside").rename(broken)
    run(*arguments, tracking="mlflow")
    _, after, stages = chain_run(uri, "own")
    assert (after.info.run_id, after.info.status) == (before.info.run_id, "FINISHED")
    assert [stage.info.status for stage in stages] == ["KILLED", "FINISHED"]
    run(*arguments, tracking="mlflow")
    assert len(chain_run(uri, "own")[2]) == 2, "what is done already is not recorded again"


def test_a_server_that_does_not_answer_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(CaseError, match=r"MLflow at http://127\.0\.0\.1:9: "):
        run(*score_chain(tmp_path), tracking="http://127.0.0.1:9")


@pytest.fixture
def server(tmp_path):
    """Address of a real MLflow server on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    command += ["--artifacts-destination", str(tmp_path / "files")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_a_server_gets_the_curves_of_a_training(tmp_path, server):
    arguments = one_training(tmp_path, [ORGANS] * 3, {"max_epochs": 2})
    assert main(["run", *arguments, f"--tracking={server}"]) == 0
    client, parent, (stage,) = chain_run(server, "one")
    assert parent.info.status == stage.info.status == "FINISHED"
    assert stage.data.tags["bundle"] == "coarse_seg"
    assert stage.data.params["max_epochs"] == "2"
    assert len(client.get_metric_history(stage.info.run_id, "train_loss")) == 6
    assert "executed_config.json" in [file.path for file in client.list_artifacts(stage.info.run_id)]
