"""A chain whose teacher is given: it labels where no case is strong, and its training goes on where some are."""

import json
import shutil

import pytest
import torch
import yaml
from monai.bundle import ConfigParser

from abdoseg.files import CaseError
from abdoseg.manifest import file_hash
from tests.tools.small_data import FINE, FIVE, ORGANS, PLAN, TEACHER, save_data_set, save_weights
from tests.tools.test_run import chain_options, manifests
from tools.__main__ import main
from tools.chain import BUNDLES
from tools.pipeline import load_pipeline
from tools.run import run
from tools.start_teacher import start_teacher, with_teacher
from tools.starter_weights import starter_folder
from tools.study import DEFINITION

PLACES = {"data_dir": "/data", "work_dir": "/work"}
ARMS = ("scratch", "fine_tuned")
PLANNED = ("--plan_patch_size=", "--plan_spacing=", "--plan_batch_size=")
GIVEN = {"kind": "nnunet", "plan": {**PLAN, "mirror_axes": []}, "deep_supervision": False}


@pytest.fixture
def weights(tmp_path):
    return save_weights(tmp_path / "given", GIVEN, seed=7)


def options_of(tmp_path, data, weights, *more) -> list[str]:
    own = [option for option in chain_options(tmp_path / "mine") if not option.startswith(("--mirror", *PLANNED))]
    places = [f"--data_dir={data}", f"--work_dir={tmp_path / 'work'}", f"--teacher={weights}"]
    return ["run", "two_stage", *places, *own, *more]


def statuses(tmp_path) -> dict[str, str]:
    return {name: manifest["status"] for name, manifest in manifests(tmp_path / "work").items()}


@pytest.mark.slow
def test_without_strong_cases_the_students_learn_from_the_given_teacher(tmp_path, weights):
    data = save_data_set(tmp_path / "data", [FIVE, (*FIVE, 14), FIVE], testing=1)
    assert main(options_of(tmp_path, data, weights)) == 0
    told = statuses(tmp_path)
    assert told.pop("teacher") == "skipped"
    assert "plan" not in told
    assert set(told.values()) == {"done"}
    assert {"teacher", "student"} == set(json.loads((tmp_path / "work" / "results.json").read_text())["arms"])


def test_weights_label_as_they_are_while_no_case_is_strong(tmp_path, weights):
    data = save_data_set(tmp_path / "data", [FIVE, (14,)])
    options = options_of(tmp_path, data, weights, "--only=audit,start_teacher,teacher,keep_teacher,pseudo_labels")
    assert main(options) == 0
    assert statuses(tmp_path)["teacher"] == "skipped"
    work = tmp_path / "work"
    for name in ("model.pt", "architecture.json"):
        assert (work / "teacher" / "weights" / name).read_bytes() == (weights / name).read_bytes()
    manifest = json.loads((work / "pseudo_labels" / "manifest.json").read_text())
    assert manifest["sha256"] == file_hash(weights / "model.pt")
    assert len(list((work / "pseudo_labels").glob("*.nii.gz"))) == 2

    # Fully drawn cases come in: the training goes on from the weights. They go: the weights label as they are again.
    shutil.copytree(data, tmp_path / "kept")
    save_data_set(data, [FIVE, (14,), ORGANS, ORGANS])
    assert main(options) == 0
    assert (statuses(tmp_path)["teacher"], statuses(tmp_path)["keep_teacher"]) == ("done", "skipped")
    assert file_hash(work / "teacher" / "weights" / "model.pt") != file_hash(weights / "model.pt")
    shutil.rmtree(data)
    shutil.copytree(tmp_path / "kept", data)
    assert main(options) == 0
    assert (statuses(tmp_path)["teacher"], statuses(tmp_path)["keep_teacher"]) == ("skipped", "done")
    assert file_hash(work / "teacher" / "weights" / "model.pt") == file_hash(weights / "model.pt")


