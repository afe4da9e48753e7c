"""What a chain's file may say: stages of another chain, repetitions, conditions, and the chain of paper B."""

import pytest
import yaml
from monai.bundle import ConfigParser

from abdoseg.files import CaseError
from abdoseg.transforms import FLIP_AXES
from abdoseg.tumors import FAMILIES, REST
from tools.pipeline import load_pipeline

PLACES = {"data_dir": "/data", "work_dir": "/work"}
BASE = {
    "parameters": {"seed": 0, "grid": [5]},
    "presets": {"demo": {"seed": 1}},
    "stages": [
        {"name": "audit", "tool": "audit", "arguments": {"seed": "{seed}"}},
        {"name": "plan", "tool": "plan", "after": ["audit"], "arguments": {"grid": "{grid}"}},
        {"name": "report", "tool": "report", "after": ["plan"]},
    ],
}


def write(folder, name: str, content: dict) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def stages_of(tmp_path, stages: list[dict], preset=None, parameters=None, **values) -> dict:
    base = write(tmp_path, "base", BASE)
    content = {"inherits": base, "parameters": parameters or {}, "presets": {"demo": {"grid": [9]}}, "stages": stages}
    chain = write(tmp_path, "chain", content)
    return {stage.name: stage for stage in load_pipeline(chain, preset, {**PLACES, **values})}


def test_an_inherited_stage_is_the_same_stage(tmp_path):
    """Its key decides whether a work folder holds its result already."""
    stages = stages_of(tmp_path, [{"inherit": "audit"}, {"inherit": "plan"}])
    for original in load_pipeline(str(tmp_path / "base.yaml"), None, PLACES)[:2]:
        assert stages[original.name] == original
        assert stages[original.name].key({"audit": "a"}, "data") == original.key({"audit": "a"}, "data")


def test_an_inherited_stage_can_be_varied(tmp_path):
    """Its arguments one by one, all else as a whole."""
    varied = {"inherit": "plan", "name": "plan_small", "after": [], "arguments": {"spacing": 6}}
    stages = stages_of(tmp_path, [{"inherit": "audit"}, {"inherit": "plan"}, varied])
    assert stages["plan"].arguments == {"grid": [5]}
    assert stages["plan_small"].arguments == {"grid": [5], "spacing": 6}
    assert (stages["plan_small"].tool, stages["plan_small"].after) == ("plan", ())


def test_parameters_and_presets_of_both_chains_hold(tmp_path):
    stages = stages_of(tmp_path, [{"inherit": "audit"}, {"inherit": "plan"}], preset="demo")
    assert (stages["audit"].arguments, stages["plan"].arguments) == ({"seed": 1}, {"grid": [9]})


def test_a_number_repeats_from_zero_and_knows_the_one_before(tmp_path):
    group = {
        "each": {"round": "{rounds}"},
        "stages": [
            {"name": "label_{round}", "tool": "predict", "when": "{round}", "after": ["train_{previous_round}"]},
            {"name": "train_{round}", "tool": "plan", "after": ["label_{round}"]},
        ],
    }
    stages = stages_of(tmp_path, [group], parameters={"rounds": 2})
    assert {name: stage.after for name, stage in stages.items()} == {
        "train_0": (),
        "label_1": ("train_0",),
        "train_1": ("label_1",),
        "label_2": ("train_1",),
        "train_2": ("label_2",),
    }


def test_lists_repeat_inside_each_other_and_a_star_waits_for_all(tmp_path):
    inner = {
        "each": {"arm": [{"name": "one", "weights": "{family}/1"}, {"name": "two", "weights": "{family}/2"}]},
        "stages": [{"name": "{family}_{arm[name]}", "tool": "plan", "arguments": {"w": "{arm[weights]}"}}],
    }
    outer = {"each": {"family": "{families}"}, "stages": [inner]}
    last = {"name": "join", "tool": "plan", "after": ["*_two"]}
    stages = stages_of(tmp_path, [outer, last], parameters={"families": ["liver", "rest"]})
    assert list(stages) == ["liver_one", "liver_two", "rest_one", "rest_two", "join"]
    assert stages["rest_two"].arguments == {"w": "rest/2"}
    assert stages["join"].after == ("liver_two", "rest_two")


