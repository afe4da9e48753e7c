"""Packing: what a zip holds, that it is the same every time, and what is refused, with a line a fault."""

import hashlib
import json
import os
import shutil
import stat
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

import abdoseg
from abdoseg.files import CaseError
from abdoseg.labels import NAMES
from tests.bundles.tiny import REPOSITORY, fallback_architecture, shrink
from tests.zoo.packing import pack_tiny, tiny_weights, unpacked
from tools.pack import pack, plan_multiples

BUNDLES = REPOSITORY / "bundles"
MERGE, COARSE, FINE = (BUNDLES / name for name in ("pseudo_label_merge", "coarse_seg", "fine_seg"))


@pytest.fixture(scope="module")
def coarse(tmp_path_factory) -> Path:
    return pack_tiny(COARSE, tmp_path_factory.mktemp("coarse"))


def below(folder: Path, pattern: str) -> set[str]:
    return {path.relative_to(folder.parent).as_posix() for path in folder.rglob(pattern)}


def test_a_zip_holds_the_bundle_its_weights_and_all_of_abdoseg(coarse):
    with zipfile.ZipFile(coarse) as archive:
        content = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    python = below(REPOSITORY / "abdoseg", "*.py")
    own = {f"configs/{path.name}" for path in (COARSE / "configs").iterdir()} | below(COARSE / "docs", "*.*")
    others = {"LICENSE", "manifest.json", "models/model.pt", "models/architecture.json"}
    assert set(content) == {f"coarse_seg/{name}" for name in python | own | others}
    assert len(python) > 50
    for name in python:
        assert content[f"coarse_seg/{name}"] == (REPOSITORY / name).read_bytes()
    manifest = json.loads(content.pop("coarse_seg/manifest.json"))
    assert manifest["files"] == {
        name.removeprefix("coarse_seg/"): hashlib.sha256(data).hexdigest() for name, data in content.items()
    }
    assert (manifest["bundle"], manifest["version"]) == ("coarse_seg", "0.1.0")
    assert manifest["abdoseg"]["version"] == abdoseg.__version__


def test_packed_elsewhere_at_another_time_a_zip_is_the_same_byte_for_byte(coarse, tmp_path, monkeypatch):
    copy = tmp_path / "elsewhere" / "coarse_seg"
    shutil.copytree(COARSE, copy, ignore=shutil.ignore_patterns("models", "eval"))
    for name in ("LICENSE", "configs/train.yaml"):
        os.utime(copy / name, (1, 1))
        (copy / name).chmod(0o600)
    (copy / "eval").mkdir()
    (copy / "eval" / "scores.json").write_text("{}")
    (copy / "configs" / "notes.txt").write_text("not for others")
    weights = coarse.parent / "weights" / "coarse_seg"
    monkeypatch.chdir(tmp_path)
    again = pack("elsewhere/coarse_seg", weights=str(weights))
    assert again["archive"] == "dist/coarse_seg_v0.1.0.zip"
    assert Path(again["archive"]).read_bytes() == coarse.read_bytes()
    with zipfile.ZipFile(coarse) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.external_attr >> 16 for entry in entries} == {stat.S_IFREG | 0o644}


def test_every_zip_holds_the_same_abdoseg(coarse, tmp_path):
    merge = pack_tiny(MERGE, tmp_path)
    manifests = []
    for archive in (coarse, merge):
        with zipfile.ZipFile(archive) as zipped:
            manifests.append(json.loads(zipped.read(f"{archive.name.split('_v')[0]}/manifest.json")))
    first, second = (
        {name: value for name, value in manifest["files"].items() if name.startswith("abdoseg/")}
        for manifest in manifests
    )
    assert first == second
    assert manifests[0]["abdoseg"] == manifests[1]["abdoseg"]
    assert not [name for name in manifests[1]["files"] if name.startswith("models/")]


def test_scores_and_version_come_into_the_metadata(tmp_path):
    summary = {"organ_mean_dsc": 0.9, "organ_mean_nsd": 0.95, "tumor_dsc": 0.5, "tumor_nsd": None, "classes": {}}
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps({"summary": summary, "cases": {"0001": {}, "0002": {}}}))
    archive = pack_tiny(COARSE, tmp_path, scores=str(scores), version="0.2.0", changes="Weights of the demo")
    assert archive.name == "coarse_seg_v0.2.0.zip"
    metadata = json.loads((unpacked(archive, tmp_path) / "configs" / "metadata.json").read_text())
    assert metadata["eval_metrics"] == {"organ_mean_dsc": 0.9, "organ_mean_nsd": 0.95, "tumor_dsc": 0.5, "scans": 2}
    assert metadata["changelog"]["0.2.0"] == "Weights of the demo"
    assert metadata["version"] == "0.2.0"


