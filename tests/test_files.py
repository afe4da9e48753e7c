"""Files are whole or absent, whatever they are called; errors of the disk are told from those of a file."""

import errno
import json
import os
import signal
import subprocess
import sys
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from abdoseg.files import CaseError, atomic_path, glob, is_file, is_of_the_disk, walk, write_json, write_label_map


@pytest.mark.parametrize("name", ["a.json", "x" * 250 + ".json", "ü" * 120 + ".nii.gz", os.fsdecode(b"\xff\xfe.json")])
def test_a_name_of_any_length_can_be_written_aside(tmp_path, name):
    with atomic_path(tmp_path / name) as temporary:
        assert temporary.name.endswith(name[-7:])
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "whole"


def test_links_to_folders_are_followed_once(tmp_path):
    for name in ("data/b/2", "data/b/1", "elsewhere/3"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "data" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "b" / "loop").symlink_to(tmp_path / "data")
    found = [(folder.relative_to(tmp_path).as_posix(), sorted(files)) for folder, _, files in walk(tmp_path / "data")]
    assert found == [("data", []), ("data/a", ["3"]), ("data/b", ["1", "2"])]


def test_a_folder_that_cannot_be_read_is_passed_over_with_a_warning(tmp_path):
    (tmp_path / "studies" / "ann").mkdir(parents=True)
    (tmp_path / "studies" / "otto").mkdir(mode=0)
    code = (
        "import os; from abdoseg.files import walk\n"
        "if os.geteuid() == 0: os.seteuid(65534)  # root may read all\n"
        "print([str(folder) for folder, _, _ in walk('.')])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "studies", capture_output=True, text=True, check=True
    )
    assert told.stdout == "['.', 'ann']\n"
    assert told.stderr == "./otto: passed over, this folder cannot be read (Permission denied).\n"


def test_what_a_killed_process_was_writing_is_no_file_of_the_folder(tmp_path):
    code = (
        "import os, signal, sys; from abdoseg.files import atomic_path\n"
        "with atomic_path(sys.argv[1]): os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, tmp_path / "b.json"], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("*.json"))) == 1
    assert glob(tmp_path, "*.json") == []
    for name in ("c/2.json", "a.json", "c/.hidden.json"):
        write_json(tmp_path / name, 1)
    assert glob(tmp_path, "**/*.json") == [tmp_path / "a.json", tmp_path / "c" / "2.json"]


def test_what_fails_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "a.json", {1, 2})
    with pytest.raises(TypeError, match="data must be str"), atomic_path(tmp_path / "a.json") as temporary:
        temporary.write_text(b"half")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "1\n"


def test_json_is_written_piece_by_piece(tmp_path):
    """The whole text, 900 kB, is at no moment in memory."""
    content = {f"case {number}": [number] * 10 for number in range(5000)}
    tracemalloc.start()
    write_json(tmp_path / "a.json", content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    text = (tmp_path / "a.json").read_text()
    assert text == json.dumps(content, indent=2) + "\n"
    assert peak < len(text) / 4


@pytest.mark.parametrize("fields", [{"pixdim": [np.nan] * 8}, {"quatern_b": 2.0}, {"quatern_c": np.inf}])
def test_a_broken_qform_beside_a_good_sform_is_left_out(tmp_path, fields):
    affine = np.diag([-2.0, 3, 4, 1])
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), affine)
    image.set_qform(affine, code=1)
    for name, value in fields.items():
        image.header[name] = value
    write_label_map(tmp_path / "a.nii.gz", np.ones((3, 4, 5), np.uint8), image)
    written = nib.load(tmp_path / "a.nii.gz")
    assert np.array_equal(written.affine, affine)
    assert int(written.header["qform_code"]) == 0


def test_a_full_disk_and_a_gone_mount_are_of_the_disk_also_as_a_cause():
    with pytest.raises(OSError, match="No space left") as full, open("/dev/full", "w") as file:
        file.write("x")
    assert is_of_the_disk(full.value)
    wrapped = CaseError("0001.nii.gz: cannot be written")
    wrapped.__cause__ = OSError(errno.ESTALE, "Stale file handle")
    assert is_of_the_disk(wrapped)
    assert not is_of_the_disk(FileNotFoundError(errno.ENOENT, "No such file"))
    assert not is_of_the_disk(CaseError("broken"))


def test_a_file_is_not_called_missing_when_its_mount_is_gone(tmp_path, monkeypatch):
    path = tmp_path / "scan.nii"
    path.touch()
    assert is_file(path)
    assert not any(map(is_file, (tmp_path, tmp_path / "none", tmp_path / ("n" * 300), "with\0zero")))

    def gone(name, *_, **__):
        raise OSError(errno.ESTALE, "Stale file handle", str(name))

    monkeypatch.setattr(os, "stat", gone)
    with pytest.raises(OSError, match="Stale file handle"):
        is_file(path)
