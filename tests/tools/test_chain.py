"""Chains as data: placeholders, what makes a stage stale, manifests, and the chain of paper A."""

import json
import os
from pathlib import Path

import pytest
import yaml

from abdoseg.files import CaseError, write_json
from tests.tools.small_data import save_data_set
from tools.__main__ import COMMANDS, module_name
from tools.chain import BUNDLES, Manifests, Stage, data_signature, outdated, read_manifest
from tools.phantom import phantom
from tools.pipeline import PIPELINES, load_pipeline
from tools.stage_rank import OVERLAY

PLACES = {"data_dir": "/data", "work_dir": "/work"}
TINY = """
parameters:
  seed: 0
  shape: null
  axes: [x, y]
presets:
  small: {seed: 5}
stages:
- name: first
  tool: audit
  arguments: {a: "{seed}", b: "{work_dir}/{seed}.json", c: "{shape}", d: "{axes}"}
- name: second
  bundle: fine_seg
  run: training
  configs: [train.yaml, "{shape}"]
  after: [first]
  arguments: {seed: "{seed}"}
"""


@pytest.fixture
def tiny(tmp_path) -> str:
    (tmp_path / "tiny.yaml").write_text(TINY)
    return str(tmp_path / "tiny.yaml")


def test_placeholders_take_the_type_of_their_value_and_nulls_vanish(tiny):
    first, second = load_pipeline(tiny, None, {**PLACES, "axes": ("z",)})
    assert first.arguments == {"a": 0, "b": "/work/0.json", "d": ["z"]}
    assert second.configs == ("train.yaml",)
    assert load_pipeline(tiny, "small", PLACES)[0].arguments["a"] == 5
    assert load_pipeline(tiny, "small", {**PLACES, "seed": 7})[0].arguments["a"] == 7


@pytest.mark.parametrize(
    ("name", "preset", "values", "words"),
    [
        ("three_stage", None, {}, r"Unknown chain 'three_stage'\. Use one of: .*two_stage"),
        ("two_stage", "fast", {}, r"no preset 'fast'\. Use one of: demo, or none"),
        ("two_stage", None, {"sead": 1}, r"no parameter sead\. It has: seed, validation_cases"),
        ("two_stage", None, {"seed": "x"}, r"Parameter seed is 'x'; it takes a value such as 0"),
        ("two_stage", None, {"mirror_axes": "x"}, r"Parameter mirror_axes is 'x'; it takes a value such as \['left"),
    ],
)
def test_unknown_names_and_wrong_types_are_refused_with_the_allowed_ones(name, preset, values, words):
    with pytest.raises(CaseError, match=words):
        load_pipeline(name, preset, {**PLACES, **values})


CHAINS = [
    (path.stem, preset)
    for path in sorted(PIPELINES.glob("*.yaml"))
    for preset in (None, *yaml.safe_load(path.read_text()).get("presets", {}))
]


@pytest.mark.parametrize(("name", "preset"), CHAINS)
def test_every_chain_is_sound(name, preset):
    stages = load_pipeline(name, preset, PLACES)
    seen = set()
    for stage in stages:
        assert set(stage.after) <= seen, stage.name
        seen.add(stage.name)
        assert (stage.tool is None) != (stage.run is None)
        assert stage.tool is None or stage.tool in map(module_name, COMMANDS)
        assert all(path.is_file() for path in stage.config_files())
        # Nothing depends on the folder that the command is called from.
        assert all(os.path.isabs(path) for path in (*stage.outputs, *stage.state))
    assert len(seen) == len(stages)


def test_the_chain_of_paper_a_has_its_stages():
    assert ("two_stage", "demo") in CHAINS
    names = {stage.name for stage in load_pipeline("two_stage", None, PLACES)}
    assert names >= {
        "audit",
        "plan",
        "teacher",
        "pseudo_labels",
        "merge",
        "coarse",
        "fine",
        "predict_student",
        "report",
    }


def keys_of(inputs="data", **values) -> dict[str, str]:
    keys: dict[str, str] = {}
    for stage in load_pipeline("two_stage", None, {**PLACES, **values}):
        keys[stage.name] = stage.key(keys, inputs)
    return keys