def test_conditions_leave_stages_out_and_what_comes_after_them_stays(tmp_path):
    stages = [
        {"inherit": "audit"},
        {"inherit": "plan", "when": "{teacher}"},
        {"name": "fit", "tool": "plan", "unless": "{teacher}"},
        {"name": "end", "tool": "report", "after": ["audit", "plan"]},
    ]
    with_teacher = stages_of(tmp_path, stages, parameters={"teacher": True})
    without = stages_of(tmp_path, stages, parameters={"teacher": True}, teacher=False)
    assert list(with_teacher) == ["audit", "plan", "end"]
    assert list(without) == ["audit", "fit", "end"]
    assert (with_teacher["end"].after, without["end"].after) == (("audit", "plan"), ("audit",))


def test_a_stage_after_one_that_no_chain_has_is_refused(tmp_path):
    with pytest.raises(CaseError, match=r"stage end comes after audits, which is no stage before it"):
        stages_of(tmp_path, [{"inherit": "audit"}, {"name": "end", "tool": "report", "after": ["audits"]}])


def cascade(**values) -> dict:
    return {stage.name: stage for stage in load_pipeline("cascade", None, {**PLACES, **values})}


def test_paper_b_trains_again_on_what_it_has_labeled():
    stages = cascade(rounds=2, families=["liver", "rest"])
    names = list(stages)
    order = ["organs", "tumor_liver_0", "assemble_0", "label_1", "filter_1", "tumor_liver_1", "assemble_1", "label_2"]
    assert [names.index(name) for name in order] == sorted(names.index(name) for name in order)
    assert stages["tumor_rest_1"].arguments["datalist"] == "/work/cascade/round1/tumors.json"
    assert stages["label_2"].arguments["weights"] == "/work/cascade/round1/weights"
    assert stages["predict_cascade_labeled"].arguments["weights"] == "/work/cascade/round0/weights"
    assert stages["predict_cascade"].arguments["weights"] == "/work/cascade/round2/weights"
    # Only from the second round on there is a round to compare with.
    assert (stages["filter_1"].arguments["discard"], stages["filter_2"].arguments["discard"]) == (
        "$0.038 if 0 else 0.0",
        "$0.038 if 1 else 0.0",
    )


def test_paper_b_does_without_a_teacher_without_paper_a_and_without_rounds():
    stages = cascade(teacher=False, pseudo_label_dir="/labels", student=False, rounds=0)
    assert not {"plan", "teacher", "fine", "combine", "label_1", "predict_cascade", "score_student"} & set(stages)
    assert stages["organ_merge"].arguments["pseudo_dir"][0] == "/labels"
    assert stages["report"].after == ("score_cascade_labeled",)


def test_a_work_folder_may_have_any_name():
    work = "/home/ann@lab/o'brien"
    (stage,) = (
        one
        for one in load_pipeline("cascade", None, {**PLACES, "work_dir": work, "rounds": 2})
        if one.name == "filter_2"
    )
    parser = ConfigParser(dict(stage.arguments))
    assert parser.get_parsed_content("previous_dir") == f"{work}/cascade/round1/predictions"
    assert parser.get_parsed_content("discard") == 0.038
    first = ConfigParser(dict(cascade()["filter_1"].arguments))
    assert (first.get_parsed_content("previous_dir"), first.get_parsed_content("discard")) == (None, 0.0)


def test_a_work_folder_whose_name_no_config_can_hold_is_refused_at_once():
    assert ConfigParser({"a": "/data/ward #3"}).get_parsed_content("a") == "/data/ward ::3"
    with pytest.raises(CaseError, match="/data/ward #3: MONAI's configs take # in a path for ::; give a work folder"):
        load_pipeline("two_stage", None, {**PLACES, "work_dir": "/data/ward #3"})
    assert load_pipeline("two_stage", None, {**PLACES, "data_dir": "/data/ward #3"})


