"""An unpacked bundle that was tampered with is refused when it is loaded, in one sentence, whichever bundle it is."""

import json
from pathlib import Path

import pytest

from tests.bundles.tiny import NETWORK_BUNDLES, workflow
from tests.tools.small_data import save_scan
from tests.tools.test_verify import drop_a_parameter, flip_a_byte
from tests.zoo.packing import renew_manifest, unpacked
from tools.predict import predict

NAMES = [bundle.name for bundle in NETWORK_BUNDLES]


def lie_about_channels(root: Path) -> None:
    path = root / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    pred = metadata["network_data_format"]["outputs"]["pred"]
    pred["num_channels"] -= 1
    del pred["channel_def"][str(pred["num_channels"])]
    path.write_text(json.dumps(metadata))


def name_a_path_outside(root: Path) -> None:
    path = root / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"]["../evil.py"] = "0"
    path.write_text(json.dumps(manifest))


# What was changed, whether the manifest was made to agree, and the sentence.
FAULTS = {
    "altered weights": (flip_a_byte, False, "model.pt is not the file that was packed: its sha256 differs;"),
    "a checkpoint that does not fit": (drop_a_parameter, True, "1 parameters are missing"),
    "channels": (lie_about_channels, True, "does not fit the network: network_data_format tells 1"),
    "a path outside": (name_a_path_outside, False, "names the file '../evil.py', which lies outside the bundle;"),
}


def by_monai(root: Path, folder: Path) -> None:
    workflow(root, "inference", dataset_dir=str(folder)).initialize()


def by_predict(root: Path, folder: Path) -> None:
    predict(str(root), str(save_scan(folder / "0001_0000.nii.gz")), str(folder / "out"))


def cause_of(error: BaseException) -> BaseException:
    """What MONAI's errors around it were raised from."""
    return error if error.__cause__ is None else cause_of(error.__cause__)


@pytest.mark.parametrize("load", [by_monai, by_predict])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_fault_is_one_sentence(name, fault, load, archives, tmp_path):
    root = unpacked(archives[name], tmp_path)
    change, manifest_too, words = FAULTS[fault]
    change(root)
    if manifest_too:
        renew_manifest(root)
    with pytest.raises(Exception) as error:  # noqa: PT011 - MONAI wraps it in others of its own
        load(root, tmp_path)
    told = str(cause_of(error.value))
    assert words in told
    assert "\n" not in told
    assert not (tmp_path / "out").exists()