def test_metadata_follow_the_weights_of_a_cascade(tmp_path, capsys):
    """Organs by paper A's student, whose 15 channels include the tumor; a tumor network for the liver alone."""
    bundle = BUNDLES / "tumor_cascade"
    whole = shrink(fallback_architecture(bundle))
    student = shrink(fallback_architecture(FINE))
    liver = whole["tumors"]["liver"]
    liver = {**liver, "plan": {**liver["plan"], "strides": [[1, 1, 1], [2, 2, 1], [2, 2, 2]]}}
    weights = tiny_weights(bundle, tmp_path / "weights", organs=student, tumors={"liver": liver})
    archive = Path(pack(str(bundle), output=str(tmp_path), weights=str(weights))["archive"])
    metadata = json.loads((unpacked(archive, tmp_path) / "configs" / "metadata.json").read_text())
    formats = {name for name in metadata if name.endswith("_data_format")}
    assert formats == {"network_data_format", "liver_data_format"}
    pred = metadata["network_data_format"]["outputs"]["pred"]
    assert pred["channel_def"] == {str(index): NAMES[index] for index in range(15)}
    assert metadata["liver_data_format"]["inputs"]["image"]["spatial_shape"] == ["8*n", "8*n", "4*n"]
    assert "left out of the metadata: rest_data_format" in capsys.readouterr().out


def test_multiples_leave_two_voxels_on_the_deepest_map():
    assert plan_multiples({"strides": [[1, 1, 1], [2, 2, 1], [2, 2, 2], [2, 2, 2]]}) == [16, 16, 8]


def test_files_above_25_mb_are_listed_and_packed(tmp_path, capsys):
    architecture = fallback_architecture(COARSE)  # the paper's, 43 MB
    weights = tiny_weights(COARSE, tmp_path / "weights", **{**architecture, "image_size": [16, 16, 16]})
    result = pack(str(COARSE), output=str(tmp_path), weights=str(weights), url="https://example.org/v1/")
    root = unpacked(Path(result["archive"]), tmp_path)
    (entry,) = yaml.safe_load((root / "large_files.yml").read_text())["large_files"]
    assert entry == {
        "path": "models/model.pt",
        "url": "https://example.org/v1/models/model.pt",
        "hash_val": hashlib.sha256((root / "models" / "model.pt").read_bytes()).hexdigest(),
        "hash_type": "sha256",
    }
    assert "give --url" not in capsys.readouterr().out


def test_a_cascade_is_packed_with_all_its_networks_or_not_at_all(tmp_path):
    weights = tiny_weights(FINE, tmp_path / "fine", coarse=None)
    with pytest.raises(CaseError, match=r"fine_seg is not packed: the weights have no coarse network, which finds"):
        pack(str(FINE), output=str(tmp_path), weights=str(weights))
    cascade = BUNDLES / "tumor_cascade"
    weights = tiny_weights(cascade, tmp_path / "cascade", organs=None)
    with pytest.raises(CaseError, match=r"the weights have no organ network; put the parts together with assemble"):
        pack("tumor_cascade", output=str(tmp_path), weights=str(weights))
    assert not list(tmp_path.glob("*.zip"))


def edit_metadata(change):
    def edit(bundle: Path, weights: Path) -> None:
        path = bundle / "configs" / "metadata.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit


def edit_text(name: str, old: str, new: str):
    def edit(bundle: Path, weights: Path) -> None:
        path = bundle / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return edit


def edit_state(change):
    def edit(bundle: Path, weights: Path) -> None:
        state = torch.load(weights / "model.pt")
        change(state)
        torch.save(state, weights / "model.pt")

    return edit


def lie_about_channels(metadata):
    pred = metadata["network_data_format"]["outputs"]["pred"]
    pred["num_channels"] = 14
    del pred["channel_def"]["14"]


