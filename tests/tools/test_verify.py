"""A sound zip passes; one that was tampered with is refused, by `verify` and on loading, in one sentence."""

import hashlib
import json
import stat
import zipfile
from pathlib import Path

import pytest
import torch

from abdoseg.files import CaseError
from tests.bundles.tiny import REPOSITORY, workflow
from tests.zoo.packing import pack_tiny, rewritten, unpacked, with_entry
from tools.verify import verify

COARSE = REPOSITORY / "bundles" / "coarse_seg"


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    return pack_tiny(COARSE, tmp_path_factory.mktemp("packed"))


def refusal(archive: Path) -> str:
    with pytest.raises(CaseError) as error:
        verify(str(archive))
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{archive} is refused: ")
    return str(error.value)


def refusal_on_loading(root: Path) -> str:
    with pytest.raises(RuntimeError) as error:
        workflow(root, "inference", dataset_dir=str(root)).initialize()
    cause = error.value
    while cause.__cause__ is not None:
        cause = cause.__cause__
    assert "\n" not in str(cause)
    return str(cause)


def test_a_sound_zip_passes_and_is_unpacked(archive, tmp_path, capsys):
    result = verify(str(archive), unpack_to=str(tmp_path))
    assert (result["bundle"], result["version"]) == ("coarse_seg", "0.1.0")
    assert (
        f"is sound: coarse_seg 0.1.0, {len(json.loads((tmp_path / 'coarse_seg/manifest.json').read_text())['files'])}"
    )
    assert "is sound" in capsys.readouterr().out
    flow = workflow(tmp_path / "coarse_seg", "inference", dataset_dir=str(tmp_path))
    flow.initialize()
    with pytest.raises(CaseError, match=r"coarse_seg is there already; remove it"):
        verify(str(archive), unpack_to=str(tmp_path))


def flip_a_byte(root: Path) -> None:
    path = root / "models" / "model.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_altered_weights(archive, tmp_path):
    sentence = "model.pt is not the file that was packed: its sha256 differs"
    assert sentence in refusal(rewritten(archive, tmp_path, flip_a_byte))
    assert sentence in refusal_on_loading(tmp_path / "unpacked" / "coarse_seg")


def drop_a_parameter(root: Path) -> None:
    state = torch.load(root / "models" / "model.pt")
    state.popitem()
    torch.save(state, root / "models" / "model.pt")


def test_a_checkpoint_that_does_not_fit(archive, tmp_path):
    sentence = "1 parameters are missing"
    assert sentence in refusal(rewritten(archive, tmp_path, drop_a_parameter, manifest_too=True))
    assert sentence in refusal_on_loading(tmp_path / "unpacked" / "coarse_seg")


class Harmful:
    """Unpickled without care, it runs code."""

    def __reduce__(self):
        return (print, ("harm",))


def test_a_checkpoint_with_code(archive, tmp_path, capsys):
    changed = rewritten(
        archive, tmp_path, lambda root: torch.save({"a": Harmful()}, root / "models" / "model.pt"), manifest_too=True
    )
    assert "models/model.pt is not a checkpoint of tensors and plain values; save a state dict." in refusal(changed)
    with pytest.raises(RuntimeError):
        workflow(tmp_path / "unpacked" / "coarse_seg", "inference", dataset_dir=str(tmp_path)).initialize()
    assert "harm" not in capsys.readouterr().out


def one_channel_less(root: Path) -> None:
    path = root / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    pred = metadata["network_data_format"]["outputs"]["pred"]
    pred["num_channels"] = 14
    del pred["channel_def"]["14"]
    path.write_text(json.dumps(metadata))


def test_metadata_that_lie_about_channels(archive, tmp_path):
    sentence = "does not fit the network: network_data_format tells 14 channels of pred, the network has 15."
    assert sentence in refusal(rewritten(archive, tmp_path, one_channel_less, manifest_too=True))
    assert sentence in refusal_on_loading(tmp_path / "unpacked" / "coarse_seg")


@pytest.mark.parametrize(
    "name", ["coarse_seg/../../evil.py", "../evil.py", "/tmp/evil.py", "coarse_seg\\..\\evil.py", "C:/evil.py"]
)
def test_a_path_outside_the_zip(archive, tmp_path, name):
    told = refusal(with_entry(archive, tmp_path / archive.name, name))
    assert repr(name) in told
    assert "lies outside the bundle" in told or "is no plain path" in told
    assert not list(tmp_path.rglob("evil.py"))


