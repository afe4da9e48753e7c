"""What a bundle from elsewhere would run is listed, and nothing of it runs before it is trusted."""

import json
import py_compile
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

import abdoseg
from abdoseg.files import CaseError
from tests.tools.small_data import ORGANS, save_data_set
from tools.__main__ import main
from tools.chain import BUNDLES
from tools.trust import check_configs, check_trusted, code_in, foreign_code


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of a bundle, elsewhere."""
    folder = tmp_path / "fine_seg"
    shutil.copytree(BUNDLES / "fine_seg", folder, ignore=shutil.ignore_patterns("models", "eval"))
    return folder


@pytest.mark.parametrize(
    "name", [path.name for path in BUNDLES.iterdir() if (path / "configs/inference.yaml").exists()]
)
def test_the_repositorys_own_bundles_and_true_copies_need_no_trust(name, tmp_path):
    check_trusted(BUNDLES / name)
    shutil.copytree(BUNDLES / name, tmp_path / name)
    check_trusted(tmp_path / name)
    shutil.copytree(Path(abdoseg.__file__).parent, tmp_path / name / "abdoseg", ignore=shutil.ignore_patterns("*.pyc"))
    check_trusted(tmp_path / name)


def test_a_changed_config_is_listed_and_refused_and_nothing_of_it_runs(copy, tmp_path, capsys):
    config = copy / "configs" / "inference.yaml"
    mark = tmp_path / "it ran"
    config.write_text(config.read_text() + f"\nextra:\n- {{a: \"$open('{mark}', 'w')\"}}\n- {{_target_: os.system}}\n")
    with pytest.raises(CaseError, match=r"fine_seg is not one of this repository's bundles, .*add --trust\.$"):
        check_trusted(copy)
    told = capsys.readouterr().out.splitlines()
    assert f"  inference.yaml: extra#0#a: $open('{mark}', 'w')" in told
    assert "  inference.yaml: extra#1#_target_: os.system" in told
    assert "  inference.yaml: imports#0: $import os" in told
    assert not mark.exists()
    check_trusted(copy, trust=True)
    assert capsys.readouterr().out == ""


def test_every_expression_and_target_of_a_config_is_listed():
    path = BUNDLES / "teacher_nnunet" / "configs" / "inference.yaml"
    lines, text = code_in(path), path.read_text()
    assert sum("#_target_: " in line or " _target_: " in line for line in lines) == text.count("_target_:")
    expressions = [value for value in strings(yaml.safe_load(text)) if value.startswith("$")]
    assert sum(": $" in line for line in lines) == len(expressions) > 5


def strings(node) -> list[str]:
    if isinstance(node, str):
        return [node]
    values = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [text for value in values for text in strings(value)]


def test_what_a_macro_takes_from_another_file_is_listed(tmp_path):
    (tmp_path / "one.yaml").write_text('a: "%/tmp/other.yaml::b"\nb: "%a"\n')
    assert code_in(tmp_path / "one.yaml") == ["one.yaml: a: %/tmp/other.yaml::b"]


def test_python_beside_the_configs_is_refused_as_they_put_its_folder_on_the_path(copy):
    (copy / "cc3d.py").write_text("raise SystemExit")
    (copy / "scripts").mkdir()
    (copy / "scripts" / "__init__.py").write_text("")
    assert foreign_code(copy) == [
        "cc3d.py: Python of its own",
        "scripts/__init__.py: Python of its own",
    ]


def test_another_abdoseg_than_ours_is_refused(copy):
    shutil.copytree(Path(abdoseg.__file__).parent, copy / "abdoseg", ignore=shutil.ignore_patterns("*.pyc"))
    (copy / "abdoseg" / "labels.py").write_text("raise SystemExit")
    assert "abdoseg/labels.py: Python of its own" in foreign_code(copy)


def test_what_python_has_compiled_of_our_sources_is_ours(copy):
    shutil.copytree(Path(abdoseg.__file__).parent, copy / "abdoseg", ignore=shutil.ignore_patterns("*.pyc"))
    py_compile.compile(str(copy / "abdoseg" / "labels.py"))
    check_trusted(copy)
    (copy / "abdoseg" / "more.pyc").touch()  # imported without a source
    (copy / "scripts" / "__pycache__").mkdir(parents=True)
    (copy / "scripts" / "__pycache__" / "run.cpython-311.pyc").touch()
    told = ["abdoseg/more.pyc: Python of its own", "scripts/__pycache__/run.cpython-311.pyc: Python of its own"]
    assert foreign_code(copy) == told


def test_code_in_the_metadata_is_listed(copy):
    path = copy / "configs" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "task": "$print(1)"}))
    assert foreign_code(copy) == ["metadata.json: task: $print(1)"]


def test_a_changed_logging_conf_is_listed_as_python_evaluates_it(copy):
    path = copy / "configs" / "logging.conf"
    path.write_text(path.read_text() + "\n[handler_x]\nargs = (print(1),)\n")
    assert "logging.conf: args = (print(1),)" in foreign_code(copy)


def test_an_overlay_from_elsewhere_counts(tmp_path, capsys):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("device: $print(1)\n")
    ours = BUNDLES / "tumor_cascade" / "configs" / "faithful.yaml"
    with pytest.raises(CaseError, match=r"mine\.yaml is not one of this repository's configs, .* add --trust"):
        check_configs([ours, overlay])
    assert capsys.readouterr().out == f"{overlay} would run:\n  mine.yaml: device: $print(1)\n"
    check_configs([ours, overlay], trust=True)
    overlay.write_text("device: cpu\n")
    check_configs([ours, overlay])


def test_neither_predict_nor_a_chain_runs_the_code_of_an_overlay_before_it_is_trusted(tmp_path, capsys):
    overlay, ran = tmp_path / "mine.yaml", tmp_path / "ran"
    overlay.write_text(f"max_epochs: $__import__('pathlib').Path('{ran}').touch() or 1\n")
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    data = save_data_set(tmp_path / "data", [ORGANS, ORGANS], testing=1)
    predict = ["predict", "fine_seg", str(tmp_path / "a.nii.gz"), str(tmp_path / "out"), f"--overlay={overlay}"]
    run = ["run", "two_stage", f"--data_dir={data}", f"--work_dir={tmp_path / 'work'}", f"--teacher_overlay={overlay}"]
    starter = ["starter", f"--work_dir={tmp_path / 'starter'}", "--phantoms=1", f"--fine_overlay={overlay}"]
    for command in (predict, run, starter):
        assert main(command) == 2
        assert f"{overlay} is not one of this repository's configs" in capsys.readouterr().err
    assert not ran.exists()
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("content", ["a: [", "!!python/object/apply:os.system [ls]", "\0"])
def test_a_config_that_is_none_is_named(tmp_path, content):
    (tmp_path / "inference.yaml").write_text(content)
    with pytest.raises(CaseError, match=r"inference\.yaml: cannot be read as a config"):
        code_in(tmp_path / "inference.yaml")
