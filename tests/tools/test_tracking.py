"""Chains in MLflow: their runs, figures and files, in a database and on a server."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, nullcontext
from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from abdoseg.files import CaseError
from tests.bundles.test_multi_gpu import train_with_two_processes
from tests.bundles.tiny import NETWORK_BUNDLES, copy_tiny, name_of, workflow, write_cases
from tests.bundles.tiny import run as run_bundle
from tests.tools.small_data import ORGANS, STUDENT, one_training, save_data_set, save_scan, save_weights
from tools.__main__ import main
from tools.chain import BUNDLES
from tools.pipeline import load_pipeline
from tools.predict import predict
from tools.run import missing_stages, run, run_stages
from tools.tracking import Store
from tools.verify import verify


def score_chain(folder) -> list[str]:
    """A chain that scores the truth of two scans against itself, and the options of `run`."""
    data = save_data_set(folder / "data", [ORGANS], testing=2)
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


def test_a_server_that_is_gone_when_a_stage_is_done_does_not_cost_its_result(tmp_path):
    class LostServer:
        @contextmanager
        def stage(self, stage):
            yield {}
            raise CaseError("MLflow at http://lost: no answer")

    chain, data, work = score_chain(tmp_path)
    stages = load_pipeline(chain, None, {"data_dir": data, "work_dir": work})
    with pytest.raises(CaseError, match="Stage score: MLflow at http://lost: no answer"):
        run_stages(stages, "data", Path(work), track=lambda: nullcontext(LostServer()))
    scored = (Path(work) / "own.json").stat().st_mtime_ns
    assert missing_stages(stages, "data", Path(work)) == []
    run_stages(stages, "data", Path(work))
    assert (Path(work) / "own.json").stat().st_mtime_ns == scored


def test_a_database_that_was_being_made_when_the_chain_was_stopped_is_made_anew(tmp_path, monkeypatch):
    def stopped(engine):
        raise KeyboardInterrupt

    monkeypatch.setattr("mlflow.store.db.utils._upgrade_db", stopped)
    with pytest.raises(KeyboardInterrupt):
        Store("mlflow", tmp_path, "chain")
    assert list(tmp_path.iterdir()) == []


def test_a_prediction_is_a_run_of_its_bundles_experiment(tmp_path):
    for name in ("a", "b"):
        save_scan(tmp_path / "in" / f"{name}_0000.nii.gz")
    (tmp_path / "in" / "c_0000.nii.gz").write_text("no scan")
    weights = save_weights(tmp_path / "weights", STUDENT)
    arguments = (str(BUNDLES / "fine_seg"), str(tmp_path / "in"), str(tmp_path / "out"), str(weights))
    predict(*arguments, tracking="mlflow", **{"inferer#margin_mm": 10})
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/out/mlruns.db")
    (recorded,) = client.search_runs([client.get_experiment_by_name("fine_seg").experiment_id])
    assert (recorded.info.run_name, recorded.info.status) == ("out", "FINISHED")
    assert recorded.data.params["input"] == arguments[1]
    assert recorded.data.params["inferer.margin_mm"] == "10"
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert recorded.data.params["sha256"] == manifest["sha256"]
    seconds = manifest["seconds"]
    mean = pytest.approx(sum(seconds.values()) / 2)
    assert recorded.data.metrics == {"labeled": 2, "failed": 1, "seconds": mean}
    assert [file.path for file in client.list_artifacts(recorded.info.run_id)] == ["manifest.json"]
    with pytest.raises(CaseError, match=r"Unknown tracking 'mlfow'\. Use 'mlflow', the address of a server"):
        predict(*arguments, tracking="mlfow", **{"inferer#margin_mm": 10})


def test_a_chain_keeps_its_predictions_scores_report_and_packed_bundle(tmp_path):
    data, work = save_data_set(tmp_path / "data", [ORGANS], testing=1), tmp_path / "work"
    weights = str(save_weights(tmp_path / "weights", STUDENT))
    predicting = {"input": "{data_dir}/validation", "output": "{work_dir}/labels", "weights": weights}
    truth, scores = "{data_dir}/truth", "{work_dir}/scores/student.json"
    scoring = {"predictions": truth, "references": truth, "output": scores}
    pages = ["{work_dir}/results.json", "{work_dir}/report/index.html"]
    packing = {"output": "{work_dir}/packed", "weights": weights, "scores": scores}
    auditing = {"data_dir": "{data_dir}", "output_dir": "{work_dir}/audit", "validation_cases": 0}
    stages = [
        {"name": "audit", "tool": "audit", "arguments": auditing},
        {"name": "label", "tool": "predict", "bundle": "fine_seg", "arguments": predicting},
        {"name": "score", "tool": "evaluate", "arguments": scoring, "outputs": [scores]},
        {"name": "report", "tool": "report", "arguments": {"work_dir": "{work_dir}"}, "outputs": pages},
        {"name": "pack", "tool": "pack", "bundle": "fine_seg", "arguments": packing, "outputs": ["{work_dir}/packed"]},
    ]
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"stages": stages}))
    run(str(tmp_path / "own.yaml"), str(data), str(work), tracking="mlflow")
    client, parent, (_, label, *_) = chain_run(f"sqlite:///{work}/mlruns.db", "own")
    assert (label.data.metrics["labeled"], label.data.metrics["failed"]) == (1, 0)
    assert [file.path for file in client.list_artifacts(label.info.run_id)] == ["manifest.json"]
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {"bundles", "report", "results.json"}
    assert parent.data.metrics["student/organ_mean_dsc"] == 1
    page = client.download_artifacts(parent.info.run_id, "report/index.html", str(tmp_path))
    assert Path(page).read_text() == (work / "report" / "index.html").read_text()
    (archive,) = client.list_artifacts(parent.info.run_id, "bundles")
    kept = client.download_artifacts(parent.info.run_id, archive.path, str(tmp_path))
    assert verify(kept)["bundle"] == "fine_seg"
    # `make ui` opens this database.
    command = ["make", "--dry-run", "ui", f"WORK={work}"]
    told = subprocess.run(command, cwd=BUNDLES.parent, capture_output=True, text=True, check=True).stdout
    assert f'mlflow ui --host 127.0.0.1 --backend-store-uri "sqlite:///{work}/mlruns.db"' in told


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


@pytest.mark.slow
@pytest.mark.parametrize("bundle", NETWORK_BUNDLES, ids=name_of)
def test_every_bundle_records_its_training_and_its_labeling_by_itself(bundle, tmp_path):
    (tmp_path / "cases").mkdir()
    datalist, copy = write_cases(tmp_path / "cases"), copy_tiny(bundle, tmp_path)
    run_bundle(workflow(copy, "train", datalist=str(datalist), tracking="mlflow"))
    client = mlflow.MlflowClient(f"sqlite:///{copy}/eval/mlruns.db")
    (experiment,) = (one for one in client.search_experiments() if one.name != "Default")
    (training,) = client.search_runs([experiment.experiment_id])
    assert training.info.status == "FINISHED"
    (first,) = client.get_metric_history(training.info.run_id, "train_loss")
    (row,) = map(json.loads, (copy / "eval" / "learning_curve.jsonl").read_text().splitlines())
    assert first.value == pytest.approx(row["loss"], abs=1e-5)
    (tmp_path / "scans").mkdir()
    shutil.copy(datalist.with_name("0001_0000.nii.gz"), tmp_path / "scans")
    scans = {"dataset_dir": str(tmp_path / "scans"), "output_dir": str(tmp_path / "out")}
    run_bundle(workflow(copy, "inference", **scans, tracking="mlflow"))
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/out/mlruns.db")
    (labeling,) = client.search_runs([client.get_experiment_by_name("monai_experiment").experiment_id])
    assert labeling.info.status == "FINISHED"


@pytest.mark.slow
def test_under_torchrun_the_first_process_alone_records(tmp_path):
    (tmp_path / "cases").mkdir()
    datalist, copy = write_cases(tmp_path / "cases"), copy_tiny(BUNDLES / "coarse_seg", tmp_path)
    train_with_two_processes(copy, datalist, tracking="mlflow", **{"train#trainer#max_epochs": 3})
    client = mlflow.MlflowClient(f"sqlite:///{copy}/eval/mlruns.db")
    experiments = [one.experiment_id for one in client.search_experiments()]
    (recorded,) = client.search_runs(experiments)
    assert recorded.info.status == "FINISHED"
    # Two cases in two processes are a step an epoch.
    assert [item.step for item in client.get_metric_history(recorded.info.run_id, "train_loss")] == [1, 2, 3]


def test_mlflow_reports_nothing_to_its_makers():
    code = (
        "from tools.__main__ import main; main(['--help'])\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled; print(is_telemetry_disabled())"
    )
    # Where it sees that a test or a CI job runs, it reports nothing anyway.
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=BUNDLES.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert told.stdout.splitlines()[-1:] == ["True"], told.stderr
