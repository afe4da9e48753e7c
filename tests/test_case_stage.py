"""What stages share, on a stage that copies labels: what is done again, threads, faults, files found and compared."""

import errno
import json
import os
import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from abdoseg.case_stage import CaseStage, excluded_entry, find_volume, read_on_grid
from abdoseg.datalist import case_id, write_datalist
from abdoseg.files import CaseError, write_label_map
from abdoseg.label_maps import open_volume, read_label_map


class CopyLabels(CaseStage):
    """Copy labels, with a class added to each voxel that has one."""

    action, done = "copy", "copied"

    def inputs(self, case):
        return {"label": self.label_of(case)}

    def maps(self, case):
        return (self.output_dir / f"copies/{case['id']}.nii.gz",)

    def work(self, case, inputs):
        labels, grid = read_label_map(inputs["label"])
        write_label_map(*self.maps(case), labels + self.settings["add"] * (labels > 0), grid)
        return {"voxels": int(np.count_nonzero(labels)), "thread": threading.get_ident()}


def save(path: Path, values, affine=None) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(
        nib.Nifti1Image(np.array(values, np.uint8).reshape(2, 2, -1), np.eye(4) if affine is None else affine), path
    )
    return str(path)


@pytest.fixture
def cases(tmp_path):
    """Three labels with 1, 2 and 3 voxels, and their datalist."""
    listed = []
    for voxels in (1, 2, 3):
        label = save(tmp_path / "labels" / f"{voxels}.nii.gz", [1] * voxels + [0] * (4 - voxels))
        listed.append({"id": str(voxels), "image": f"{voxels}_0000.nii.gz", "label": label, "kind": "weak"})
    write_datalist(tmp_path / "datalist.json", {"training": listed})
    return listed


def stage(tmp_path, add=1, num_threads=1) -> CopyLabels:
    return CopyLabels(tmp_path / "datalist.json", tmp_path / "out", {"add": add}, num_threads, progress=False)


def copied(tmp_path, name) -> list[int]:
    return np.asarray(nib.load(tmp_path / "out" / "copies" / f"{name}.nii.gz").dataobj).ravel().tolist()