FAULTS = {
    "no license": (lambda bundle, _: (bundle / "LICENSE").unlink(), "LICENSE is missing."),
    "no words on data": (
        lambda bundle, _: (bundle / "docs" / "data_license.txt").write_text(""),
        "docs/data_license.txt is empty.",
    ),
    "yml": (
        lambda bundle, _: (bundle / "configs" / "more.yml").write_text("a: 1"),
        "configs/more.yml must end in .yaml: MONAI Label overlooks .yml.",
    ),
    "no copyright": (
        edit_metadata(lambda content: content.pop("copyright")),
        "configs/metadata.json: the file: 'copyright' is a required property.",
    ),
    "no formats": (
        edit_metadata(lambda content: content.pop("network_data_format")),
        "configs/metadata.json: the file: 'network_data_format' is a required property.",
    ),
    "other version": (
        edit_metadata(lambda content: content.update(monai_version="1.5.0")),
        "configs/metadata.json tells monai 1.5.0, but 1.6.1 is what runs here.",
    ),
    "no such package": (
        edit_metadata(lambda content: content["required_packages_version"].update({"no-such": "1"})),
        "configs/metadata.json requires no-such 1, which is not installed here: it cannot have been tried.",
    ),
    "changelog": (
        edit_metadata(lambda content: content.update(version="0.3.0")),
        "configs/metadata.json: the changelog does not tell what version 0.3.0 is.",
    ),
    "channels": (
        edit_metadata(lie_about_channels),
        "does not fit the network: network_data_format tells 14 channels of pred, the network has 15.",
    ),
    "dtype": (
        edit_metadata(lambda content: content["network_data_format"]["outputs"]["pred"].update(dtype="uint8")),
        "configs/metadata.json does not fit the network: dtype of output data",
    ),
    "capital letters": (
        edit_metadata(
            lambda content: content["network_data_format"]["outputs"]["pred"]["channel_def"].update({"2": "Liver"}),
        ),
        "two channels of pred have one name in small letters, as MONAI Label reads them.",
    ),
    "run id": (
        edit_text("configs/train.yaml", 'training: "%run"', ""),
        "configs/train.yaml lacks 'training'.",
    ),
    "one machine's path": (
        edit_text("configs/inference.yaml", "amp: auto", "amp: auto\nmine: /home/me/scans"),
        "configs/inference.yaml holds a path of one machine: '/home/me/scans'.",
    ),
    "another file": (
        edit_text("configs/inference.yaml", "amp: auto", 'amp: auto\nmore: "%configs/train.yaml#amp"'),
        "configs/inference.yaml needs another file, '%configs/train.yaml#amp'; MONAI Label reads one config alone.",
    ),
    "not YAML": (edit_text("configs/demo.yaml", "max_epochs:", "max_epochs: ["), "configs/demo.yaml is not YAML: "),
    "checkpoint": (
        edit_state(lambda state: state.popitem()),
        "models/model.pt does not fit the network: 1 parameters are missing",
    ),
    "not finite": (
        edit_state(lambda state: next(iter(state.values())).fill_(torch.nan)),
        "models/model.pt: 1 parameters are not finite (first network.",
    ),
    "no checkpoint": (lambda _, weights: (weights / "model.pt").unlink(), "model.pt does not exist; --weights takes"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_breaks_the_contract_is_refused_in_one_sentence(name, coarse, tmp_path):
    change, sentence = FAULTS[name]
    bundle, weights = tmp_path / "coarse_seg", tmp_path / "weights"
    shutil.copytree(COARSE, bundle, ignore=shutil.ignore_patterns("models", "eval"))
    shutil.copytree(coarse.parent / "weights" / "coarse_seg", weights)
    change(bundle, weights)
    with pytest.raises(CaseError) as error:
        pack(str(bundle), output=str(tmp_path / "out"), weights=str(weights))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_several_faults_are_a_line_each(coarse, tmp_path, capsys):
    bundle = tmp_path / "coarse_seg"
    shutil.copytree(COARSE, bundle, ignore=shutil.ignore_patterns("models", "eval"))
    (bundle / "LICENSE").unlink()
    (bundle / "docs" / "README.md").unlink()
    with pytest.raises(CaseError, match=r"coarse_seg is not packed: LICENSE is missing\. And 1 more, listed above\.$"):
        pack(str(bundle), output=str(tmp_path), weights=str(coarse.parent / "weights" / "coarse_seg"))
    assert capsys.readouterr().err.splitlines() == ["  LICENSE is missing.", "  docs/README.md is missing."]


def test_what_cannot_be_packed_is_said_before_anything_is_read(tmp_path):
    for options, sentence in (
        (
            {"bundle": "nowhere"},
            r"^nowhere is no folder of a bundle, which holds configs/\. In bundles/ are ",
        ),
        ({"bundle": "pseudo_label_merge", "weights": str(tmp_path)}, r"pseudo_label_merge has no network; leave"),
        ({"bundle": "pseudo_label_merge", "version": "two"}, r"^--version two is none; give three numbers"),
        ({"bundle": "pseudo_label_merge", "scores": __file__}, r"is no file of scores; write it with `evaluate"),
    ):
        with pytest.raises(CaseError, match=sentence):
            pack(output=str(tmp_path), **options)
    bundle = tmp_path / "pseudo_label_merge"
    shutil.copytree(MERGE, bundle)
    (bundle / "docs" / "secret.txt").symlink_to("/etc/hostname")
    with pytest.raises(CaseError, match=r"docs/secret\.txt is a link that leads out of the bundle; put the file there"):
        pack(str(bundle), output=str(tmp_path))
