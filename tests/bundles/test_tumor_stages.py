"""The cascade bundle's stages between files: hosts.yaml and filter.yaml reach every setting, from any directory."""

import json
import re

import numpy as np
import pytest

from abdoseg.datalist import load_cases, write_datalist
from tests.bundles.tiny import REPOSITORY, raw, run, workflow
from tests.tumors.stage_cases import body, load, save, with_tumor

BUNDLE = REPOSITORY / "bundles" / "tumor_cascade"
DRAWN = with_tumor(body(), (slice(2, 4), 6, 3), (10, 1, slice(1, 4)))
PREDICTED = with_tumor(body(), (slice(2, 4), slice(6, 8), slice(3, 5)), (10, 1, 1))


@pytest.fixture
def data(tmp_path):
    """A case with two drawn tumors, two unlabeled ones with predictions of two rounds."""
    training = [{"id": "a", "kind": "weak", "annotated_classes": [14], "label": save(tmp_path / "a.nii.gz", DRAWN)}]
    for name in ("b", "c"):
        training.append({"id": name, "kind": "unlabeled", "label": save(tmp_path / f"{name}.nii.gz", body(), "LAS")})
        save(tmp_path / "now" / f"{name}.nii.gz", PREDICTED, "LAS")
        save(tmp_path / "before" / f"{name}.nii.gz", PREDICTED if name == "b" else body(), "LAS")
    cases = [{**case, "image": f"{case['id']}_0000.nii.gz"} for case in training]
    write_datalist(tmp_path / "datalist.json", {"training": cases})
    return tmp_path


def cases(path) -> dict[str, dict]:
    return {case["id"]: case for case in load_cases(path)}


def summary(data, folder) -> dict:
    return json.loads((data / folder / "summary.json").read_text())


def test_hosts_then_filter(data, monkeypatch):
    monkeypatch.chdir(data)
    paths = {"datalist": str(data / "datalist.json"), "output_dir": str(data / "hosts")}
    run(workflow(BUNDLE, "hosts", run_id="assigning", **paths))
    assert cases(data / "hosts" / "tumors.json")["a"]["hosts"] == {"1": 1, "2": 0, "11": 0, "13": 1}
    np.testing.assert_array_equal(load(data / "hosts" / "organ_labels" / "a.nii.gz"), body())
    assert list(cases(data / "hosts" / "unknown.json")) == ["b", "c"]

    paths = {"datalist": str(data / "hosts" / "tumors.json"), "output_dir": str(data / "filtered")}
    settings = {"predictions_dir": str(data / "now"), "rules#min_voxels": 8}
    run(workflow(BUNDLE, "filter", run_id="filtering", **paths, **settings))
    after = cases(data / "filtered" / "tumors.json")
    assert {name: case["hosts"] for name, case in after.items()} == {
        "a": {"1": 1, "2": 0, "11": 0, "13": 1},
        "b": {"1": 1, "2": 0, "11": 0, "13": 0},
        "c": {"1": 1, "2": 0, "11": 0, "13": 0},
    }
    expected = with_tumor(body(), (slice(2, 4), slice(6, 8), slice(3, 5)))
    np.testing.assert_array_equal(load(after["b"]["label"]), expected)


def test_every_setting_of_hosts_is_reached(data):
    paths = {"datalist": str(data / "datalist.json"), "output_dir": str(data / "out")}
    settings = {"enclose": False, "max_foci": 1, "faithful_box": True, "num_threads": 1}
    run(workflow(BUNDLE, "hosts", run_id="run", **paths, **settings))
    found = summary(data, "out")
    assert {name: found[name] for name in ("enclose", "max_foci", "faithful_box")} == {
        "enclose": False,
        "max_foci": 1,
        "faithful_box": True,
    }
    assert list(found["too_many_foci"]) == ["a"]
    np.testing.assert_array_equal(load(data / "out" / "organ_labels" / "a.nii.gz"), np.where(DRAWN == 14, 0, DRAWN))


def test_every_setting_of_the_filter_is_reached(data):
    hosts = {"datalist": str(data / "datalist.json"), "output_dir": str(data / "hosts")}
    run(workflow(BUNDLE, "hosts", run_id="run", **hosts))
    paths = {"datalist": data / "hosts" / "tumors.json", "output_dir": data / "out", "predictions_dir": data / "now"}
    settings = {"families": ["kidneys"], "previous_dir": str(data / "before"), "discard": 0.5, "num_threads": 1}
    paths = {name: str(path) for name, path in paths.items()}
    run(workflow(BUNDLE, "filter", run_id="run", **paths, **settings, **{"rules#min_voxels": 1}))
    found = summary(data, "out")
    assert (found["min_voxels"], found["families"]["kidneys"], found["discard"]) == (1, {"kept": 2, "rejected": 0}, 0.5)
    assert list(found["unstable"]) == ["c"]
    after = cases(data / "out" / "tumors.json")
    assert list(after) == ["a", "b"]
    np.testing.assert_array_equal(load(after["b"]["label"]), with_tumor(body(), (10, 1, 1)))


def test_published_numbers_are_the_defaults():
    hosts, filtering = raw(BUNDLE, "hosts"), raw(BUNDLE, "filter")
    assert hosts["max_foci"] == 6
    assert filtering["rules"]["min_voxels"] == 2048
    assert filtering["families"] == ["liver", "pancreas", "kidneys", "rest"]


@pytest.mark.parametrize(("name", "run_id"), [("hosts", "assigning"), ("filter", "filtering")])
def test_the_command_in_the_head_of_a_config_fits_it(name, run_id):
    path, config = BUNDLE / "configs" / f"{name}.yaml", raw(BUNDLE, name)
    command = next(line for line in path.read_text().splitlines() if "monai.bundle run" in line)
    assert f"monai.bundle run {run_id} --config_file configs/{name}.yaml" in command
    assert config[run_id] == "%run"
    options = re.findall(r"--(\w+)", command)
    assert set(options) - {"config_file"} <= set(config)
