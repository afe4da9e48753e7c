"""Test the papers' claims on phantoms: the same budget for every arm, several seeds, two difficulties."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from abdoseg.files import CaseError, atomic_path, glob, write_json
from tools.study_figure import study_figure
from tools.study_table import check_claims, collect_study, format_study

DEFINITION = Path(__file__).with_name("study.yaml")
MARKERS = "<!-- study -->\n", "\n<!-- /study -->"


def study(
    work_dir: str = "runs/study", definition: str | None = None, document: str | None = None, workers: int = 1
) -> dict:
    """Run every arm on every data set of the study, and set the outcome beside the papers' figures.

    Each difficulty and seed is a phantom data set with chains of its own in WORK_DIR/d0.0_s1 and so on (`log.txt` in it
    tells how far it is): paper A's students trained directly on the weak labels, with and without the masked loss; the
    teacher; the student of merged labels; paper B's cascade with and without unlabeled scans. Started again, the study
    does what is missing. A set that fails is named, the others go on; there is no outcome until all are there.

    It writes study.json (means, intervals, verdicts, seconds), study.md (the tables) and study.png.

    Args:
        work_dir: Folder for all data sets, weights and results; 1 GB with the study's own definition.
        definition: YAML file of difficulties, seeds, arms and claims; tools/study.yaml if left out.
        document: Markdown file to update: the tables take the place of what stands between its lines
            "<!-- study -->" and "<!-- /study -->", and the picture is written beside it as study.png.
        workers: Data sets in work at once; the processor's threads are shared among them. With two cores, two data
            sets of one thread each are done sooner than one after the other.
    """
    path = Path(definition) if definition else DEFINITION
    if not path.is_file():
        raise CaseError(f"{path}: there is no such definition of a study; copy {DEFINITION} and change it.")
    if document and MARKERS[0] not in Path(document).read_text():
        raise CaseError(f"{document}: has no line '{MARKERS[0].strip()}' after which the tables could be written.")
    if workers < 1:
        raise CaseError(f"--workers is {workers}; use 1 or more.")
    content = yaml.safe_load(path.read_text())
    check_claims(content, path)
    root = Path(work_dir).absolute()
    sets = {
        difficulty: {seed: root / f"d{difficulty}_s{seed}" for seed in content["seeds"]}
        for difficulty in content["difficulties"]
    }
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    pool = ThreadPoolExecutor(workers)
    try:
        jobs = {
            folder.name: pool.submit(_run_set, folder, content, difficulty, seed, threads)
            for difficulty, folders in sets.items()
            for seed, folder in folders.items()
        }
        failed = {name: str(job.exception()) for name, job in jobs.items() if job.exception()}
    finally:
        pool.shutdown(cancel_futures=True)
    for name, reason in failed.items():
        print(f"failed: {name}: {reason}")
    if failed:
        return {"failed": failed}
    outcome = collect_study(content, {difficulty: list(folders.values()) for difficulty, folders in sets.items()})
    seconds = {folder.name: _seconds(folder) for folders in sets.values() for folder in folders.values()}
    write_json(root / "study.json", {"definition": content, "outcome": outcome, "seconds": seconds})
    tables, picture = format_study(content, outcome), study_figure(content, outcome)
    _write(root / "study.md", tables.encode())
    _write(root / "study.png", picture)
    print(tables)
    print(f"{sum(seconds.values()) / 60:.0f} minutes of stages; figures: {root / 'study.json'}")
    if document:
        text = Path(document).read_text()
        before, _, rest = text.partition(MARKERS[0])
        _, end, after = rest.partition(MARKERS[1])
        _write(Path(document), f"{before}{MARKERS[0]}{tables}{end or MARKERS[1]}{after}".encode())
        _write(Path(document).with_name("study.png"), picture)
    return {"study": str(root / "study.json")}


def _run_set(folder: Path, content: Mapping, difficulty: float, seed: int, threads: str) -> None:
    """Make one data set and run its chains; CaseError that names the log if one of them cannot go on."""
    phantom = {"output_dir": str(folder / "data"), "difficulty": difficulty, "seed": seed, **content["phantom"]}
    commands = [["phantom", *_options(phantom)]]
    for chain in content["chains"]:
        options = {"data_dir": str(folder / "data"), "work_dir": str(folder), "preset": "demo", "seed": seed}
        commands.append(["run", chain["chain"], *_options(options | chain.get("parameters", {}))])
    folder.mkdir(parents=True, exist_ok=True)
    log_file = folder / "log.txt"
    for command in commands:
        title, start = f"{folder.name}: {' '.join(command[: 1 + (command[0] == 'run')])}", time.monotonic()
        print(f"{title} ...", flush=True)
        with log_file.open("a") as log:
            code = subprocess.run(
                [sys.executable, "-m", "tools.attached", *command],  # no orphan holds the folder of a killed study
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": threads},
                check=False,
            ).returncode
        if code not in (0, 1):
            last = log_file.read_text(errors="replace").replace("\r", "\n").strip().splitlines()[-1:]
            raise CaseError(f"{title} ended with code {code}, see {log_file}: {' '.join(last)}")
        print(f"{title}: {time.monotonic() - start:.0f} s", flush=True)


def _options(values: Mapping) -> list[str]:
    return [text for name, value in values.items() for text in (f"--{name}", _text(value))]


def _text(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _seconds(folder: Path) -> float:
    manifests = (json.loads(path.read_text()) for path in glob(folder / "manifests", "*.json"))
    return sum(manifest.get("seconds", 0.0) for manifest in manifests)


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
