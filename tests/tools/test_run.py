"""The chain of paper A, whole, on a tiny data set with tiny networks; repeating, skipping and refusing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from abdoseg.datalist import load_cases
from tests.tools.small_data import FINE, FIVE, ORGANS, OVERLAYS, save_data_set, truncate
from tests.zoo.packing import unpacked
from tools.__main__ import main
from tools.chain import Stage
from tools.lock import LOCK_FILE
from tools.pipeline import PIPELINES
from tools.run import _forget

ROOT = Path(__file__).parents[2]
ARMS = ["teacher", "student"]
STAGES = ["audit", "plan", "teacher", "pseudo_labels", "merge", "coarse", "fine"]
STAGES += [*(f"predict_{arm}" for arm in ARMS), *(f"score_{arm}" for arm in ARMS), "report", "pack"]


def chain_options(folder: Path) -> list[str]:
    """Options that make every training of the chain a second long, with overlays of the user's own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, overlay in OVERLAYS.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(overlay))
    overlays = [f"--{name}_overlay={folder / name}.yaml" for name in OVERLAYS]
    plan = ["--plan_patch_size=16,16,16", "--plan_spacing=12,12,14", "--plan_batch_size=1", "--plan_base_features=4"]
    return [*overlays, *plan, "--plan_max_features=8", "--mirror_axes=[]", "--validation_cases=1", "--trust"]


def manifests(work: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in (work / "manifests").iterdir()}


def stamps(folder: Path) -> dict[str, int]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LOCK_FILE)
    return {str(path): path.stat().st_mtime_ns for path in files}


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Run the whole chain once, from another folder than the repository's: options, work folder, exit code."""
    root = tmp_path_factory.mktemp("chain")
    data = save_data_set(root / "data", [ORGANS, ORGANS, FIVE, (*FIVE, 14)], testing=2)
    options = ["run", "two_stage", f"--data_dir={data}", f"--work_dir={root / 'work'}", *chain_options(root / "mine")]
    here = os.getcwd()
    os.chdir(root)
    try:
        code = main(options)
    finally:
        os.chdir(here)
    return options, root / "work", code


def test_the_whole_chain_ends_in_a_report(chain):
    _, work, code = chain
    assert code == 0
    results = json.loads((work / "results.json").read_text())
    assert set(results["arms"]) == set(ARMS)
    assert results["arms"]["student"]["classes"]["liver"]["n"] == 2
    assert set(results["seconds"]) == set(STAGES) - {"report", "pack"}
    assert results["versions"]["monai"]
    assert (work / "report" / "index.html").stat().st_size > 10_000
    assert {name: manifest["status"] for name, manifest in manifests(work).items()} == dict.fromkeys(STAGES, "done")
    assert sorted(path.name for path in (work / "pseudo_labels").glob("*.nii.gz")) == ["0003.nii.gz", "0004.nii.gz"]
    merged = load_cases(work / "merged" / "datalist.json")
    assert [case["id"] for case in merged] == ["0001", "0002", "0003", "0004"]
    architecture = json.loads((work / "fine" / "weights" / "architecture.json").read_text())
    assert architecture["fine"]["channels"] == FINE["channels"]
    assert architecture["coarse"]["image_size"] == [16, 16, 16]
    (archive,) = (work / "packed").iterdir()
    root = unpacked(archive, work.parent)
    assert json.loads((root / "configs" / "metadata.json").read_text())["eval_metrics"]["scans"] == 2


def test_steps_of_its_trainings_are_timed(chain, capsys):
    """In a folder of their own: the chain's files stay as they are."""
    options, work, _ = chain
    before = stamps(work)
    parameters = [
        option for option in options if option.startswith("--") and "_dir=" not in option and option != "--trust"
    ]
    target = work.parent / "training.json"
    command = ["benchmark", "training", f"--work_dir={work}", "--stages=coarse,fine", "--steps=2", f"--output={target}"]
    assert main([*command, *parameters]) == 0
    stages = json.loads(target.read_text())["stages"]
    assert list(stages) == ["coarse", "fine"]
    for figures in stages.values():
        assert figures["batch"] == [1, 1, 16, 16, 16]
        assert figures["cases"] == 3
        assert figures["step_s"]["n"] == figures["plain_s"]["n"] == 2
        assert 0 <= figures["waiting"] < 1
    assert stamps(work) == before
    assert "plain loop" in capsys.readouterr().out
    assert main([*command[:3], "--stages=merge"]) == 2
    assert "two_stage has no training 'merge'" in capsys.readouterr().err


