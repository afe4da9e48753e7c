"""What a packed bundle is asked when it is loaded, and what training into one forgets."""

import json
from pathlib import Path

import pytest

import abdoseg
from abdoseg.files import CaseError
from abdoseg.manifest import (
    file_hash,
    forget_weights,
    imported_hash,
    path_fault,
    read_manifest,
    source_files,
    source_hash,
)
from abdoseg.networks import write_architecture
from abdoseg.packed import check_packed

ARCHITECTURE = {"kind": "residual_unet", "channels": [2, 3]}
HERE = imported_hash()


def tensor(channels: int) -> dict:
    return {"num_channels": channels, "channel_def": {str(index): str(index) for index in range(channels)}}


@pytest.fixture
def bundle(tmp_path) -> Path:
    """A packed bundle of a few bytes: one channel in, background and 14 classes out."""
    write_architecture(tmp_path / "models" / "architecture.json", ARCHITECTURE)
    (tmp_path / "models" / "model.pt").write_bytes(b"weights")
    (tmp_path / "configs").mkdir()
    formats = {"inputs": {"image": tensor(1)}, "outputs": {"pred": tensor(15)}}
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps({"network_data_format": formats}))
    names = ("models/architecture.json", "models/model.pt", "configs/metadata.json")
    content = {
        "bundle": tmp_path.name,
        "version": "1.0.0",
        "abdoseg": {"version": "1", "sha256": HERE},
        "files": {name: file_hash(tmp_path / name) for name in names},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    return tmp_path


def change_manifest(bundle: Path, **changes) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_bundle_as_packed_passes_and_one_that_was_not_packed_is_not_asked(bundle, tmp_path_factory):
    assert check_packed(bundle) is True
    assert check_packed(tmp_path_factory.mktemp("plain")) is False
    (bundle / "configs" / "metadata.json").write_text((bundle / "configs" / "metadata.json").read_text() + "\n")
    assert check_packed(bundle) is True  # a person may change configs


def test_another_abdoseg_is_refused_by_name(bundle):
    change_manifest(bundle, abdoseg={"version": "9.9", "sha256": "0123456789abcdef"})
    with pytest.raises(CaseError) as error:
        check_packed(bundle)
    assert str(error.value) == (
        f"{bundle} was packed with abdoseg 9.9 (0123456789ab), but this process has imported abdoseg "
        f"{abdoseg.__version__} ({HERE[:12]}) from {Path(abdoseg.__file__).parent}; "
        "run it in a process of its own, or pack both anew with one abdoseg."
    )


def test_weights_that_are_altered_or_gone(bundle):
    (bundle / "models" / "model.pt").write_bytes(b"Weights")
    with pytest.raises(CaseError, match=r"models/model\.pt is not the file that was packed: its sha256 differs"):
        check_packed(bundle)
    (bundle / "models" / "model.pt").unlink()
    with pytest.raises(CaseError, match=r"models/model\.pt was packed and is missing; unpack the zip again"):
        check_packed(bundle)


def test_links_may_stay_inside(bundle):
    (bundle / "configs" / "same.json").symlink_to("metadata.json")
    (bundle / "data").symlink_to("/")  # a person's scans, no part of what was packed
    assert check_packed(bundle)
    (bundle / "configs" / "more.yaml").symlink_to("/etc/hostname")
    with pytest.raises(CaseError, match=r"configs/more\.yaml is a link that leads out of the bundle"):
        check_packed(bundle)


def test_a_bundle_may_be_reached_through_a_link(bundle, tmp_path_factory):
    link = tmp_path_factory.mktemp("app") / "coarse_seg"
    link.symlink_to(bundle)
    assert check_packed(link)


@pytest.mark.parametrize("text", ["{", "[]", '{"bundle": "a"}', '{"abdoseg": 1, "files": {}}'])
def test_a_manifest_that_is_none(bundle, text):
    (bundle / "manifest.json").write_text(text)
    with pytest.raises(CaseError, match=r"manifest\.json is no manifest of a packed bundle; unpack the zip again\.$"):
        check_packed(bundle)


def test_only_plain_paths_within_a_bundle_are_taken():
    assert [path_fault(name) for name in ("a", "a/b.py", "a..b/c")] == [None] * 3
    for name in ("/a", "../a", "a/../../b", "a/.."):
        assert path_fault(name) == "lies outside the bundle"
    for name in ("", "a\\b", "c:/a", "a\0b"):
        assert path_fault(name) == "is no plain path"


def test_what_is_trained_into_a_packed_bundle_takes_the_place_of_its_weights(bundle, tmp_path_factory):
    forget_weights(tmp_path_factory.mktemp("runs") / "models")  # of no bundle
    write_architecture(bundle / "models" / "architecture.json", {**ARCHITECTURE, "channels": [3, 4]})
    (bundle / "models" / "model.pt").write_bytes(b"trained here")
    assert check_packed(bundle)
    assert set(read_manifest(bundle)["files"]) == {"configs/metadata.json"}


def test_training_elsewhere_leaves_the_packed_weights_expected(bundle):
    before = (bundle / "manifest.json").read_bytes()
    write_architecture(bundle / "eval" / "architecture.json", ARCHITECTURE)
    assert (bundle / "manifest.json").read_bytes() == before


def test_the_hash_of_a_package_tells_names_and_bytes_of_its_python(tmp_path):
    for number, (name, text) in enumerate([("a.py", "1"), ("b.py", "1"), ("a.py", "2")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_text(text)
    assert len({source_hash(tmp_path / str(number)) for number in range(3)}) == 3
    before = source_hash(tmp_path / "0")
    (tmp_path / "0" / "notes.txt").write_text("x")
    assert source_hash(tmp_path / "0") == before
    (tmp_path / "0" / "sub").mkdir()
    (tmp_path / "0" / "sub" / "c.py").write_text("")
    assert source_hash(tmp_path / "0") != before
    assert list(source_files(tmp_path / "0")) == ["a.py", "sub/c.py"]
