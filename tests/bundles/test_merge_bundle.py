"""The merge bundle on real files: its outputs, a second run, cases set aside, and the command line of MONAI."""

import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigParser, ConfigWorkflow

from abdoseg.datalist import known_classes, load_cases, read_datalist, write_datalist
from abdoseg.files import CaseError
from abdoseg.merging import MergeCases

BUNDLE = Path(__file__).parents[2] / "bundles" / "pseudo_label_merge"
# Neither RAS nor axis-parallel to anything a careless writer would assume.
AFFINE = np.array([[0, -1.5, 0, 40], [-2.0, 0, 0, 30], [0, 0, 5.0, -700], [0, 0, 0, 1]])
SHAPE = (4, 3, 2)
STRONG = [*range(1, 14), 0]
# Weak label, pseudo label, merged label, provenance; the rest of each volume is background.
TUMOR_ONLY = ([0, 0, 14, 14, 0, 0, 0], [1, 1, 1, 1, 1, 0, 4], [1, 1, 14, 14, 1, 0, 4], [2, 2, 1, 1, 2, 0, 2])
LIVER_DRAWN = ([1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 4, 4], [1, 1, 1, 0, 4, 4], [1, 1, 1, 0, 2, 2])


def volume(values) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels.flat[: len(values)] = values
    return labels


def save(path: Path, values, affine=AFFINE) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(volume(values), affine), path)
    return str(path)


@pytest.fixture
def data(tmp_path) -> Path:
    """Two weak cases, a strong one without pseudo label, an unlabeled and a test scan."""
    weak = {"kind": "weak", "annotated_classes": [14], "validation": True}
    entries = {"0001": TUMOR_ONLY, "0002": LIVER_DRAWN}
    training = []
    for name, (label, pseudo, _, _) in entries.items():
        path = save(tmp_path / "labels" / f"{name}.nii.gz", label)
        training.append({"id": name, "image": f"images/{name}_0000.nii.gz", "label": path, **weak})
        save(tmp_path / "pseudo" / f"{name}.nii.gz", pseudo)
    path = save(tmp_path / "labels" / "0003.nii.gz", STRONG)
    training.append({"id": "0003", "image": "images/0003_0000.nii.gz", "label": path, "kind": "strong"})
    save(tmp_path / "images" / "0004_0000.nii.gz", [])
    save(tmp_path / "pseudo" / "0004.nii.gz", [1, 2, 0, 4])
    content = {
        "seed": 0,
        "training": training,
        "unlabeled": [{"id": "0004", "image": "images/0004_0000.nii.gz", "kind": "unlabeled"}],
        "testing": [{"id": "0005", "image": "images/0005_0000.nii.gz", "kind": "test"}],
        "excluded": [{"id": "0009", "reason": "broken"}],
    }
    write_datalist(tmp_path / "datalist.json", content)
    return tmp_path


def merger(data: Path, **settings) -> MergeCases:
    return MergeCases(data / "datalist.json", data / "pseudo", data / "out", progress=False, **settings)


def assert_merged(data: Path) -> None:
    cases = {case["id"]: case for case in load_cases(data / "out" / "datalist.json")}
    for name, (_, _, merged, source) in {"0001": TUMOR_ONLY, "0002": LIVER_DRAWN}.items():
        for folder, expected in (("labels", merged), ("provenance", source)):
            image = nib.load(data / "out" / folder / f"{name}.nii.gz")
            np.testing.assert_array_equal(np.asarray(image.dataobj), volume(expected))
            np.testing.assert_array_equal(image.affine, AFFINE)
            assert image.get_data_dtype() == np.uint8
        assert cases[name]["label"] == str(data / "out" / "labels" / f"{name}.nii.gz")


