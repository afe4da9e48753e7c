"""A MONAI Label server of packed tiny bundles on loopback, and the client's side of its REST interface."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import requests

from tests.bundles.tiny import REPOSITORY

ENVIRONMENT = REPOSITORY / ".venv-label"
START_SECONDS = 300
ANSWER_SECONDS = 300


class Server:
    """The server that ``python -m tools serve`` starts; ``close`` ends it.

    Parameters
    ----------
    bundles : folder of zips.
    studies : folder of scans, which the server adds labels to.
    work : its work folder.
    """

    def __init__(self, bundles: Path, studies: Path, work: Path) -> None:
        self.studies, self.models, self.log = studies, work / "app" / "model", work.with_suffix(".log")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        options = {"bundles": bundles, "studies": studies, "work_dir": work, "port": port, "environment": ENVIRONMENT}
        # Its bundles are shortened, hence no more what this repository trusts by itself.
        command = [sys.executable, "-m", "tools", "serve", "--trust"]
        command += [text for name, value in options.items() for text in (f"--{name}", str(value))]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MONAI"))}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env={**kept, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                answer = requests.get(f"{self.address}/info/", timeout=60)
            except requests.ConnectionError:
                time.sleep(0.5)
                continue
            if answer.ok:
                return
            break
        self.close()
        raise AssertionError(f"the server does not start; {self.told()}")

    def told(self) -> str:
        """End of what the server has printed."""
        return self.log.read_text()[-8000:]

    def close(self) -> None:
        """End the server with the trainings that it has started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ask(self, method: str, path: str, **options) -> requests.Response:
        """Answer to a request, which must succeed."""
        answer = requests.request(method, f"{self.address}{path}", timeout=ANSWER_SECONDS, **options)
        assert answer.ok, f"{path}: {answer.status_code} {answer.text[-500:]}\n{self.told()}"
        return answer

    def info(self) -> dict:
        return self.ask("GET", "/info/").json()

    def infer(self, model: str, image: str, target: Path, **params) -> nib.Nifti1Image:
        """Label map of a scan, as the server sends it."""
        query = {"image": image, "output": "image"}
        answer = self.ask("POST", f"/infer/{model}", params=query, data={"params": json.dumps(params)})
        target.write_bytes(answer.content)
        return nib.load(target)

    def save_label(self, image: str, label: Path) -> None:
        """Save what a person has corrected."""
        with label.open("rb") as file:
            self.ask(
                *("PUT", "/datastore/label"),
                params={"image": image, "tag": "final"},
                data={"params": "{}"},
                files={"label": file},
            )

    def train(self, model: str, **params) -> dict:
        """Train and wait for the end; gives what the server tells of it."""
        self.ask("POST", f"/train/{model}", json=params)
        deadline = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < deadline:
            state = self.ask("GET", "/train/").json()
            if state["status"] not in ("SUBMITTED", "RUNNING"):
                return state
            time.sleep(0.5)
        raise AssertionError(f"{model} trains for more than {ANSWER_SECONDS} s; {self.told()}")
