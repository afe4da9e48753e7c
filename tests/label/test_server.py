"""Packed bundles in a real MONAI Label server: listed, asked for labels, corrected, trained, run over all scans."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import requests

from abdoseg.labels import CLASS_IDS
from abdoseg.labels import NAMES as NAMES_OF
from tests.bundles.tiny import NETWORK_BUNDLES, metadata_of, workflow, write_cases
from tests.bundles.tiny import run as run_here
from tests.label.server import ENVIRONMENT, Server
from tests.zoo.packing import pack_tiny, rewritten

pytestmark = pytest.mark.slow
NAMES = [bundle.name for bundle in NETWORK_BUNDLES]
SCANS = ("0003_0000", "0004_0000", "0006_0000")  # the first two are not stored in RAS
# The steps of an epoch are a setting of the bundle that no request changes.
FEWER_STEPS = {"iterations_per_epoch: 250": "iterations_per_epoch: 2", "num_workers: 8": "num_workers: 0"}


def shorten(root: Path) -> None:
    config = root / "configs" / "train.yaml"
    text = config.read_text()
    for old, new in FEWER_STEPS.items():
        text = text.replace(old, new)
    config.write_text(text)


def drawn_cases(folder: Path) -> Path:
    """Folder of scans with the labels that a person might have corrected."""
    (folder / "cases").mkdir()
    return write_cases(folder / "cases").parent


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """A server of all bundles with a network, and three scans."""
    assert (ENVIRONMENT / "installed").exists(), (
        "MONAI Label has an environment of its own; make it by `make label-env`"
    )
    folder = tmp_path_factory.mktemp("label")
    cases = drawn_cases(folder)
    (folder / "studies").mkdir()
    for scan in SCANS:
        shutil.copy(cases / f"{scan}.nii.gz", folder / "studies")
    (folder / "zips").mkdir()
    for bundle in NETWORK_BUNDLES:
        archive = rewritten(pack_tiny(bundle, folder / "packed"), folder / bundle.name, shorten, manifest_too=True)
        shutil.copy(archive, folder / "zips")
    made = Server(folder / "zips", folder / "studies", folder / "work")
    yield made
    made.close()


def grid_matches(label: nib.Nifti1Image, scan: Path) -> bool:
    """Whether a label map is uint8 and lies on the grid of a scan."""
    image = nib.load(scan)
    assert label.get_data_dtype() == np.uint8
    assert label.shape == image.shape
    np.testing.assert_allclose(label.affine, image.affine, atol=1e-5)
    return True


def labels_here(server: Server, name: str, scan: str, folder: Path) -> np.ndarray:
    """What ``monai.bundle run`` makes of a scan with the served copy, in the project's own environment."""
    scans = folder / "scans"
    scans.mkdir(parents=True)
    shutil.copy(server.studies / f"{scan}.nii.gz", scans)
    run_here(workflow(server.models / name, "inference", dataset_dir=str(scans), output_dir=str(folder / "here")))
    return np.asarray(nib.load(folder / "here" / f"{scan.removesuffix('_0000')}.nii.gz").dataobj)


def test_the_server_lists_the_bundles_with_their_labels(server):
    info = server.info()
    assert set(info["models"]) == set(info["trainers"]) == set(NAMES)
    for bundle in NETWORK_BUNDLES:
        model, metadata = info["models"][bundle.name], metadata_of(bundle)
        names = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
        assert model["labels"] == {name: int(index) for index, name in names.items() if index != "0"}
        assert (model["type"], model["dimension"], model["version"]) == ("segmentation", 3, metadata["version"])
    # 3D Slicer numbers segments by their places in this list.
    assert info["labels"] == [NAMES_OF[label] for label in CLASS_IDS]


@pytest.mark.parametrize("scan", SCANS[:2])
@pytest.mark.parametrize("name", NAMES)
def test_a_label_map_is_that_of_monai_bundle_run_to_the_voxel(server, name, scan, tmp_path):
    answer = server.infer(name, scan, tmp_path / "answer.nii.gz", result_dtype="uint8")
    assert grid_matches(answer, server.studies / f"{scan}.nii.gz")
    labels = np.asarray(answer.dataobj)
    assert labels.any()
    np.testing.assert_array_equal(labels, labels_here(server, name, scan, tmp_path))