@pytest.mark.parametrize("num_threads", [1, 3])
def test_summaries_come_in_the_order_of_the_cases(cases, tmp_path, num_threads):
    working = stage(tmp_path, num_threads=num_threads)
    taken = working.take(cases)
    assert [(case["id"], summary["voxels"]) for case, summary in taken.done] == [("1", 1), ("2", 2), ("3", 3)]
    assert working.result(taken) == {"copied": 3, "up_to_date": 0, "failed": {}}
    assert all(summary["thread"] != threading.get_ident() for _, summary in taken.done)
    assert copied(tmp_path, "2") == [2, 2, 0, 0]
    summary = json.loads((tmp_path / "out" / "summary" / "2.json").read_text())
    assert (summary["id"], summary["kind"], summary["add"], summary["voxels"]) == ("2", "weak", 1, 2)
    status = Path(cases[1]["label"]).stat()
    found = {"path": cases[1]["label"], "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    assert summary["inputs"] == {"label": found}


def test_a_case_is_done_again_when_anything_that_decides_it_changed(cases, tmp_path):
    def again(**settings):
        return stage(tmp_path, **settings).result(stage(tmp_path, **settings).take(cases))["copied"]

    stage(tmp_path).take(cases)
    assert again() == 0
    assert stage(tmp_path, add=2).result(stage(tmp_path, add=2).take(cases))["copied"] == 3
    stage(tmp_path).take(cases)
    for change in (
        lambda: (tmp_path / "out" / "copies" / "1.nii.gz").unlink(),
        lambda: (tmp_path / "out" / "summary" / "1.json").unlink(),
        lambda: (tmp_path / "out" / "summary" / "1.json").write_text("{"),
        lambda: save(tmp_path / "labels" / "1.nii.gz", [1, 1, 1, 1]),
        lambda: cases[0].update(kind="strong"),
        lambda: cases[0].update(label=save(tmp_path / "elsewhere" / "1.nii.gz", [1, 1, 1, 1])),
    ):
        change()
        taken = stage(tmp_path).take(cases)
        assert taken.up_to_date == 2
        assert stage(tmp_path).take(cases).up_to_date == 3
    assert copied(tmp_path, "1") == [2, 2, 2, 2]


def test_faulty_cases_are_set_aside_and_lose_what_they_had(cases, tmp_path, caplog):
    stage(tmp_path).take(cases)
    Path(cases[0]["label"]).unlink()
    Path(cases[2]["label"]).write_bytes(b"text")
    del cases[1]["label"]
    cases.append({**cases[0], "id": "4", "label": save(tmp_path / "labels" / "4.nii.gz", [0] * 4)})
    working = stage(tmp_path)
    taken = working.take(cases)
    failed = working.result(taken)["failed"]
    assert list(failed) == ["1", "2", "3"]
    assert failed["1"].endswith("1.nii.gz: the file named in the datalist is not there (No such file or directory).")
    assert failed["2"].endswith("datalist.json: case '2' has no label; merge in its pseudo label first.")
    assert "3.nii.gz: cannot be read" in failed["3"]
    warnings = [record.getMessage() for record in caplog.records]
    assert warnings == [f"Case {name} is set aside. {reason}" for name, reason in failed.items()]
    assert sorted(path.name for path in (tmp_path / "out").glob("*/*")) == ["4.json", "4.nii.gz"]
    assert taken.set_aside[0] == excluded_entry(cases[0], failed["1"])
    assert taken.set_aside[1] == {"id": "2", "image": "2_0000.nii.gz", "reason": failed["2"]}


def test_a_case_too_large_for_the_memory_is_set_aside(cases, tmp_path):
    working = stage(tmp_path)
    work, large = working.work, cases[1]

    def allocate(case, inputs):
        return work(case, inputs) if case is not large else np.empty((1 << 15, 1 << 15, 1 << 15))

    working.work = allocate
    taken = working.take(cases)
    assert [case["id"] for case, _ in taken.done] == ["1", "3"]
    assert working.result(taken)["failed"] == {"2": f"{large['label']}: needs more memory than there is."}


def test_a_full_disk_stops_a_stage_and_no_case_is_blamed(cases, tmp_path):
    working = stage(tmp_path)

    def fail(case, inputs):
        raise OSError(errno.ENOSPC, "No space left on device")

    working.work = fail
    with pytest.raises(OSError, match="No space left"):
        working.take(cases)


def test_a_case_that_was_in_work_when_its_stage_was_stopped_is_done_again(cases, tmp_path):
    stage(tmp_path).take(cases)
    stopped = stage(tmp_path, add=2)
    work = stopped.work

    def fail(case, inputs):
        work(case, inputs)
        raise OSError(errno.ENOSPC, "No space left on device")

    stopped.work = fail
    with pytest.raises(OSError, match="No space left"):
        stopped.take(cases[:1])
    assert copied(tmp_path, "1") == [3, 0, 0, 0]
    assert stage(tmp_path).take(cases).up_to_date == 2  # with the earlier settings, which the summary told
    assert copied(tmp_path, "1") == [2, 0, 0, 0]


def test_a_mount_that_is_gone_stops_a_stage_and_costs_no_result(cases, tmp_path, monkeypatch):
    stage(tmp_path).take(cases)
    before = {path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    status_of = os.stat

    def gone(path, **options):
        if str(path).startswith(str(tmp_path / "labels")):
            raise OSError(errno.ESTALE, "Stale file handle", str(path))
        return status_of(path, **options)

    monkeypatch.setattr(os, "stat", gone)
    with pytest.raises(OSError, match="Stale file handle"):
        stage(tmp_path).take(cases)
    monkeypatch.undo()
    assert {path for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_what_stops_a_stage(cases, tmp_path):
    with pytest.raises(CaseError, match=r"^num_threads is 0; use 1 or more\.$"):
        stage(tmp_path, num_threads=0)
    with pytest.raises(CaseError, match="not one case could be copied; the first reason: it has no training case"):
        stage(tmp_path).take([])
    Path(cases[0]["label"]).unlink()
    with pytest.raises(CaseError, match=r"not one case could be copied; the first reason: .*is not there"):
        stage(tmp_path).take(cases[:1])
    assert stage(tmp_path).read("list.json")["training"][0]["id"] == "1"
    inside = CopyLabels(tmp_path / "datalist.json", tmp_path, {})
    with pytest.raises(CaseError, match=r"datalist\.json: the output folder must not be the folder of the input"):
        inside.read("list.json", "datalist.json")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(CaseError, match=r"datalist\.json: the output folder must not be the folder of the input"):
        CopyLabels(tmp_path / "datalist.json", tmp_path / "link", {}).read("datalist.json")


def test_an_error_that_is_no_fault_of_a_case_is_not_hidden(cases, tmp_path):
    with pytest.raises(TypeError):
        stage(tmp_path, add=None).take(cases)


def test_the_first_folder_that_has_a_volume_gives_it(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    save(second / "a.nii.gz", [1] * 4)
    save(second / "b.nii", [1] * 4)
    assert find_volume([first, second], "a") == second / "a.nii.gz"
    assert find_volume([first, second], "b") == second / "b.nii"
    assert find_volume([first, second], "c") is None
    (second / "Mu\u0308ller.nii.gz").touch()
    assert find_volume([first, second], case_id("Mu\u0308ller_0000.nii.gz")) == second / "Mu\u0308ller.nii.gz"
    assert find_volume([first, second], "\u00fc" * 120) is None  # with accents of their own, too long for a file
    assert find_volume([], "a") is None
    save(first / "a.nii", [1] * 4)
    assert find_volume([first, second], "a") == first / "a.nii"
    save(first / "a.nii.gz", [1] * 4)
    assert find_volume([first, second], "a") == first / "a.nii.gz"


def test_label_maps_on_another_grid_are_named(tmp_path):
    grid = open_volume(save(tmp_path / "grid.nii.gz", [0] * 4))
    same = save(tmp_path / "same.nii.gz", [1, 2, 3, 14])
    assert read_on_grid(same, grid, "a map", "grid.nii.gz").ravel().tolist() == [1, 2, 3, 14]
    shifted = save(tmp_path / "shifted.nii.gz", [0] * 4, np.eye(4) + np.eye(4)[:, [3, 3, 3, 0]])
    with pytest.raises(
        CaseError, match=r"shifted\.nii\.gz: has another affine .*; a map lies on the grid of grid\.nii"
    ):
        read_on_grid(shifted, grid, "a map", "grid.nii.gz")
    with pytest.raises(CaseError, match=r"none\.nii\.gz: there is no such file"):
        read_on_grid(tmp_path / "none.nii.gz", grid, "a map", "grid.nii.gz")