AFTER_FINE = {"fine", "predict_student", "score_student", "report", "pack"}
AFTER_LABELS = {"pseudo_labels", "merge", "coarse", *AFTER_FINE}
AFTER_TEACHER = {"teacher", "predict_teacher", "score_teacher", *AFTER_LABELS}


@pytest.mark.parametrize(
    ("values", "stale"),
    [
        ({}, set()),
        ({"seed": 1}, {"audit", "plan", *AFTER_TEACHER}),
        ({"inputs": "other data"}, {"audit", "plan", *AFTER_TEACHER}),
        ({"plan_base_features": 16}, {"plan", *AFTER_TEACHER}),
        ({"teacher_overlay": "demo.yaml"}, AFTER_TEACHER),
        ({"mirror_axes": []}, {"predict_teacher", "score_teacher", *AFTER_LABELS}),
        ({"coarse_overlay": "demo.yaml"}, {"coarse", *AFTER_FINE}),
        ({"fine_overlay": "demo.yaml"}, AFTER_FINE),
    ],
)
def test_a_change_makes_exactly_the_dependent_stages_stale(values, stale):
    before, after = keys_of(), keys_of(**values)
    assert {name for name in before if before[name] != after[name]} == stale


def test_config_files_are_those_of_the_bundle_or_ones_own(tmp_path, monkeypatch):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("max_epochs: 1")
    monkeypatch.chdir(tmp_path)
    base = BUNDLES / "fine_seg" / "configs" / "train.yaml"
    for name in (str(overlay), "mine.yaml"):
        stage = Stage("fine", bundle="fine_seg", run="training", configs=("train.yaml", name))
        assert stage.config_files() == [base, overlay]
    before = stage.key({}, "")
    overlay.write_text("# how long\nmax_epochs:   1   # very short")
    assert stage.key({}, "") == before
    overlay.write_text("max_epochs: 2")
    assert stage.key({}, "") != before
    overlay.unlink()
    with pytest.raises(CaseError, match=r"mine\.yaml: neither .*fine_seg/configs nor the current folder"):
        stage.key({}, "")


def test_manifests_tell_what_is_done(tmp_path):
    manifests, output = Manifests(tmp_path), tmp_path / "out.json"
    stage = Stage("one", outputs=(str(output),))
    assert not manifests.is_done(stage, "k")
    manifests.write("one", {"key": "k", "status": "done"})
    assert not manifests.is_done(stage, "k")
    output.write_text("{}")
    assert manifests.is_done(stage, "k")
    assert not manifests.is_done(stage, "other")
    for status in ("running", "failed"):
        manifests.write("one", {"key": "k", "status": status})
        assert not manifests.is_done(stage, "k")
    output.unlink()
    manifests.write("one", {"key": "k", "status": "skipped"})
    assert manifests.is_done(stage, "k")
    assert manifests.read("one")["versions"]["monai"]


def test_what_another_stage_replaces_is_not_done_any_more(tmp_path):
    manifests, plan = Manifests(tmp_path), tmp_path / "plan.json"
    planned, given = (Stage(name, "plan", outputs=(str(plan),)) for name in ("plan", "start_teacher"))
    other = Stage("audit", "audit", outputs=(str(tmp_path / "audit.json"),))
    pages = [Stage(name, "report", outputs=(str(tmp_path / "page.html"),)) for name in ("report", "report_direct")]
    for stage in (other, planned, *pages):
        manifests.begin(stage, {stage.name: "k"})
        Path(stage.outputs[0]).write_text("{}")
        manifests.end(stage.name, {"status": "done"})
    assert all(manifests.is_done(stage, "k") for stage in (other, planned, *pages))
    (manifests.folder / ".tmp-1-plan.json").touch()  # of a process that was killed while it wrote
    manifests.begin(given, {given.name: "k"})
    assert not manifests.is_done(planned, "k")
    assert manifests.read("plan")["by"] == "start_teacher"
    assert all(manifests.is_done(stage, "k") for stage in (other, *pages))