def test_a_manifest_that_names_a_path_outside(archive, tmp_path):
    def change(root: Path) -> None:
        path = root / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["files"]["../evil.py"] = "0"
        path.write_text(json.dumps(manifest))

    sentence = "names the file '../evil.py', which lies outside the bundle; do not use this bundle."
    assert sentence in refusal(rewritten(archive, tmp_path, change))
    assert sentence in refusal_on_loading(tmp_path / "unpacked" / "coarse_seg")


def test_a_link_that_leads_out(archive, tmp_path):
    changed = with_entry(archive, tmp_path / "link.zip", "coarse_seg/models/other.ts", "/etc/hostname", stat.S_IFLNK)
    assert "'coarse_seg/models/other.ts' is a link or a device, not a file." in refusal(changed)
    root = unpacked(archive, tmp_path)
    (root / "models" / "other.ts").symlink_to("/etc/hostname")  # as `unzip` makes it of that entry
    assert "models/other.ts is a link that leads out of the bundle; do not use it" in refusal_on_loading(root)


def test_other_entries_that_pack_does_not_write(archive, tmp_path):
    for name, sentence in (
        ("coarse_seg/abdoseg/extra.py", "abdoseg/extra.py is not named in manifest.json."),
        ("readme.txt", "'readme.txt' lies beside the bundle's folder."),
        ("coarse_seg/license", "'coarse_seg/license' is there twice, as 'coarse_seg/LICENSE'."),
        ("other/LICENSE", "it holds 2 folders coarse_seg, other; a packed bundle is one."),
    ):
        assert sentence in refusal(with_entry(archive, tmp_path / archive.name, name))


def test_missing_and_broken_zips(archive, tmp_path):
    changed = rewritten(archive, tmp_path, lambda root: (root / "docs" / "README.md").unlink())
    assert "docs/README.md is missing." in refusal(changed)
    changed = rewritten(archive, tmp_path / "again", lambda root: (root / "manifest.json").unlink())
    assert "manifest.json is missing; write the zip with `python -m tools pack`." in refusal(changed)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(archive.read_bytes()[:1000])
    assert "the zip is damaged: File is not a zip file." in refusal(cut)
    data = bytearray(archive.read_bytes())
    data[data.index(b"Apache License")] ^= 1
    cut.write_bytes(data)
    assert "the zip is damaged: Bad CRC-32 for file 'coarse_seg/LICENSE'." in refusal(cut)
    with pytest.raises(CaseError, match=r"nowhere\.zip does not exist; write it with"):
        verify("nowhere.zip")


def test_other_python_than_the_manifest_tells(archive, tmp_path):
    def change(root: Path) -> None:
        (root / "abdoseg" / "labels.py").write_text("NAMES = {}\n")
        manifest = json.loads((root / "manifest.json").read_text())
        manifest["files"]["abdoseg/labels.py"] = hashlib.sha256(b"NAMES = {}\n").hexdigest()
        (root / "manifest.json").write_text(json.dumps(manifest))

    assert "abdoseg/ is not the Python that manifest.json tells of" in refusal(rewritten(archive, tmp_path, change))


@pytest.mark.slow
def test_a_zip_with_another_abdoseg_is_checked_with_its_own(archive, tmp_path):
    def mark(root: Path) -> None:
        path = root / "abdoseg" / "__init__.py"
        path.write_text(path.read_text() + "# of another day\n")

    changed = rewritten(archive, tmp_path, mark, manifest_too=True)
    assert verify(str(changed))["abdoseg"]["sha256"] != verify(str(archive))["abdoseg"]["sha256"]

    def break_it(root: Path) -> None:
        mark(root)
        drop_a_parameter(root)

    assert "1 parameters are missing" in refusal(rewritten(archive, tmp_path / "b", break_it, manifest_too=True))

    def no_python(root: Path) -> None:
        (root / "abdoseg" / "networks" / "__init__.py").write_text("raise ImportError('gone')\n")

    told = refusal(rewritten(archive, tmp_path / "c", no_python, manifest_too=True))
    assert "network_def cannot be made: gone." in told or "does not run here: ImportError: gone" in told


def test_the_command_says_no_in_one_line_and_by_its_exit_code(archive, tmp_path, capsys):
    from tools.__main__ import main

    assert main(["verify", str(archive)]) == 0
    changed = rewritten(archive, tmp_path, flip_a_byte)
    assert main(["verify", str(changed)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {changed} is refused: models/model.pt is not the file that was packed")
    with zipfile.ZipFile(changed) as zipped:
        assert zipped.testzip() is None