def test_with_strong_cases_the_training_goes_on_from_the_weights_on_their_plan(tmp_path, weights):
    data = save_data_set(tmp_path / "data", [ORGANS, ORGANS, FIVE])
    (tmp_path / "still.yaml").write_text(
        yaml.safe_dump({"max_epochs": 1, "num_workers": 0, "iterations_per_epoch": 1, "learning_rate": 0.0})
    )
    still = f"--teacher_overlay={tmp_path / 'still.yaml'}"
    assert main(options_of(tmp_path, data, weights, "--only=audit,start_teacher,teacher,keep_teacher", still)) == 0
    assert statuses(tmp_path)["keep_teacher"] == "skipped"
    trained = tmp_path / "work" / "teacher" / "weights"
    start, end = (torch.load(folder / "model.pt", weights_only=True) for folder in (weights, trained))
    assert all(torch.equal(start[name], value) for name, value in end.items())
    # Its normalization and spacing; what is trained with mirrored scans may label them.
    assert json.loads((trained / "architecture.json").read_text())["plan"] == PLAN


def test_in_one_folder_each_teacher_keeps_to_its_own_plan(tmp_path, weights):
    data = save_data_set(tmp_path / "data", [ORGANS, FIVE])
    given = options_of(tmp_path, data, weights, "--only=audit,start_teacher")
    scratch = [option for option in given if not option.startswith(("--teacher=", "--only="))] + ["--only=audit,plan"]
    scratch += [option for option in chain_options(tmp_path / "mine") if option.startswith(PLANNED)]
    for _ in range(2):
        assert main(given) == 0
        assert json.loads((tmp_path / "work" / "teacher" / "plan.json").read_text()) == PLAN
        assert main(scratch) == 0
        assert json.loads((tmp_path / "work" / "teacher" / "plan.json").read_text())["options"]["max_features"] == 8
    assert statuses(tmp_path)["start_teacher"] == "replaced"


def test_a_teacher_in_the_chains_own_place_is_refused_and_stays(tmp_path, weights):
    data = save_data_set(tmp_path / "data", [ORGANS, FIVE])
    own = tmp_path / "work" / "teacher" / "weights"
    shutil.copytree(weights, own)
    (tmp_path / "link").symlink_to(own)
    for teacher in (own, tmp_path / "link"):
        with pytest.raises(CaseError, match=r"lies in .*teacher/weights, which stage teacher may remove; copy it else"):
            run("two_stage", str(data), str(tmp_path / "work"), teacher=str(teacher))
    assert file_hash(own / "model.pt") == file_hash(weights / "model.pt")


def test_other_weights_make_the_teacher_stale(tmp_path, weights):
    def keys() -> dict[str, str]:
        found: dict[str, str] = {}
        for stage in load_pipeline("two_stage", None, {**PLACES, **with_teacher({"teacher": str(weights)})}):
            found[stage.name] = stage.key(found, "data")
        return found

    before = keys()
    save_weights(weights, GIVEN, seed=8)
    after = keys()
    assert before["audit"] == after["audit"]
    assert all(before[name] != after[name] for name in ("start_teacher", "teacher", "keep_teacher", "pseudo_labels"))


def test_paper_bs_chain_takes_it_too(weights):
    def stages(**parameters) -> list[str]:
        return [stage.name for stage in load_pipeline("cascade", None, {**PLACES, **with_teacher(parameters)})]

    given, own, without = stages(teacher=str(weights)), stages(), stages(teacher=False)
    assert set(given) - set(own) == {"start_teacher", "keep_teacher"}
    assert set(own) - set(given) == {"plan"}
    assert "teacher" not in without
    assert given.index("start_teacher") < given.index("teacher") < given.index("keep_teacher")