def test_the_documented_command_in_the_bundle_folder(data):
    paths = ["--datalist", data / "datalist.json", "--pseudo_dir", data / "pseudo", "--output_dir", data / "out"]
    command = [sys.executable, "-m", "monai.bundle", "run", "merging", "--config_file", "configs/merge.yaml", *paths]
    result = subprocess.run(list(map(str, command)), cwd=BUNDLE, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert_merged(data)


def test_config_reaches_every_setting_from_any_directory(data, monkeypatch):
    monkeypatch.chdir(data)
    settings = {"policy": "overwrite_pseudo", "min_present_voxels": 3, "include_unlabeled": True, "num_threads": 1}
    paths = {"datalist": data / "datalist.json", "pseudo_dir": data / "pseudo", "output_dir": data / "out"}
    workflow = ConfigWorkflow(
        str(BUNDLE / "configs" / "merge.yaml"),
        meta_file=str(BUNDLE / "configs" / "metadata.json"),
        logging_file=str(BUNDLE / "configs" / "logging.conf"),
        run_id="merging",
        workflow_type="train",
        bundle_root=str(BUNDLE),
        **{name: str(path) for name, path in paths.items()},
        **settings,
    )
    workflow.initialize()
    (result,) = workflow.run()
    assert (result["merged"], result["up_to_date"], result["failed"]) == (4, 0, {})
    summary = json.loads((data / "out" / "summary.json").read_text())
    assert (summary["policy"], summary["min_present_voxels"], summary["cases"]) == ("overwrite_pseudo", 3, 4)


def test_datalist_keeps_what_a_person_drew_and_names_the_merged_labels(data):
    result = merger(data).run()
    assert result == {"datalist": str(data / "out" / "datalist.json"), "merged": 3, "up_to_date": 0, "failed": {}}
    assert_merged(data)
    weak, _, strong = load_cases(result["datalist"])
    assert weak["annotated_classes"] == [14]
    assert weak["filled_classes"] == list(range(1, 14))
    assert weak["validation"] is True
    assert weak["merged"] is True
    assert weak["image"] == str(data / "images" / "0001_0000.nii.gz")
    assert (strong["kind"], strong["filled_classes"]) == ("strong", [])
    np.testing.assert_array_equal(np.asarray(nib.load(strong["label"]).dataobj), volume(STRONG))
    np.testing.assert_array_equal(
        np.asarray(nib.load(data / "out" / "provenance" / "0003.nii.gz").dataobj), volume([1] * 13)
    )
    content = read_datalist(result["datalist"])
    assert content["seed"] == 0
    assert [case["id"] for case in content["unlabeled"] + content["testing"]] == ["0004", "0005"]
    assert content["excluded"] == [{"id": "0009", "reason": "broken"}]


def test_an_organ_that_the_teacher_does_not_know_stays_unknown(data):
    """An imported model without pancreas: where nobody drew one, nobody knows of it."""
    (data / "pseudo" / "manifest.json").write_text(json.dumps({"classes": [1, 2, 3], "seconds": {}}))
    weak, _, strong = load_cases(merger(data).run()["datalist"])
    assert (weak["annotated_classes"], weak["filled_classes"]) == ([14], [1, 2, 3])
    assert known_classes(weak) == [1, 2, 3, 14]
    assert known_classes(strong) == list(range(1, 14))


def test_summaries_count_voxels_by_class(data):
    merger(data).run()
    classes = json.loads((data / "out" / "summary" / "0001.json").read_text())["classes"]
    assert classes["1"] == {"name": "liver", "kept": 0, "filled": 3, "discarded": 2}
    assert classes["14"] == {"name": "tumor", "kept": 2, "filled": 0, "discarded": 0}
    # Liver: 3 + 1 kept (cases 0002, 0003), 3 filled (0001), 2 + 3 discarded (0001, 0002).
    total = json.loads((data / "out" / "summary.json").read_text())
    assert total["cases"] == 3
    assert total["classes"]["1"] == {"name": "liver", "kept": 4, "filled": 3, "discarded": 5}
    assert total["classes"]["4"] == {"name": "pancreas", "kept": 1, "filled": 3, "discarded": 0}


def test_unlabeled_cases_take_their_pseudo_labels_when_asked(data):
    result = merger(data, include_unlabeled=True).run()
    (case,) = load_cases(result["datalist"], kind="unlabeled")
    assert case["id"] == "0004"
    assert known_classes(case) == list(range(1, 14))
    np.testing.assert_array_equal(np.asarray(nib.load(case["label"]).dataobj), volume([1, 2, 0, 4]))
    assert "unlabeled" not in read_datalist(result["datalist"])


def test_an_organ_that_a_person_looked_for_stays_the_persons(data):
    """The liver of case 0001 was looked for and is not there: the teacher's is not taken, but its pancreas is."""
    merger(data).run()
    content = read_datalist(data / "datalist.json")
    content["training"][0]["annotated_classes"] = [1, 14]
    write_datalist(data / "datalist.json", content)
    result = merger(data).run()
    assert (result["merged"], result["up_to_date"]) == (1, 2)
    case = load_cases(result["datalist"])[0]
    assert (case["annotated_classes"], case["filled_classes"]) == ([1, 14], list(range(2, 14)))
    np.testing.assert_array_equal(np.asarray(nib.load(case["label"]).dataobj), volume([0, 0, 14, 14, 0, 0, 4]))


def test_a_second_run_does_what_is_missing_or_stale_and_nothing_else(data):
    merger(data).run()
    outputs = {path: path.stat().st_mtime_ns for path in (data / "out").glob("*/*")}
    assert len(outputs) == 9
    before = (data / "out" / "datalist.json").read_bytes(), (data / "out" / "summary.json").read_bytes()
    assert merger(data).run()["up_to_date"] == 3
    assert {path: path.stat().st_mtime_ns for path in outputs} == outputs
    assert before == ((data / "out" / "datalist.json").read_bytes(), (data / "out" / "summary.json").read_bytes())

    (data / "out" / "provenance" / "0001.nii.gz").unlink()
    save(data / "pseudo" / "0002.nii.gz", [0, 1, 1, 1, 5, 5])
    os.utime(data / "pseudo" / "0002.nii.gz", ns=(1, 1))
    result = merger(data, num_threads=2).run()
    assert (result["merged"], result["up_to_date"]) == (2, 1)
    merged = nib.load(data / "out" / "labels" / "0002.nii.gz")
    np.testing.assert_array_equal(np.asarray(merged.dataobj), volume([1, 1, 1, 0, 5, 5]))
    assert merger(data, policy="overwrite_pseudo").run()["up_to_date"] == 0


def test_the_first_folder_that_holds_a_case_gives_its_pseudo_label(data):
    save(data / "published" / "0002.nii", [0, 1, 1, 1, 5, 5])
    folders = [data / "nowhere", None, str(data / "published"), data / "pseudo"]
    merging = MergeCases(data / "datalist.json", folders, data / "out", progress=False)
    assert merging.run()["merged"] == 3
    merged = {name: nib.load(data / "out" / "labels" / f"{name}.nii.gz").dataobj for name in ("0001", "0002")}
    np.testing.assert_array_equal(merged["0001"], volume(TUMOR_ONLY[2]))
    np.testing.assert_array_equal(merged["0002"], volume([1, 1, 1, 0, 5, 5]))

    # The other folder's label is as good an input; what it gave before is stale.
    (data / "published" / "0002.nii").unlink()
    assert (merging.run()["up_to_date"], merging.run()["up_to_date"]) == (2, 3)
    assert_merged(data)
    (data / "pseudo" / "0002.nii.gz").unlink()
    assert merging.run()["failed"] == {
        "0002": f"{data}/nowhere/0002.nii.gz: there is no such pseudo label, nor in {data}/published or {data}/pseudo "
        f"(no such folder: {data}/nowhere); let the teacher label this case first."
    }


def test_without_any_folder_only_strong_cases_are_merged(data):
    for folders, sentence in (
        ([data / "a", None, data / "b"], f"^{data}/a, {data}/b: there is no such folder; it should hold the teacher's"),
        ([None], "^No folder of pseudo labels is given; give one that holds the teacher's labels"),
    ):
        merging = MergeCases(data / "datalist.json", folders, data / "out", progress=False)
        with pytest.raises(CaseError, match=sentence):
            merging.run()
    content = read_datalist(data / "datalist.json")
    content["training"] = content["training"][2:]
    write_datalist(data / "datalist.json", content)
    assert merging.run()["merged"] == 1


def shift(path: Path) -> None:
    save(path, [1], AFFINE + np.eye(4)[:, [3, 3, 3, 0]])


FAULTS = {
    "no pseudo label": ("pseudo", Path.unlink, "pseudo/0002.nii.gz: there is no such pseudo label"),
    "no weak label": ("labels", Path.unlink, "labels/0002.nii.gz: the file named in the datalist is not there"),
    "grid": (
        "pseudo",
        shift,
        "pseudo/0002.nii.gz: has another affine (a corner lies 1 mm away); a pseudo label lies on",
    ),
    "value": ("pseudo", lambda path: save(path, [77]), "pseudo/0002.nii.gz: unknown label value 77"),
    "broken": ("labels", lambda path: path.write_bytes(b"text"), "labels/0002.nii.gz: cannot be read"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_case_is_set_aside_and_leaves_no_outputs(data, fault):
    merger(data).run()
    folder, damage, reason = FAULTS[fault]
    damage(data / folder / "0002.nii.gz")
    result = merger(data).run()
    assert list(result["failed"]) == ["0002"]
    assert reason in result["failed"]["0002"]
    assert [case["id"] for case in load_cases(result["datalist"])] == ["0001", "0003"]
    assert [case["id"] for case in read_datalist(result["datalist"])["excluded"]] == ["0009", "0002"]
    assert not list((data / "out").glob("*/0002*"))


def test_what_stops_the_merge_is_said_before_anything_is_written(data):
    with pytest.raises(
        CaseError, match=r"^Unknown merge policy 'fil'\. Use 'fill_background' or 'overwrite_pseudo'\.$"
    ):
        merger(data, policy="fil")
    with pytest.raises(CaseError, match=r"datalist\.json: the output folder must not be"):
        MergeCases(data / "datalist.json", data / "pseudo", data, progress=False).run()
    shutil.rmtree(data / "pseudo")
    with pytest.raises(CaseError, match="pseudo: there is no such folder"):
        merger(data).run()
    shutil.rmtree(data / "labels")
    (data / "pseudo").mkdir()
    with pytest.raises(CaseError, match=r"not one case could be merged; the first reason: .*0001"):
        merger(data).run()
    assert not (data / "out").exists()


def test_memory_does_not_grow_with_the_number_of_cases(tmp_path):
    values = np.random.default_rng(0).integers(0, 14, (50, 50, 50)).astype(np.uint8)
    peaks = []
    for number in (2, 10):
        root = tmp_path / str(number)
        (root / "pseudo").mkdir(parents=True)
        nib.save(nib.Nifti1Image(values, AFFINE), root / "weak.nii.gz")
        for index in range(number):
            (root / "pseudo" / f"{index:04}.nii.gz").hardlink_to(root / "weak.nii.gz")
        case = {"image": "image.nii.gz", "label": "weak.nii.gz", "kind": "weak"}
        write_datalist(root / "datalist.json", {"training": [{"id": f"{i:04}", **case} for i in range(number)]})
        tracemalloc.start()
        merger(root).run()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Eight cases more, each of 125,000 voxels in three maps; keeping even one map of each would add a megabyte.
    assert peaks[1] < peaks[0] + 500_000, peaks


def test_metadata_obeys_the_schema_and_names_inputs_and_output():
    metadata = ConfigParser.load_config_file(BUNDLE / "configs" / "metadata.json")
    formats = metadata["network_data_format"]
    assert list(formats["inputs"]) == ["weak", "pseudo"]
    assert next(iter(formats["outputs"])) == "merged"
    assert metadata["version"] in metadata["changelog"]
    schema = Path(__file__).parents[3] / "shared" / "data" / "meta_schema_20240725_equivalent.json"
    if not schema.is_file():
        pytest.skip(f"{schema} is not here; the rest of the test has passed")
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(metadata, json.loads(schema.read_text()))