@pytest.mark.parametrize(
    ("chain", "name", "choices", "wrong"),
    [
        ("cascade", "families", [*FAMILIES, REST], "liwer"),
        ("cascade", "pseudo_families", [*FAMILIES, REST], "kidney"),
        ("two_stage", "mirror_axes", list(FLIP_AXES), "up-down"),
    ],
)
def test_what_a_late_stage_would_refuse_is_refused_at_once(chain, name, choices, wrong):
    assert load_pipeline(chain, None, {**PLACES, name: choices})
    with pytest.raises(CaseError, match=f"Parameter {name} has '{wrong}'. Use some of: {', '.join(choices)}."):
        load_pipeline(chain, None, {**PLACES, name: [choices[0], wrong]})


def test_a_whole_number_is_a_number():
    (stage, *_) = load_pipeline("two_stage", None, {**PLACES, "teacher_validation_fraction": 0})
    assert stage.arguments["teacher_validation_fraction"] == 0
    with pytest.raises(CaseError, match=r"Parameter seed is 0\.5; it takes a value such as 0"):
        load_pipeline("two_stage", None, {**PLACES, "seed": 0.5})


def test_labels_from_elsewhere_must_be_there_and_a_changed_one_makes_the_merge_stale(tmp_path):
    def key() -> str:
        stage = cascade(pseudo_label_dir=str(tmp_path / "labels"))["organ_merge"]
        return stage.key(dict.fromkeys(stage.after, "k"), "data")

    with pytest.raises(CaseError, match="labels: there is no such folder; give one that is there, or leave it out"):
        key()
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "0001.nii.gz").write_text("a")
    before = key()
    assert key() == before
    (tmp_path / "labels" / "0001.nii.gz").write_text("ab")
    assert key() != before


def test_without_a_teacher_there_is_no_student_to_compare_with():
    """Its merge would ask for the teacher's labels, which nobody makes."""
    stages = cascade(teacher=False, pseudo_label_dir="/labels")
    assert not {"merge", "coarse", "fine", "predict_student", "combine", "score_student_cascade"} & set(stages)
    assert stages["report"].after == ("score_cascade_labeled", "score_cascade")
    assert {"merge", "combine", "score_student_cascade"} <= set(cascade(pseudo_label_dir="/labels"))


def test_the_two_chains_share_their_stages():
    shared = {"audit", "plan", "teacher", "pseudo_labels", "merge", "coarse", "fine", "predict_student"}
    other = {stage.name: stage for stage in load_pipeline("two_stage", "demo", PLACES)}
    stages = {stage.name: stage for stage in load_pipeline("cascade", "demo", PLACES)}
    assert {name: stages[name] for name in shared} == {name: other[name] for name in shared}


def test_the_direct_students_learn_what_the_audit_found():
    """The baseline of paper A's Table 4: no teacher, no merged label, no crop; what is not drawn is background."""
    stages = {stage.name: stage for stage in load_pipeline("direct", "demo", PLACES)}
    assert not {"teacher", "merge", "coarse", "fine"} & set(stages)
    for arm, mask in (("direct", False), ("direct_masked", True)):
        stage = stages[f"fine_{arm}"]
        assert stage.arguments["datalist"] == "/work/audit/datalist.json"
        assert stage.arguments["mask_unknown"] is mask
        assert stage.arguments["margin_mm"] == "$None"
        assert "coarse_dir" not in stage.arguments
        assert stage.configs == ("train.yaml", "demo.yaml")
        assert stages[f"score_{arm}"].arguments["predictions"] == f"/work/predictions/{arm}"


def test_the_faithful_cascade_has_every_switch_of_the_published_code():
    stages = {stage.name: stage for stage in load_pipeline("cascade", "faithful", PLACES)}
    assert {name: stages["hosts"].arguments[name] for name in ("enclose", "faithful_box")} == {
        "enclose": False,
        "faithful_box": True,
    }
    assert "faithful_train.yaml" in stages["tumor_liver_0"].configs
    assert "faithful_box" not in cascade()["hosts"].arguments