def test_the_study_of_the_starter_scores_every_arm(weights):
    content = yaml.safe_load(DEFINITION.with_name("starter_study.yaml").read_text())
    (chain,) = content["chains"]
    assert chain["parameters"]["teacher"] == "starter"
    values = with_teacher({**chain["parameters"], "teacher": str(weights)})
    stages = {stage.name: stage for stage in load_pipeline(chain["chain"], "demo", {**PLACES, **values})}
    scored = {output for stage in stages.values() for output in stage.outputs if "/scores/" in output}
    assert scored == {f"/work/scores/{arm}.json" for arm in content["arms"]}
    # The same plan, steps and cases; they differ in where they start.
    scratch, tuned = (stages[f"teacher_{arm}"].arguments for arm in ("scratch", "fine_tuned"))
    differ = {name for name in {*scratch, *tuned} if scratch.get(name) != tuned.get(name)}
    assert differ == {"start_dir", "ckpt_dir", "output_dir"}
    assert (tuned["start_dir"], scratch.get("start_dir")) == (str(weights), None)
    # And the one that starts from weights is trained as the chain for everyday use trains it.
    everyday = {stage.name: stage for stage in load_pipeline("two_stage", "demo", {**PLACES, **values})}["teacher"]
    assert {name for name in {*everyday.arguments, *tuned} if everyday.arguments.get(name) != tuned.get(name)} == {
        "ckpt_dir",
        "output_dir",
    }
    assert everyday.configs == stages["teacher_fine_tuned"].configs


@pytest.mark.parametrize(("overlay", "rate"), [("", 0.01), ("demo.yaml", 0.02)])
def test_a_training_that_goes_on_from_weights_learns_at_a_tenth_of_the_rate(overlay, rate, weights):
    parser = ConfigParser()
    configs = BUNDLES / "teacher_nnunet" / "configs"
    parser.read_config([configs / name for name in ("train.yaml", overlay) if name])
    assert parser["optimizer"]["lr"] == "@first_learning_rate"
    assert parser.get_parsed_content("first_learning_rate") == rate
    parser["start_dir"] = str(weights)
    parser.parse(reset=True)
    assert parser.get_parsed_content("first_learning_rate") == pytest.approx(rate / 10)


@pytest.mark.slow
def test_from_scratch_and_from_the_weights_run_side_by_side(tmp_path, weights):
    data = save_data_set(tmp_path / "data", [ORGANS, ORGANS], testing=1)
    options = options_of(tmp_path, data, weights)
    options[1] = "from_starter"
    assert main(options) == 0
    assert set(statuses(tmp_path).values()) == {"done"}
    results = json.loads((tmp_path / "work" / "results.json").read_text())
    assert set(results["arms"]) == {"scratch", "fine_tuned", "starter"}
    plans = [
        json.loads((tmp_path / "work" / arm / "weights" / "architecture.json").read_text())["plan"] for arm in ARMS
    ]
    assert plans == [PLAN, PLAN]


def test_what_cannot_be_the_teacher_is_refused_in_one_sentence(tmp_path, weights):
    with pytest.raises(CaseError, match=r"teacher_nnunet/models/starter holds no starter weights; train some by"):
        starter_folder("teacher_nnunet", tmp_path)
    with pytest.raises(CaseError, match=r"nowhere/model\.pt does not exist; --teacher takes 'starter', or a folder"):
        with_teacher({"teacher": str(tmp_path / "nowhere")})
    data = save_data_set(tmp_path / "data", [FIVE])
    with pytest.raises(CaseError, match=r"Chain direct has no teacher; leave --teacher .*given out\."):
        run("direct", str(data), str(tmp_path / "work"), teacher=str(weights))
    with pytest.raises(CaseError, match="both name the teacher; give one"):
        with_teacher({"teacher": str(weights), "teacher_model": "/model"})
    with pytest.raises(CaseError, match=r"--plan_spacing is for a teacher trained from scratch; --teacher .*given"):
        with_teacher({"teacher": str(weights), "plan_spacing": [2, 2, 2]})
    for number, other in enumerate((FINE, {**TEACHER, "plan": {**PLAN, "classes": 2}})):
        folder = save_weights(tmp_path / str(number), other)
        with pytest.raises(CaseError, match=r"holds no weights that teacher_nnunet was trained into"):
            start_teacher(str(folder), plan=str(tmp_path / "plan.json"))