def test_what_was_made_of_something_older_is_outdated(tmp_path):
    manifests = Manifests(tmp_path)
    stages = [Stage("audit"), Stage("teacher", after=("audit",)), Stage("score", after=("teacher",)), Stage("other")]

    def found() -> set[str]:
        return outdated({stage.name: manifests.read(stage.name) for stage in stages})

    for stage in stages:
        manifests.begin(stage, {one.name: "1" for one in stages})
    assert found() == set()
    manifests.begin(stages[1], {"audit": "1", "teacher": "2"})
    assert found() == {"score"}
    manifests.begin(stages[0], {"audit": "2"})
    assert found() == {"teacher", "score"}
    # Skipped or of earlier versions: nothing tells against them.
    manifests.write("score", {"key": "1", "status": "done"})
    assert found() == {"teacher"}


def test_hidden_files_of_an_input_folder_decide_nothing(tmp_path):
    stage = Stage("merge", inputs=(str(tmp_path),))
    (tmp_path / "0001.nii.gz").write_text("labels")
    before = stage.key({}, "data")
    for name in (".tmp-1-0002.nii.gz", ".lock"):
        (tmp_path / name).touch()  # of a process that was killed while it labeled there
    assert stage.key({}, "data") == before
    (tmp_path / "0002.nii.gz").touch()
    assert stage.key({}, "data") != before


def test_a_manifest_that_is_none_is_named(tmp_path):
    path = tmp_path / "manifest.json"
    assert read_manifest(path) == {}
    for text in ("{", "[]"):
        path.write_text(text)
        with pytest.raises(CaseError, match=r"manifest\.json: not"):
            read_manifest(path)


def test_cases_that_a_stage_is_about(tmp_path):
    def missing(**cases):
        return Stage("s", cases={"path": str(tmp_path / "list.json"), **cases}).missing_cases()

    strong = {"id": "1", "image": "i", "label": "l", "kind": "strong"}
    test = {"id": "2", "image": "i", "kind": "test"}
    write_json(tmp_path / "list.json", {"training": [strong], "testing": []})
    assert missing(section="training", kind="strong") is None
    assert missing(section="training", kind="weak") == "the data set has no weak cases in section 'training'"
    assert missing(section="testing") == "the data set has no cases in section 'testing'"
    write_json(tmp_path / "list.json", {"training": [strong], "testing": [test]})
    assert missing(section="testing") is None
    expected = "the data set has no cases in section 'testing' with a label"
    assert missing(section="testing", labeled=True) == expected
    write_json(tmp_path / "list.json", {"training": [strong], "testing": [test, {**test, "id": "3", "label": "l"}]})
    assert missing(section="testing", labeled=True) is None
    assert Stage("s").missing_cases() is None


def test_the_signature_follows_scans_and_labels_only(tmp_path):
    root = save_data_set(tmp_path / "data", [(1,), (2,)], testing=1)
    before = data_signature(root)
    # A work folder within the data set, and the phantom's notes, are no data.
    (root / "runs" / "audit").mkdir(parents=True)
    (root / "runs" / "audit" / "x.nii.gz").write_text("")
    (root / "phantom.json").write_text("{}")
    assert data_signature(root) == before
    label = root / "labelsTr2200" / "0001.nii.gz"
    os.utime(label, ns=(1, 1))
    changed = data_signature(root)
    assert changed != before
    (root / "truth" / "0101.nii.gz").unlink()
    assert data_signature(root) not in (before, changed)


def test_the_phantom_has_a_signature_that_a_second_call_keeps(tmp_path):
    options = {"cases": 1, "unlabeled": 0, "test_cases": 0, "min_strong": 0}
    phantom(str(tmp_path / "data"), **options)
    before = data_signature(tmp_path / "data")
    phantom(str(tmp_path / "data"), **options)
    assert data_signature(tmp_path / "data") == before
    assert json.loads((tmp_path / "data" / "phantom.json").read_text())["settings"]["cases"] == 1


def test_trainings_and_what_goes_case_by_case_are_shared_among_processes():
    alone = {"audit", "plan", "organ_plan", "tumor_plan", "rest_plan", "combine", "report", "pack", "pack_cascade"}
    for chain in ("two_stage", "cascade"):
        for stage in load_pipeline(chain, None, PLACES):
            assert stage.is_shared == (stage.name not in alone and not stage.name.startswith("assemble_")), stage.name
            if stage.run == "training":
                assert (BUNDLES / stage.bundle / "configs" / OVERLAY).is_file()