def test_result_dtype_is_the_type_of_the_voxels_and_changes_no_label(server, tmp_path):
    answers = {
        dtype: server.infer("coarse_seg", SCANS[0], tmp_path / f"{dtype}.nii.gz", result_dtype=dtype)
        for dtype in ("uint8", "float32")
    }
    assert {name: answer.get_data_dtype().name for name, answer in answers.items()} == {name: name for name in answers}
    plain = server.infer("coarse_seg", SCANS[0], tmp_path / "plain.nii.gz")
    for answer in answers.values():
        np.testing.assert_array_equal(answer.get_fdata(), plain.get_fdata())


def test_a_scan_that_cannot_be_read_is_an_error_and_the_server_goes_on(server, tmp_path):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no scan")
    answer = requests.post(f"{server.address}/infer/coarse_seg?image={broken}&output=image", timeout=60)
    assert answer.status_code == 500
    deadline = time.monotonic() + 20  # the server logs a fault after it has answered
    while f"CaseError: {broken}: cannot be read" not in server.log.read_text():
        assert time.monotonic() < deadline, server.log.read_text()[-2000:]
        time.sleep(0.2)
    answer = server.infer("coarse_seg", SCANS[0], tmp_path / "next.nii.gz", result_dtype="uint8")
    assert grid_matches(answer, server.studies / f"{SCANS[0]}.nii.gz")


def test_a_corrected_label_is_kept_and_given_back(server, tmp_path):
    cases = drawn_cases(tmp_path)
    for scan in SCANS[:2]:
        label = cases / f"{scan.removesuffix('_0000')}.nii.gz"
        server.save_label(scan, label)
        kept = server.ask("GET", "/datastore/label", params={"label": scan, "tag": "final"})
        (tmp_path / "kept.nii.gz").write_bytes(kept.content)
        assert grid_matches(nib.load(tmp_path / "kept.nii.gz"), server.studies / f"{scan}.nii.gz")
        np.testing.assert_array_equal(nib.load(tmp_path / "kept.nii.gz").dataobj, nib.load(label).dataobj)
    state = server.ask("GET", "/datastore/").json()
    assert state["total"] == len(SCANS)
    assert state["label_tags"]["final"] >= 2


@pytest.mark.parametrize("name", NAMES)
def test_an_epoch_of_training_changes_the_copy_and_what_it_answers(server, name, tmp_path):
    cases = drawn_cases(tmp_path)
    for scan in ("0003_0000", "0006_0000"):  # both have a tumor in the liver
        server.save_label(scan, cases / f"{scan.removesuffix('_0000')}.nii.gz")
    root = server.models / name
    weights = root / "models" / "model.pt"
    before = weights.read_bytes()
    state = server.train(name, max_epochs=1, val_split=0.5, device="cpu")
    assert state["status"] == "DONE", "\n".join(state["details"]) + server.told()
    assert weights.read_bytes() != before
    (row,) = map(json.loads, (root / "eval" / "learning_curve.jsonl").read_text().splitlines())
    assert row["epoch"] == 1
    assert row["validation_dsc"] is not None
    assert not (root / "eval" / "resume.pt").exists()

    answer = server.infer(name, SCANS[0], tmp_path / "answer.nii.gz", result_dtype="uint8")
    np.testing.assert_array_equal(answer.dataobj, labels_here(server, name, SCANS[0], tmp_path))


def test_all_scans_are_labeled_at_once(server):
    options = {"device": "cpu", "multi_gpu": False, "max_workers": 1, "label_tag": "original", "result_dtype": "uint8"}
    server.ask("POST", "/batch/infer/coarse_seg?images=all&run_sync=true", json=options)
    for scan in SCANS:
        label = server.studies / "labels" / "original" / f"{scan}.nii.gz"
        assert grid_matches(nib.load(label), server.studies / f"{scan}.nii.gz")