def test_a_second_run_does_nothing_and_needs_no_torch(chain):
    options, work, _ = chain
    before = stamps(work)
    code = (
        "import sys; from tools.__main__ import main; status = main(sys.argv[1:]); "
        "sys.exit(9 if 'torch' in sys.modules else status)"
    )
    done = subprocess.run([sys.executable, "-c", code, *options], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert stamps(work) == before
    assert [line.split("] ")[1] for line in done.stdout.splitlines()] == [f"{name}: done already" for name in STAGES]


def test_only_needs_what_comes_before(chain, capsys):
    options, work, _ = chain
    before = stamps(work)
    assert main([*options, "--only=score_student,report"]) == 0
    assert capsys.readouterr().out.count("done already") == 2
    # With another seed nothing stands that a report could be made of.
    for only, words in (
        (
            "--only=report",
            "Stage report needs stage score_teacher, which is not done with this data and",
        ),
        ("--only=plan,teacher", "Stage plan needs stage audit, which is not done"),
        ("--only=plant", "The chain has no stage plant. It has: audit, plan, teacher,"),
    ):
        assert main([*options, "--seed=1", only]) == 2
        assert words in capsys.readouterr().err
    assert stamps(work) == before


def test_a_lost_output_is_made_again_and_what_depends_on_it_stays(chain, capsys):
    options, work, _ = chain
    (work / "scores" / "student.json").unlink()
    assert main(options) == 0
    told = capsys.readouterr().out
    assert told.count("done already") == len(STAGES) - 1
    assert "score_student ..." in told


def test_what_cannot_start_is_refused_in_one_sentence(tmp_path, capsys):
    data = save_data_set(tmp_path / "data", [(1,)])
    work = tmp_path / "work"
    for options, words in (
        ([f"--data_dir={tmp_path / 'gone'}"], "gone does not exist; --data_dir takes the folder of a data set"),
        ([f"--data_dir={data}", "--presett=demo"], "Chain two_stage has no parameter presett. It has: seed,"),
        ([f"--data_dir={data}", "--tracking=mlfow"], "Unknown tracking 'mlfow'. Use 'mlflow', the address of a server"),
        ([f"--data_dir={data}", "--fine_overlay=gone.yaml"], "gone.yaml: neither"),
    ):
        assert main(["run", "two_stage", f"--work_dir={work}", *options]) == 2
        told = capsys.readouterr().err
        assert words in told
        assert told.count("\n") == 1
    assert not work.exists()


def test_no_strong_case_stops_the_chain_before_the_teacher(tmp_path, capsys):
    data = save_data_set(tmp_path / "data", [FIVE, (14,)])
    options = [f"--data_dir={data}", f"--work_dir={tmp_path / 'work'}", *chain_options(tmp_path / "mine")]
    assert main(["run", "two_stage", *options]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: Stage plan: ")
    assert "has no training case of kind 'strong'" in told
    assert {name: manifest["status"] for name, manifest in manifests(tmp_path / "work").items()} == {
        "audit": "done",
        "plan": "failed",
    }


def spoil(path: Path) -> None:
    """Lose a file's content as a disk does: its size and time, by which the chain knows it, stay."""
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.fixture(scope="module")
def lean(tmp_path_factory):
    """One strong case, a weak one lost after the audit, one that the audit refuses, test scans without truth."""
    root = tmp_path_factory.mktemp("lean")
    data = save_data_set(root / "data", [ORGANS, FIVE, FIVE, (14,)], testing=1, truth=False)
    truncate(data / "imagesTr2200" / "0004_0000.nii.gz")
    options = ["run", "two_stage", f"--data_dir={data}", f"--work_dir={root / 'work'}", *chain_options(root / "mine")]
    main([*options, "--only=audit,plan,teacher"])
    spoil(data / "imagesTr2200" / "0003_0000.nii.gz")
    return options, root / "work", main(options)


def test_a_lean_data_set_goes_through_and_names_what_it_set_aside(lean, capsys):
    options, work, code = lean
    assert code == 1
    done = manifests(work)
    assert done["score_student"]["status"] == done["score_teacher"]["status"] == "skipped"
    assert "no cases in section 'testing' with a label" in done["score_student"]["reason"]
    assert {name for name, manifest in done.items() if manifest["status"] == "done"} == set(STAGES) - {
        "score_student",
        "score_teacher",
        "pack",
    }
    assert list(done["audit"]["failed"]) == ["0004"]
    assert list(done["pseudo_labels"]["failed"]) == list(done["merge"]["failed"]) == ["0003"]
    assert [case["id"] for case in load_cases(work / "merged" / "datalist.json")] == ["0001", "0002"]
    assert (work / "predictions" / "student" / "0101.nii.gz").exists()
    page = (work / "report" / "index.html").read_text()
    assert "0003_0000.nii.gz: cannot be read" in page
    assert page.count("0004_0000.nii.gz: the voxels cannot be read") == 1
    assert json.loads((work / "results.json").read_text())["arms"] == {}
    # A second run does nothing and still tells of them.
    before = stamps(work)
    capsys.readouterr()
    assert main(options) == 1
    told = capsys.readouterr().out
    assert stamps(work) == before
    assert told.count(" already\n") == len(STAGES)
    assert "  pseudo_labels: 0003: " in told


def test_a_data_set_without_test_scans_skips_their_stages_and_still_gets_a_report(tmp_path, capsys):
    data = save_data_set(tmp_path / "data", [ORGANS, FIVE])
    content = yaml.safe_load((PIPELINES / "two_stage.yaml").read_text())
    kept = {"audit", "predict_student", "score_student", "report"}  # none of them trains
    content["stages"] = [
        {**stage, "after": [name for name in stage.get("after", []) if name in kept] or ["audit"] * (number > 0)}
        for number, stage in enumerate(content["stages"])
        if stage["name"] in kept
    ]
    (tmp_path / "some.yaml").write_text(yaml.safe_dump(content))
    assert main(["run", str(tmp_path / "some.yaml"), str(data), str(tmp_path / "work")]) == 0
    told = capsys.readouterr().out
    assert "predict_student: skipped, the data set has no cases in section 'testing'" in told
    assert "No scores: no scan with truth was labeled." in told
    assert manifests(tmp_path / "work")["score_student"]["status"] == "skipped"
    assert (tmp_path / "work" / "report" / "index.html").exists()


def test_what_was_trained_is_put_aside_and_not_deleted_when_settings_change(tmp_path, capsys):
    weights, resume, labels = tmp_path / "weights", tmp_path / "resume.pt", tmp_path / "labels"
    training = Stage("teacher", bundle="teacher_nnunet", run="training", state=(str(weights), str(resume)))
    for folder, name in ((weights, "model.pt"), (labels, "a.nii.gz")):
        folder.mkdir()
        (folder / name).write_text("first")
    _forget(training)
    assert (tmp_path / "weights.before" / "model.pt").read_text() == "first"
    assert f"what was trained before is kept as {tmp_path / 'weights.before'}" in capsys.readouterr().out
    weights.mkdir()
    (weights / "architecture.json").touch()  # another training that has only begun takes the place of none
    resume.write_text("half-way")
    _forget(training)
    assert (tmp_path / "weights.before" / "model.pt").read_text() == "first"
    assert (tmp_path / "resume.pt.before").read_text() == "half-way"
    _forget(Stage("predict", tool="predict", state=(str(labels),)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["resume.pt.before", "weights.before"]
