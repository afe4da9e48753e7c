"""Chains and predictions in MLflow: one run for a chain, below it one for each stage; one for a call of predict."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import mlflow
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from abdoseg.files import CaseError, atomic_path, first_line, write_json
from tools.chain import Stage

LONGEST_VALUE = 500


class Store:
    """One experiment in an MLflow database or on a server.

    Parameters
    ----------
    where : "mlflow": ``FOLDER/mlruns.db``, or what MLFLOW_TRACKING_URI names; else the address of a server.
    folder : where database and artifacts lie, if no server is named.
    experiment : its name.

    Raises
    ------
    CaseError
        If the server does not answer.
    """

    def __init__(self, where: str, folder: Path, experiment: str) -> None:
        folder = folder.absolute()
        # MONAI's handler lets the environment decide, too.
        named = os.environ.get("MLFLOW_TRACKING_URI") or (where if where != "mlflow" else None)
        database = folder / "mlruns.db"
        self.uri = named or f"sqlite:///{database}"
        self.experiment_name = experiment
        folder.mkdir(parents=True, exist_ok=True)
        if not named and not database.exists():
            # MLflow makes its tables in seconds, one change after the other, and cannot go on where it was killed.
            with atomic_path(database) as temporary:
                mlflow.MlflowClient(f"sqlite:///{temporary}")
        mlflow.set_tracking_uri(self.uri)
        self.client = mlflow.MlflowClient(self.uri)
        with self.named_faults():
            self.experiment = self._experiment(None if named else (folder / "mlruns").as_uri())

    def _experiment(self, artifacts: str | None) -> str:
        found = self.client.get_experiment_by_name(self.experiment_name)
        if found is not None:
            return found.experiment_id
        return self.client.create_experiment(self.experiment_name, artifact_location=artifacts)

    @contextmanager
    def named_faults(self) -> Iterator[None]:
        """Raise what MLflow raises within the block as a CaseError that names the place."""
        try:
            yield
        except mlflow.MlflowException as error:
            raise CaseError(f"MLflow at {self.uri}: {first_line(error)}.") from error

    def log_parameters(self, run_id: str, parameters: Mapping) -> None:
        known = self.client.get_run(run_id).data.params
        for name, value in parameters.items():
            name = name.replace("#", ".")
            if name not in known:  # those of a run cannot be changed
                self.client.log_param(run_id, name, str(value)[:LONGEST_VALUE])

    def log_figures(self, run_id: str, figures: Mapping, prefix: str = "") -> None:
        for name, value in figures.items():
            if isinstance(value, Mapping):
                self.log_figures(run_id, value, f"{prefix}{name}/")
            elif isinstance(value, int | float):
                self.client.log_metric(run_id, f"{prefix}{name}", float(value))

    def log_prediction(self, run_id: str, output: Path) -> None:
        """Log what `predict` tells of a folder of label maps: its manifest, counts, and seconds a scan."""
        path = output / "manifest.json"
        seconds, failed = (_read(path)[name] for name in ("seconds", "failed"))
        mean = {"seconds": sum(seconds.values()) / len(seconds)} if seconds else {}
        self.log_figures(run_id, {"labeled": len(seconds), "failed": len(failed), **mean})
        self.client.log_artifact(run_id, str(path))

    @contextmanager
    def open(self, run_id: str) -> Iterator[None]:
        """A run that ends with the block, as the block ends."""
        try:
            yield
        except BaseException as error:
            self.client.set_terminated(run_id, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        self.client.set_terminated(run_id)


@contextmanager
def tracked_prediction(where: str, bundle: str, output: Path, parameters: Mapping) -> Iterator[None]:
    """A run of `predict`, in the experiment of its bundle; what it left in ``output`` is logged at its end."""
    store = Store(where, output, bundle)
    with store.named_faults():
        run_id = store.client.create_run(store.experiment, run_name=output.absolute().name).info.run_id
        with store.open(run_id):
            store.log_parameters(run_id, parameters)
            yield
            store.log_prediction(run_id, output)


class Tracker:
    """Writes a chain and its stages into MLflow.

    Stages that train are recorded step by step by MONAI's handler, into the run that stands ready for them; the others
    get their parameters, duration and results. A chain that is started again goes on in its run.

    Parameters
    ----------
    where : see `Store`.
    chain : name of the chain; the experiment is called like it.
    work_dir : work folder of the chain; its name is that of the run.
    parameters : what the chain was started with.

    Raises
    ------
    CaseError
        If the server does not answer.
    """

    def __init__(self, where: str, chain: str, work_dir: Path, parameters: Mapping) -> None:
        self.store = Store(where, work_dir, chain)
        self.client = self.store.client
        with self.store.named_faults():
            self.run_id = self._run(work_dir)
            self.store.log_parameters(self.run_id, parameters)

    def _run(self, work_dir: Path) -> str:
        """Run of the chain: the one that ``WORK_DIR/mlflow.json`` names, if this MLflow has it, else a new one."""
        note = work_dir / "mlflow.json"
        before = json.loads(note.read_text()) if note.exists() else {}
        if before.get("tracking_uri") == self.store.uri:
            with suppress(mlflow.MlflowException):  # that database is gone
                self.client.update_run(before["run_id"], status="RUNNING")
                self._close_killed(before["run_id"])
                return before["run_id"]
        run_id = self.client.create_run(self.store.experiment, run_name=work_dir.name).info.run_id
        write_json(note, {"tracking_uri": self.store.uri, "run_id": run_id})
        return run_id

    def _close_killed(self, run_id: str) -> None:
        below = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}' and attributes.status = 'RUNNING'"
        for run in self.client.search_runs([self.store.experiment], below):
            self.client.set_terminated(run.info.run_id, "KILLED")

    @contextmanager
    def chain(self) -> Iterator["Tracker"]:
        """The chain's run, which ends with the block."""
        with self.store.named_faults(), self.store.open(self.run_id):
            yield self

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[dict]:
        """Run of a stage, open within the block; gives MONAI's tracking settings, which name that run."""
        # MONAI looks for an unfinished run of this name in the experiment, which other chains may share.
        name = f"{stage.name} {self.run_id[:6]}"
        tags = {MLFLOW_PARENT_RUN_ID: self.run_id, "stage": stage.name, "bundle": stage.bundle or ""}
        with self.store.named_faults():
            run_id = self.client.create_run(self.store.experiment, run_name=name, tags=tags).info.run_id
            self.store.log_parameters(run_id, stage.arguments)
            with self.store.open(run_id):
                yield {"tracking_uri": self.store.uri, "experiment_name": self.store.experiment_name, "run_name": name}
                self._log_outputs(run_id, stage)

    def _log_outputs(self, run_id: str, stage: Stage) -> None:
        """Results of a tool's stage; the report, the figures and the packed bundle also belong to the chain."""
        if stage.tool == "predict":
            self.store.log_prediction(run_id, Path(stage.arguments["output"]))
        if not stage.tool:
            return
        for path in map(Path, stage.outputs):
            if stage.tool == "pack":
                for archive in path.glob(f"{stage.bundle}_v*.zip"):
                    self.client.log_artifact(self.run_id, str(archive), "bundles")
                continue
            self.client.log_artifact(run_id, str(path))
            if stage.tool == "evaluate":
                self.store.log_figures(run_id, _read(path)["summary"])
            elif stage.tool == "report" and path.name == "index.html":
                self.client.log_artifacts(self.run_id, str(path.parent), "report")
            elif stage.tool == "report":
                self.client.log_artifact(self.run_id, str(path))
                for arm, figures in _read(path)["arms"].items():
                    self.store.log_figures(self.run_id, figures, f"{arm}/")


def _read(path: Path) -> dict:
    return json.loads(path.read_text())
