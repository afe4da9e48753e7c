"""The predict command as a stream: bytes of one scan after the other, faults in any step, one process a folder."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch

from abdoseg.files import CaseError, glob, write_json
from abdoseg.ranks import Alone
from tests.tools.small_data import AFFINE, SHAPE, STUDENT, TEACHER, save_scan, save_weights
from tools.chain import BUNDLES
from tools.lock import sole_user
from tools.predict import _begin, _label, predict
from tools.predictor import Predictor
from tools.scans import find_scans

FINE_SEG = str(BUNDLES / "fine_seg")
TEACHER_NNUNET = str(BUNDLES / "teacher_nnunet")
TILTED = np.array([[0, -9.0, 1.5, 5], [8.0, 0, 0, 7], [0, 2.0, -14.0, 9], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    root = tmp_path_factory.mktemp("weights")
    for name, architecture in {"student": STUDENT, "teacher": TEACHER}.items():
        save_weights(root / name, architecture)
    return root


@pytest.fixture
def scans(tmp_path):
    for number in (1, 2):
        save_scan(tmp_path / "scans" / f"000{number}_0000.nii.gz", number)
    return tmp_path / "scans"


def test_the_stream_gives_the_bytes_of_one_scan_after_the_other(weights, tmp_path):
    for number in range(7):
        save_scan(tmp_path / "scans" / f"{number}_0000.nii.gz", number, TILTED if number % 2 else AFFINE)
    predictor = Predictor(BUNDLES / "fine_seg", tmp_path / "alone", weights / "student", {})
    for path in sorted((tmp_path / "scans").iterdir()):
        predictor(str(path))
    predict(FINE_SEG, str(tmp_path / "scans"), str(tmp_path / "out"), str(weights / "student"))
    alone, together = (sorted((tmp_path / name).glob("*.nii.gz")) for name in ("alone", "out"))
    assert [path.name for path in alone] == [path.name for path in together] == [f"{n}.nii.gz" for n in range(7)]
    contents = [path.read_bytes() for path in alone]
    assert contents == [path.read_bytes() for path in together]
    assert len(set(contents)) == 7


def test_a_scan_that_breaks_while_it_is_read_or_labeled_is_set_aside(weights, tmp_path):
    """One that breaks while it is written: `test_dicom_scans.py`, where a label map is another scan's."""
    for number, affine in enumerate((AFFINE, AFFINE, np.diag([1e6, 1e6, 1e6, 1]), TILTED)):
        save_scan(tmp_path / "scans" / f"{number}_0000.nii.gz", number, affine)  # number 2 has 10^16 voxels in the plan
    (tmp_path / "scans" / "1_0000.nii.gz").write_text("no scan")
    result = predict(TEACHER_NNUNET, str(tmp_path / "scans"), str(tmp_path / "out"), str(weights / "teacher"))
    assert result["labeled"] == ["0", "3"]
    assert list(result["failed"]) == ["1", "2"]
    assert "1_0000.nii.gz is not a gzip file" in result["failed"]["1"]
    assert result["failed"]["2"].startswith(f"{tmp_path / 'scans' / '2_0000.nii.gz'}: ")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["failed"] == result["failed"]
    assert list(manifest["seconds"]) == ["0", "3"]
    assert sorted(os.listdir(tmp_path / "out")) == ["0.nii.gz", "3.nii.gz", "manifest.json"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a device that does not answer")
def test_a_gpu_that_is_lost_ends_the_command_and_sets_no_scan_aside(weights, scans, tmp_path):
    """Else all scans to come would be set aside in no time, and the stage of the chain be done."""
    predictor = Predictor(BUNDLES / "fine_seg", tmp_path / "out", weights / "student", {})
    assert predictor.answers()
    predictor.device = torch.device("cuda")  # as if it had worked until now
    found, manifest = find_scans(scans), {"seconds": {}, "failed": {}}
    with pytest.raises((AssertionError, RuntimeError), match=r"CUDA|NVIDIA"):
        _label(Alone(), list(found), found, predictor, tmp_path / "out", manifest)
    assert manifest == {"seconds": {}, "failed": {}}


def test_a_second_process_in_the_same_folder_is_refused(weights, scans, tmp_path):
    arguments = (FINE_SEG, str(scans), str(tmp_path / "out"), str(weights / "student"))
    with sole_user(tmp_path / "out"), pytest.raises(CaseError, match=rf"process {os.getpid()} .* is at work in this"):
        predict(*arguments)
    assert predict(*arguments)["failed"] == {}


def test_the_manifest_names_no_label_map_that_is_gone(weights, scans, tmp_path):
    out = tmp_path / "out"
    predict(FINE_SEG, str(scans), str(out), str(weights / "student"))
    (out / "0001.nii.gz").unlink()
    predict(FINE_SEG, str(scans), str(out), str(weights / "student"), cases="0002")
    assert list(json.loads((out / "manifest.json").read_text())["seconds"]) == ["0002"]


def test_labels_that_a_killed_call_had_not_told_of_yet_are_not_taken_for_those_of_other_weights(scans, tmp_path):
    folder, found = tmp_path / "out", find_scans(scans)
    targets = {name: folder / f"{name}.nii.gz" for name in found}
    first, other = (
        SimpleNamespace(key=key, checkpoint=f"{key}/model.pt", sha256=key, engine="torch", classes=None)
        for key in ("first", "other")
    )
    _begin(folder, first, FINE_SEG, found, targets, False)
    for target in targets.values():
        target.touch()  # killed now: no seconds stand in the manifest
    _begin(folder, other, FINE_SEG, {"0002": found["0002"]}, {"0002": targets["0002"]}, True)
    assert not any(target.exists() for target in targets.values())
    assert list(_begin(folder, other, FINE_SEG, found, targets, False)["scans"]) == ["0001", "0002"]


def test_a_scan_that_has_changed_since_is_told(weights, scans, tmp_path, capsys):
    arguments = (FINE_SEG, str(scans), str(tmp_path / "out"), str(weights / "student"))
    predict(*arguments)
    save_scan(scans / "0001_0000.nii.gz", seed=7)
    capsys.readouterr()
    for _ in range(2):
        predict(*arguments)
        assert "1 of them have changed since; --overwrite --cases 0001 labels" in capsys.readouterr().out
    predict(*arguments, cases="0001", overwrite=True)
    predict(*arguments)
    assert "have changed" not in capsys.readouterr().out


def test_label_maps_that_cannot_be_deleted_are_not_taken_for_those_of_other_weights(weights, scans, tmp_path):
    arguments = (FINE_SEG, str(scans), str(tmp_path / "out"))
    predict(*arguments, str(weights / "student"))
    other = str(save_weights(tmp_path / "other", STUDENT, seed=1))
    (tmp_path / "out" / "0001.dcm").mkdir()
    with pytest.raises(OSError, match=r"0001\.dcm"):
        predict(*arguments, other, overwrite=True)
    with pytest.raises(CaseError, match="holds label maps of other weights or settings"):
        predict(*arguments, other)


def test_the_key_tells_the_engine(weights, tmp_path, monkeypatch):
    keys = set()
    for installed in (False, True):
        monkeypatch.setattr("abdoseg.inferers.engines.has_openvino", lambda installed=installed: installed)
        predictor = Predictor(BUNDLES / "fine_seg", tmp_path, weights / "student", {})
        keys.add((predictor.engine, predictor.key))
    assert len(dict(keys)) == len(set(dict(keys).values())) == 2


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_process_leaves_whole_files_and_a_true_manifest(sent, weights, tmp_path):
    scan = save_scan(tmp_path / "scans" / "000_0000.nii.gz")
    for number in range(1, 400):
        shutil.copy(scan, scan.with_name(f"{number:03}_0000.nii.gz"))
    out = tmp_path / "out"
    options = ["--bundle", FINE_SEG, "--input", str(scan.parent), "--output", str(out)]
    command = [sys.executable, "-m", "tools", "predict", *options, "--weights", str(weights / "student")]
    process = subprocess.Popen(
        command,
        cwd=BUNDLES.parent,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(sent, signal.SIG_DFL),  # a shell's background jobs inherit that it is ignored
    )
    while len(glob(out, "*.nii.gz")) < 5:
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(sent)
    before = len(glob(out, "*.nii.gz"))
    told = process.communicate(timeout=300)[1]
    assert process.returncode == 130
    assert "interrupted; the same command goes on from here" in told
    names = [path.name for path in out.iterdir()]
    assert 5 <= len(names) - 1 <= before + 2  # no more than what was being written
    written = json.loads((out / "manifest.json").read_text())["seconds"]
    assert sorted(names) == sorted(["manifest.json", *(f"{name}.nii.gz" for name in written)])
    for name in written:
        assert np.asarray(nib.load(out / f"{name}.nii.gz").dataobj).shape == SHAPE


class QuickScan:
    """A scan that is labeled in no time, or at which the labeling is stopped."""

    def __init__(self, stops: bool = False) -> None:
        self.stops = stops

    def read(self, predictor, target):
        return ()

    def write(self, predictor, labeled, target):
        if self.stops:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("stop", [None, 1777])
def test_the_manifest_of_many_scans_is_seldom_written_anew_and_whole_at_the_end(stop, tmp_path, monkeypatch):
    """Written after every scan, it would have two million entries in all."""
    entries = []

    def counting(path, content):
        entries.append(len(content["seconds"]))
        write_json(path, content)

    monkeypatch.setattr("tools.predict.write_json", counting)
    scans = {f"{number:04d}": QuickScan(number == stop) for number in range(2000)}
    manifest = {"seconds": {}, "empty": [], "failed": {}}
    predictor = SimpleNamespace(infer=lambda prepared: prepared, found_nothing=lambda labeled: True, memory=nullcontext)
    with nullcontext() if stop is None else pytest.raises(OSError, match="No space left"):
        _label(Alone(), list(scans), scans, predictor, tmp_path, manifest)
    done = 2000 if stop is None else stop
    assert entries == [*range(20, done, 20), done]
    written = json.loads((tmp_path / "manifest.json").read_text())
    assert list(written["seconds"]) == written["empty"] == list(scans)[:done]


def test_a_process_without_a_share_of_the_scans_needs_no_network(tmp_path):
    """Of eight processes that share three scans, five have none."""
    _label(Alone(), [], {}, None, tmp_path, {})
    assert list(tmp_path.iterdir()) == []
