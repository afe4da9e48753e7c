"""The chain of paper B, whole, on a tiny data set with tiny networks, in the work folder of paper A's chain."""

import json
from pathlib import Path

import pytest
import yaml

from abdoseg.datalist import load_cases
from abdoseg.networks import read_architecture
from tests.tools.small_data import FIVE, ORGANS, SHORT, save_data_set, save_scan
from tests.tools.test_run import chain_options, manifests, stamps
from tools.__main__ import main

OWN = ("unlabeled", "organ_merge", "hosts", "organ_plan", "organs", "tumor_plan", "rest_plan", "combine")
OWN += ("pack_cascade",)


@pytest.fixture(scope="module")
def cascade(tmp_path_factory):
    """Run two_stage, then cascade in its work folder: options of the latter, work folder, what stood there, exit code.

    The tumors of the data set touch no organ: they belong to the family "rest", and "liver" has none.
    """
    root = tmp_path_factory.mktemp("cascade")
    data = save_data_set(root / "data", [ORGANS, ORGANS, FIVE, (*FIVE, 14), (1, 14)], testing=2)
    save_scan(data / "unlabelTr1800" / "0051_0000.nii.gz", 51)
    places = [f"--data_dir={data}", f"--work_dir={root / 'work'}"]
    shared = chain_options(root / "mine")
    assert main(["run", "two_stage", *places, *shared]) == 0
    before = stamps(root / "work" / "fine") | stamps(root / "work" / "teacher")
    short = root / "mine" / "short.yaml"
    short.write_text(yaml.safe_dump({**SHORT, "iterations_per_epoch": 2}))
    options = ["run", "cascade", *places, *shared, "--families=[liver,rest]", "--pseudo_min_voxels=1"]
    options += [f"--organ_overlay={short}", f"--tumor_overlay={short}", "--organ_plan_spacing=12,12,14"]
    for plan in ("organ", "tumor", "rest"):
        options += [f"--{plan}_plan_patch_size=16,16,16"]
    options += ["--tumor_plan_spacing=12,12,14", "--rest_plan_spacing=12,12,14", "--tumor_plan_batch_size=2"]
    options += ["--tumor_base_features=4", "--tumor_max_features=8"]
    return options, root / "work", before, main(options)


def test_it_reuses_paper_a_and_ends_in_a_report_of_all_arms(cascade):
    _, work, before, code = cascade
    assert code == 0
    assert stamps(work / "fine") | stamps(work / "teacher") == before
    status = {name: manifest["status"] for name, manifest in manifests(work).items()}
    assert {name: status[name] for name in OWN} == dict.fromkeys(OWN, "done")
    assert (status["tumor_liver_0"], status["tumor_rest_0"]) == ("skipped", "done")
    results = json.loads((work / "results.json").read_text())
    assert list(results["arms"]) == ["teacher", "student", "cascade_labeled", "cascade", "student_cascade"]
    assert {entry["arm"] for entry in results["comparisons"]} == {"cascade_labeled", "cascade", "student_cascade"}


def test_the_organ_network_learns_all_scans_and_no_tumor(cascade):
    _, work, _, _ = cascade
    ids = [case["id"] for case in load_cases(work / "cascade" / "round0" / "organs.json")]
    assert ids == ["0001", "0002", "0003", "0004", "0005", "0051"]
    assert read_architecture(work / "cascade" / "organs" / "weights" / "architecture.json", {})["plan"]["classes"] == 14


def test_only_scans_without_known_tumors_are_labeled(cascade):
    _, work, _, _ = cascade
    unknown = {case["id"] for case in load_cases(work / "cascade" / "round0" / "unknown.json")}
    held_out = {case["id"] for case in load_cases(work / "audit" / "datalist.json", validation=True)}
    assert unknown == {"0001", "0002", "0003", "0051"} - held_out
    labeled = {path.name.removesuffix(".nii.gz") for path in Path(work, "cascade/round1/predictions").glob("*.nii.gz")}
    assert labeled == unknown


def test_the_combination_has_the_organs_of_paper_a(cascade):
    _, work, _, _ = cascade
    combined = read_architecture(work / "cascade" / "combined" / "weights" / "architecture.json", {})
    last = read_architecture(work / "cascade" / "round1" / "weights" / "architecture.json", {})
    student = read_architecture(work / "fine" / "weights" / "architecture.json", {})
    assert combined["organs"] == student
    assert combined["tumors"] == last["tumors"]
    assert "rest" in combined["tumors"]


def test_a_second_run_does_nothing(cascade, capsys):
    options, work, _, _ = cascade
    kept = [folder for folder in work.iterdir() if folder.name not in ("report", "manifests")]
    before = [stamps(folder) for folder in kept if folder.is_dir()]
    assert main(options) == 0
    told = capsys.readouterr().out
    assert told.count("already") == told.count("/")
    assert "..." not in told
    assert [stamps(folder) for folder in kept if folder.is_dir()] == before
