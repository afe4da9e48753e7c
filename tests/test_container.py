"""The container without an engine: what the Dockerfile promises, and predict.sh on what the image would hold."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.tools.small_data import AFFINE, SHAPE, STUDENT, save_scan, save_weights

ROOT = Path(__file__).parents[1]
NOBODY = 65534


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with their arguments on one line."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def arguments(name: str) -> list[str]:
    return [argument for instruction, argument in instructions() if instruction == name]


def copies() -> list[tuple[str, str]]:
    """(source, destination folder or file) of all COPYs."""
    return [(source, words[-1]) for words in map(str.split, arguments("COPY")) for source in words[:-1]]


def is_ignored(path: Path) -> bool:
    """Whether .dockerignore keeps a path of the repository out: the last pattern that fits it or a parent decides."""
    ignored = False
    names = [str(path), *(str(parent) for parent in path.parents if parent != Path())]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and any(fits(name, pattern) for name in names):
            ignored = not line.startswith("!")
    return ignored


def fits(name: str, pattern: str) -> bool:
    """Docker's rule: * does not pass a slash, a leading **/ passes any number of folders."""
    if pattern.startswith("**/"):
        return fnmatch.fnmatchcase(Path(name).name, pattern[3:])
    parts, wanted = Path(name).parts, Path(pattern).parts
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def test_the_base_and_torch_are_pinned_as_in_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (base,) = arguments("FROM")
    version = re.fullmatch(r"python:(3\.\d+)\.\d+-slim-\w+", base)[1]
    assert project["requires-python"].startswith(f">={version},")
    torch = next(name for name in project["dependencies"] if name.startswith("torch=="))
    installs = [step for line in arguments("RUN") for step in line.split("&&") if "pip install" in step]
    assert installs
    for step in installs:
        assert f'"{torch}"' in step
        assert "--no-cache-dir" in step
    assert any('".[dicom]"' in step or "-e .[dicom]" in step for step in installs)
    assert all(re.match(r"[\w-]+==", name) for name in project["optional-dependencies"]["dicom"])


def test_it_runs_without_root_and_without_network():
    order = [name for name, _ in instructions()]
    assert arguments("USER") == ["abdoseg"]
    assert set(order[order.index("USER") + 1 :]) == {"CMD"}
    assert any(re.search(r"useradd .*--uid [1-9]\d* .*abdoseg$", line) for line in arguments("RUN"))
    assert any("chown abdoseg inputs outputs" in line for line in arguments("RUN"))
    assert "ADD" not in order
    assert arguments("WORKDIR") == ["/workspace"]
    assert json.loads(arguments("CMD")[0]) == ["sh", "predict.sh"]
    for word in ("pip", "curl", "wget", "http", "apt", "git"):
        assert not re.search(rf"\b{word}\b", (ROOT / "predict.sh").read_text())


def test_the_image_gets_what_it_copies_and_nothing_private():
    for source, _ in copies():
        assert (ROOT / source).exists()
        assert not is_ignored(Path(source))
    assert not is_ignored(Path("bundles/fine_seg/models/model.pt"))
    for name in (".git/config", ".venv/bin/python", "runs/demo/results.json", "tests/test_container.py", "mlruns.db"):
        assert is_ignored(Path(name))
    for name in ("abdoseg/__pycache__/labels.pyc", "bundles/fine_seg/eval/0001.nii.gz", "data/0001_0000.nii.gz"):
        assert is_ignored(Path(name))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """The image's /workspace, made by the Dockerfile's COPYs alone."""
    folder = tmp_path_factory.mktemp("image") / "workspace"

    def ignore(parent, names):
        return [name for name in names if is_ignored((Path(parent) / name).relative_to(ROOT))]

    for source, destination in copies():
        target = folder / destination
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=ignore, dirs_exist_ok=True)
        else:
            target = target / Path(source).name if destination.endswith("/") else target
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, target)
    shutil.rmtree(folder / "bundles" / "fine_seg" / "models")
    save_weights(folder / "bundles" / "fine_seg" / "models", STUDENT)
    return folder


def run(workspace: Path, inputs: Path, outputs: Path, *options: str, **settings) -> subprocess.CompletedProcess:
    environment = {**os.environ, "INPUTS": str(inputs), "OUTPUTS": str(outputs), "PYTHON": sys.executable}
    command = [*settings.pop("within", ()), "sh", "predict.sh", *options]
    return subprocess.run(
        command, cwd=workspace, env=environment, capture_output=True, text=True, timeout=120, **settings
    )


def without_network() -> list[str]:
    """Command that takes the network away, where this machine lets one."""
    cut = ["unshare", "--net"]
    works = shutil.which("unshare") and subprocess.run([*cut, "true"], capture_output=True).returncode == 0
    return cut if works else []


def test_a_folder_of_scans_becomes_a_folder_of_label_maps(workspace, tmp_path):
    save_scan(tmp_path / "inputs" / "FLARE23Ts_0001_0000.nii.gz")
    (tmp_path / "inputs" / "FLARE23Ts_0002_0000.nii.gz").write_text("no scan")
    (tmp_path / "outputs").mkdir()
    done = run(workspace, tmp_path / "inputs", tmp_path / "outputs", "--margin_mm", "10", within=without_network())
    assert done.returncode == 1, done.stderr
    assert f"weights: {workspace}/bundles/fine_seg/models/model.pt" in done.stdout
    assert "FLARE23Ts_0002_0000.nii.gz: cannot be read" in done.stdout
    assert sorted(os.listdir(tmp_path / "outputs")) == ["FLARE23Ts_0001.nii.gz", "manifest.json"]
    label = nib.load(tmp_path / "outputs" / "FLARE23Ts_0001.nii.gz")
    assert (label.shape, label.get_data_dtype()) == (SHAPE, np.uint8)
    np.testing.assert_allclose(label.affine, AFFINE, atol=1e-4)


@pytest.fixture
def open_folder():
    """A folder that any user may enter, with predict.sh in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copy(ROOT / "predict.sh", folder)
        (folder / "inputs").mkdir()
        (folder / "inputs" / "0001_0000.nii.gz").write_text("a scan")
        (folder / "outputs").mkdir(mode=0o555)
        yield folder


def test_outputs_that_cannot_be_written_are_named_with_the_user(open_folder):
    user = {"user": NOBODY} if os.geteuid() == 0 else {}
    done = run(open_folder, open_folder / "inputs", open_folder / "outputs", **user)
    assert done.returncode == 2
    number = NOBODY if user else os.geteuid()
    assert done.stderr == (
        f"error: {open_folder}/outputs cannot be written by user {number}; make it writable, "
        "or start the container with --user $(id -u).\n"
    )


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ("nowhere", "outputs", "nowhere is no folder; mount the folder of scans there: -v /path/to/scans:"),
        ("empty", "outputs", r"empty is empty; put scans \(\.nii\.gz\) or folders of DICOM series there\."),
        ("predict.sh", "outputs", "predict.sh is no folder"),
        ("inputs", "predict.sh", "predict.sh is no folder and cannot be made; mount one there: -v "),
    ],
)
def test_folders_that_are_not_there_are_named_in_one_sentence(inputs, outputs, words, open_folder):
    (open_folder / "empty").mkdir()
    done = run(open_folder, open_folder / inputs, open_folder / outputs)
    assert done.returncode == 2
    assert re.fullmatch(rf"error: {open_folder}/{words}.*\n", done.stderr)
    assert done.stdout == ""
