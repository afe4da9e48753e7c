"""A chain on several processes and machines: labels, merged labels, scores and what was set aside are those of one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from abdoseg.files import CaseError, glob
from tests.tools.shared_chain import chain_of
from tests.tools.small_data import FIVE, ORGANS, save_data_set
from tools.__main__ import main
from tools.chain import Stage
from tools.torchrun import Crew

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
WEAK = 8
LOST = "0005"
VICTIMS = ("0003", "0007")  # what the second of two processes may have labeled when it is killed


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Chain and data of a strong and eight weak cases, one of which is lost after the audit."""
    root = tmp_path_factory.mktemp("crew")
    data = save_data_set(root / "data", [ORGANS, *[FIVE, (14,)] * (WEAK // 2)])
    return ["run", str(chain_of(root)), f"--data_dir={data}"]


def after_audit(options: list[str], work: Path) -> list[str]:
    """Do the audit, then lose a scan as a disk does: its size and time, by which the chain knows it, stay."""
    options = [*options, f"--work_dir={work}"]
    data = Path(options[2].removeprefix("--data_dir="))
    path, kept = data / "imagesTr2200" / f"{LOST}_0000.nii.gz", data.parent / "kept.nii.gz"
    shutil.copy2(*((kept, path) if kept.exists() else (path, kept)))
    assert main([*options, "--only=audit"]) == 0
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return options


def start(log: Path, options: list[str], before: tuple = (), **environment) -> subprocess.Popen:
    """Start a command; what it prints goes to a file."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **environment}
    command = [*before, sys.executable, "-m", "tools", *options]
    with log.open("w") as output:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)


def contents(work: Path, folder: str) -> dict[str, bytes]:
    """Files of a folder, without what differs between two runs: the work folder's name, times of files, seconds.

    Hidden are the lock, and what a killed process was writing aside.
    """
    found = {}
    for path in (path for path in (work / folder).rglob("*") if path.is_file() and not path.name.startswith(".")):
        text = path.read_bytes()
        if path.suffix == ".json":
            content = json.loads(text.replace(str(work).encode(), b"WORK"))
            if "merged/summary/" in str(path):
                for status in content["inputs"].values():
                    del status["mtime_ns"]
            if path.name == "manifest.json":  # killed between writing a label map and saying so, it leaves no time
                content["seconds"] = sorted({*content["seconds"], *VICTIMS})
            text = json.dumps(content).encode()
        found[str(path.relative_to(work))] = text
    return found


def failed(work: Path) -> dict[str, dict]:
    manifests = {path.stem: json.loads(path.read_text()) for path in (work / "manifests").iterdir()}
    assert {manifest["status"] for manifest in manifests.values()} == {"done"}
    text = json.dumps({name: manifest["failed"] for name, manifest in manifests.items()}, sort_keys=True)
    return json.loads(text.replace(str(work), "WORK"))


def check_same(work: Path, alone: Path) -> None:
    for folder in ("labels", "merged"):
        assert contents(work, folder) == contents(alone, folder)
    expected = failed(alone)
    assert failed(work) == {name: expected[name] for name in failed(work)}


@pytest.fixture(scope="module")
def alone(options, tmp_path_factory):
    """Work folder of one process."""
    work = tmp_path_factory.mktemp("alone") / "work"
    assert main(after_audit(options, work)) == 1
    assert sorted(path.name for path in (work / "labels").glob("*.nii.gz")) == [
        f"{number:04}.nii.gz" for number in range(2, WEAK + 2) if f"{number:04}" != LOST
    ]
    assert set(failed(work)["label"]) == set(failed(work)["merge"]) == {LOST}
    assert set(failed(work)["score"]) == {"0001", LOST}
    return work


def below(process: int) -> list[int]:
    """All processes that a process has started, and those that these have."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [number for child in map(int, children) for number in (child, *below(child))]


def lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def rank_one(process: int) -> int:
    """Process that torchrun, somewhere below a process, started as the second of its two."""
    for number in below(process):
        if b"RANK=1" in Path(f"/proc/{number}/environ").read_bytes().split(b"\0"):
            return number
    raise LookupError(f"{process} has started no second process.")


def inodes(work: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in glob(work / "labels", "*.nii.gz")}


def wait_until(reached, process: subprocess.Popen, log: Path) -> None:
    while not reached():
        assert process.poll() is None, log.read_text()
        time.sleep(0.002)


@pytest.fixture(scope="module")
def two(options, tmp_path_factory):
    """Work folder of two processes, and what the command said.

    One of them is killed while they label, and later the command itself while they merge; a second one does the rest.
    """
    work = tmp_path_factory.mktemp("two") / "work"
    command, log = [*after_audit(options, work), "--nproc_per_node=2"], work.parent / "log.txt"
    with start(log, command) as first:
        wait_until((work / "labels" / "0003.nii.gz").exists, first, log)  # the second process has labeled a scan
        victim = rank_one(first.pid)
        os.kill(victim, signal.SIGSTOP)
        wait_until((work / "labels" / "0008.nii.gz").exists, first, log)  # the first process has labeled its last
        before = inodes(work)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: "[3/5] merge ..." in log.read_text() and len(below(first.pid)) >= 3, first, log)
        orphans = below(first.pid)
        first.send_signal(signal.SIGKILL)
    assert 4 < len(before) < WEAK - 1
    assert {name: inode for name, inode in inodes(work).items() if name in before} == before
    deadline = time.monotonic() + 60
    while any(map(lives, orphans)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(lives, orphans))
    with start(log, command) as second:
        pass
    told = log.read_text()
    assert second.returncode == 1, told
    assert "[2/5] label: done already" in told
    return work, told


def test_two_processes_do_what_one_does(alone, two):
    work, told = two
    check_same(work, alone)
    scores = [(folder / "scores.json").read_bytes().replace(bytes(folder), b"") for folder in (work, alone)]
    assert scores[0] == scores[1]
    assert f"  label: {LOST}: " in told
    assert told.count("  score: 0001: ") == 1
    assert not [path for path in work.iterdir() if path.name.startswith(".") and path.suffix == ".json"]


def test_what_two_processes_did_one_need_not_do_again(options, two, capsys):
    assert main([*options, f"--work_dir={two[0]}"]) == 1
    assert capsys.readouterr().out.count("done already") == 5


def test_a_fault_that_a_person_must_mend_comes_out_as_one_sentence(tmp_path, capfd):
    gone = {"predictions": str(tmp_path / "gone"), "references": str(tmp_path / "gone")}
    stage = Stage("score", tool="evaluate", arguments=gone)
    with pytest.raises(CaseError, match=r"gone: there is no such file or folder"):
        Crew(tmp_path, 2).perform(stage, {})
    assert "Traceback" not in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def machines():
    """Two network namespaces with a cable between them: name, address and interface of each."""
    names = [f"abdoseg-{os.getpid()}-{number}" for number in range(2)]
    cables = [f"cable{os.getpid() % 10000}-{number}" for number in range(2)]
    addresses = ["10.213.7.1", "10.213.7.2"]
    commands = [
        *(f"ip netns add {name}" for name in names),
        f"ip link add {cables[0]} type veth peer name {cables[1]}",
        *(f"ip link set {cable} netns {name}" for name, cable in zip(names, cables, strict=True)),
        *(f"ip -n {name} addr add {addresses[n]}/24 dev {cables[n]}" for n, name in enumerate(names)),
        *(f"ip -n {name} link set {device} up" for n, name in enumerate(names) for device in ("lo", cables[n])),
    ]
    try:
        for command in commands:
            try:
                subprocess.run(command.split(), check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"network namespaces are not allowed: {command}: {getattr(error, 'stderr', None) or error}")
        for name in names:
            folder = Path("/etc/netns", name)  # its files take the place of those of /etc
            folder.mkdir(parents=True)
            hosts = "".join(f"{address} {name}\n" for address, name in zip(addresses, names, strict=True))
            (folder / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
        yield list(zip(names, addresses, cables, strict=True))
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
            shutil.rmtree(Path("/etc/netns", name), ignore_errors=True)


def test_two_machines_do_what_one_does(options, alone, two, machines, tmp_path):
    work = tmp_path / "work"
    command = [*after_audit(options, work), "--only=label,merge,coarse"]
    command += ["--nnodes=2", f"--rdzv_endpoint={machines[0][1]}:29617"]
    processes, logs = [], [tmp_path / f"log{n}.txt" for n in range(2)]
    for n, (name, _, cable) in reversed(list(enumerate(machines))):
        before = ("ip", "netns", "exec", name)
        processes.insert(0, start(logs[n], [*command, f"--node_rank={n}"], before, GLOO_SOCKET_IFNAME=cable))
    try:
        codes = [process.wait(600) for process in processes]
    finally:
        for process in processes:
            process.kill()
    first, second = (log.read_text() for log in logs)
    assert codes == [1, 0], first + second
    check_same(work, alone)
    assert [line for line in second.splitlines() if line.endswith(": joining in")] == [
        f"{name}: joining in" for name in ("label", "merge", "coarse")
    ]
    one_machine, both = (torch.load(folder / "coarse" / "weights" / "model.pt") for folder in (two[0], work))
    for name, value in one_machine.items():
        torch.testing.assert_close(both[name], value, rtol=1e-4, atol=1e-6)
