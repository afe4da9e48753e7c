"""A chain in MLflow: one run for the chain, below it one for each stage."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import mlflow
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from abdoseg.files import CaseError, write_json
from tools.chain import Stage

LONGEST_VALUE = 500


class Tracker:
    """Writes a chain and its stages into MLflow.

    Stages that train are recorded step by step by MONAI's handler, into the run that stands ready for them; the others
    get their parameters, duration and results. A chain that is started again goes on in its run.

    Parameters
    ----------
    where : "mlflow": ``WORK_DIR/mlruns.db``, or what MLFLOW_TRACKING_URI names; else the address of a server.
    chain : name of the chain; the experiment is called like it.
    work_dir : work folder of the chain; its name is that of the run.
    parameters : what the chain was started with.

    Raises
    ------
    CaseError
        If the server does not answer.
    """

    def __init__(self, where: str, chain: str, work_dir: Path, parameters: Mapping) -> None:
        # MONAI's handler lets the environment decide, too.
        named = os.environ.get("MLFLOW_TRACKING_URI") or (where if where != "mlflow" else None)
        self.uri = named or f"sqlite:///{work_dir / 'mlruns.db'}"
        self.experiment_name = chain
        work_dir.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(self.uri)
        self.client = mlflow.MlflowClient(self.uri)
        try:
            self.experiment = self._experiment(None if named else (work_dir / "mlruns").as_uri())
            self.run_id = self._run(work_dir)
        except mlflow.MlflowException as error:
            raise CaseError(f"MLflow at {self.uri}: {str(error).splitlines()[0]}") from error
        self._log_parameters(self.run_id, parameters)

    def _experiment(self, artifacts: str | None) -> str:
        found = self.client.get_experiment_by_name(self.experiment_name)
        if found is not None:
            return found.experiment_id
        return self.client.create_experiment(self.experiment_name, artifact_location=artifacts)

    def _run(self, work_dir: Path) -> str:
        """Run of the chain: the one that ``WORK_DIR/mlflow.json`` names, if this MLflow has it, else a new one."""
        note = work_dir / "mlflow.json"
        before = json.loads(note.read_text()) if note.exists() else {}
        if before.get("tracking_uri") == self.uri:
            with suppress(mlflow.MlflowException):  # that database is gone
                self.client.update_run(before["run_id"], status="RUNNING")
                self._close_killed(before["run_id"])
                return before["run_id"]
        run_id = self.client.create_run(self.experiment, run_name=work_dir.name).info.run_id
        write_json(note, {"tracking_uri": self.uri, "run_id": run_id})
        return run_id

    def _close_killed(self, run_id: str) -> None:
        below = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}' and attributes.status = 'RUNNING'"
        for run in self.client.search_runs([self.experiment], below):
            self.client.set_terminated(run.info.run_id, "KILLED")

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, _kind, error: BaseException | None, _trace) -> None:
        self.client.set_terminated(self.run_id, _status(error))

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[dict]:
        """Run of a stage, open within the block; gives MONAI's tracking settings, which name that run."""
        # MONAI looks for an unfinished run of this name in the experiment, which other chains may share.
        name = f"{stage.name} {self.run_id[:6]}"
        tags = {MLFLOW_PARENT_RUN_ID: self.run_id, "stage": stage.name, "bundle": stage.bundle or ""}
        run_id = self.client.create_run(self.experiment, run_name=name, tags=tags).info.run_id
        self._log_parameters(run_id, stage.arguments)
        try:
            yield {"tracking_uri": self.uri, "experiment_name": self.experiment_name, "run_name": name}
            self._log_outputs(run_id, stage)
        except BaseException as error:
            self.client.set_terminated(run_id, _status(error))
            raise
        self.client.set_terminated(run_id)

    def _log_outputs(self, run_id: str, stage: Stage) -> None:
        """Results of a tool's stage; the report and the figures also belong to the chain."""
        if not stage.tool:
            return
        for path in map(Path, stage.outputs):
            self.client.log_artifact(run_id, str(path))
            if stage.tool == "evaluate":
                self._log_figures(run_id, _read(path)["summary"])
            elif stage.tool == "report" and path.name == "index.html":
                self.client.log_artifacts(self.run_id, str(path.parent), "report")
            elif stage.tool == "report":
                self.client.log_artifact(self.run_id, str(path))
                for arm, figures in _read(path)["arms"].items():
                    self._log_figures(self.run_id, figures, f"{arm}/")

    def _log_figures(self, run_id: str, figures: Mapping, prefix: str = "") -> None:
        for name, value in figures.items():
            if isinstance(value, Mapping):
                self._log_figures(run_id, value, f"{prefix}{name}/")
            elif isinstance(value, int | float):
                self.client.log_metric(run_id, f"{prefix}{name}", float(value))

    def _log_parameters(self, run_id: str, parameters: Mapping) -> None:
        known = self.client.get_run(run_id).data.params
        for name, value in parameters.items():
            name = name.replace("#", ".")
            if name not in known:  # those of a run cannot be changed
                self.client.log_param(run_id, name, str(value)[:LONGEST_VALUE])


def _read(path: Path) -> dict:
    return json.loads(path.read_text())


def _status(error: BaseException | None) -> str:
    if error is None:
        return "FINISHED"
    return "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
