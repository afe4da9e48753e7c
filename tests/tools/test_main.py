"""The command line: help that teaches, options that are read right, faults in one sentence."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from monai.transforms import Compose
from torch.utils.data import DataLoader

from abdoseg.files import CaseError
from abdoseg.transforms import LoadScand
from tests.tools.small_data import save_data_set, save_scan
from tools.__main__ import COMMANDS, load, main, module_name, parse, parse_value, summary
from tools.faults import fault_of, reason_of

ROOT = Path(__file__).parents[2]


def test_the_overview_names_every_command_and_starts_without_torch():
    code = (
        "import sys; from tools.__main__ import main; status = main([]); "
        "assert not {'torch', 'monai'} & set(sys.modules), 'slow'; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert re.search(rf"^  {command} +{re.escape(summary(command))}$", done.stdout, re.MULTILINE)
    assert {path.stem for path in (ROOT / "tools").glob("*.py")} >= {module_name(command) for command in COMMANDS}


def option_texts(function) -> dict[str, str]:
    """Read the options and their texts from the "Args:" of a docstring."""
    lines = inspect.getdoc(function).split("\nArgs:\n")[1].split("\n\n")[0].splitlines()
    texts: dict[str, str] = {}
    for line in lines:
        if found := re.match(r" {4}(\w+): (.*)", line):
            name = found[1]
            texts[name] = found[2]
        else:
            texts[name] += " " + line.strip()
    return texts


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_the_text_of_every_option(command, capsys):
    assert main([command, "--help"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    shown = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", told.out).split())
    function = load(command)
    texts = option_texts(function)
    assert list(texts) == list(inspect.signature(function).parameters)
    for name, text in texts.items():
        assert f"--{name}=" in shown or f" {name.upper()} " in shown or name in ("overrides", "parameters")
        assert " ".join(text.split()) in shown
    assert inspect.getdoc(function).splitlines()[0] in shown
    assert f"SYNOPSIS python -m tools {command} " in shown
    for flaw in ("FIRE_METADATA", "Optional[", " -s, "):
        assert flaw not in shown


def test_a_command_without_its_options_shows_its_help(capsys):
    assert main(["audit"]) == 0
    assert "strong_rule" in capsys.readouterr().out


# Of predict: overwrite, overlay, series, tracking, trust.
UNSET = (False, None, None, None, False)


def test_ids_and_other_texts_stay_texts():
    _, named = read("predict", "--bundle 7 --input 0001 --output 1e3 --cases 0001,0002")
    assert named["positional"] == ("7", "0001", "1e3", None, "testing", None, "0001,0002", *UNSET)
    assert read("evaluate", "p r --cases 1,2 --classes 14")[0][:5] == ("p", "r", None, "1,2", "14")


def read(command: str, line: str) -> tuple[tuple, dict]:
    positional, named = parse(command, load(command), line.split())
    return positional, {"positional": positional, **named}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("30", 30),
        ("0.5", 0.5),
        ("-3", -3),
        ("5,5,5", (5, 5, 5)),
        ("[48,48,48]", [48, 48, 48]),
        ("[]", []),
        ("[left-right, inferior-superior]", ["left-right", "inferior-superior"]),
        ("true", True),
        ("False", False),
        ("null", None),
        ("cpu", "cpu"),
        ("cuda:0", "cuda:0"),
        ("0001", "0001"),
        ("0000", "0000"),
        ("0001,0002", "0001,0002"),
        ("0", 0),
        ("my.yaml", "my.yaml"),
        ("runs/a#b", "runs/a#b"),
    ],
)
def test_values_whose_type_is_free(text, value):
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_values_reach_the_function_under_their_names():
    _, named = read("run", "two_stage --data_dir D --work_dir=W --plan_spacing 5,5,5 --mirror_axes [] --seed 3")
    assert named["positional"][:3] == ("two_stage", "D", "W")
    assert {name: named[name] for name in ("plan_spacing", "mirror_axes", "seed")} == {
        "plan_spacing": (5, 5, 5),
        "mirror_axes": [],
        "seed": 3,
    }
    _, named = read("predict", "B I O --inferer#margin_mm 30 --overwrite --amp false")
    assert (named["inferer#margin_mm"], named["amp"]) == (30, False)
    assert named["positional"][-5:] == (True, *UNSET[1:])
    assert read("plan", "L O --spacing 2,2,2.5 --batch_size 2")[0][4:7] == ((2, 2, 2.5), None, 2)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("segment x", "Unknown command 'segment'. Use one of: phantom, "),
        ("audit D O --sead 1", "Unknown option --sead. audit has: --data_dir, --output_dir, --strong_rule, --seed"),
        ("audit D O --seed abc", "--seed takes a whole number, not 'abc'."),
        ("audit D O --seed 1.5", "--seed takes a whole number, not '1.5'."),
        ("audit D O --validation_fraction x", "--validation_fraction takes a number, not 'x'."),
        ("plan L O --force maybe", "--force takes true or false, not 'maybe'."),
        ("run two_stage D O --plan_spacing [5,5", "'[5,5' is neither a list nor a mapping"),
        ("starter --work_dir O --leave_out a, b", "'a,' ends with a comma; write a list without blanks, as in 1,2, or"),
        ("audit D --output_dir", "--output_dir needs a value; give one, or leave it out."),
        ("predict B D --output --weights W", "--output needs a value; give one, or leave it out."),
    ],
)
def test_wrong_options_are_named_before_anything_runs(line, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_data_set(tmp_path / "D", [(1,)])
    assert main(line.split()) == 2
    told = capsys.readouterr()
    assert words in told.err
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    assert told.out == ""
    assert not (tmp_path / "O").exists()


def test_an_empty_path_is_not_the_current_folder(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for line in (["audit", "D", ""], ["audit", "D", "--output_dir="], ["audit", "D", "--output-dir", " "]):
        assert main(line) == 2
        assert capsys.readouterr().err == "error: --output_dir is empty; give a value, or leave it out.\n"


def test_a_home_folder_that_the_shell_has_left_is_found(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    assert read("audit", "~/data --output_dir=~/out")[0][:2] == ("/home/ann/data", "/home/ann/out")
    assert read("run", "two_stage D W --teacher=~/weights")[1]["teacher"] == "/home/ann/weights"
    assert read("picture", "a b c --title ~1.5")[0][3] == "~1.5"


def test_what_fire_finds_wrong_ends_with_2(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["audit", "--data_dir", "D", "--seed", "1"]) == 2
    assert "output_dir" in capsys.readouterr().err
    assert main(["report", "A", "B", "C", "D"]) == 2
    assert not (tmp_path / "B").exists()


def test_exit_codes(tmp_path, capsys):
    data = save_data_set(tmp_path / "data", [(1,), (2,)])
    options = ["--data_dir", str(data), "--output_dir", str(tmp_path / "out")]
    assert main(["audit", *options]) == 0
    (data / "labelsTr2200" / "0002.nii.gz").unlink()
    assert main(["audit", *options]) == 1
    assert main(["audit", "--data_dir", str(tmp_path / "nowhere"), "--output_dir", str(tmp_path / "other")]) == 2
    assert f"error: {tmp_path / 'nowhere'}: there is no such folder" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_faulty_datalist_is_one_sentence(tmp_path, capsys):
    (tmp_path / "list.json").write_text('{"training": [')
    assert main(["plan", str(tmp_path / "list.json"), str(tmp_path / "plan.json")]) == 2
    told = capsys.readouterr().err
    assert re.fullmatch(rf"error: {re.escape(str(tmp_path))}/list\.json: not a JSON file .*\n", told)
    (tmp_path / "list.json").write_text(json.dumps({"training": []}))
    assert main(["plan", str(tmp_path / "list.json"), str(tmp_path / "plan.json")]) == 2
    assert "has no training case of kind 'strong'" in capsys.readouterr().err
    assert not (tmp_path / "plan.json").exists()


def test_a_config_that_is_no_yaml_is_told_with_its_line(tmp_path, capsys):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("margin_mm: 20\nfolds:\n\t- 1\n")
    save_scan(tmp_path / "0001_0000.nii.gz")
    paths = [str(tmp_path / name) for name in ("0001_0000.nii.gz", "out")]
    assert main(["predict", str(ROOT / "bundles" / "fine_seg"), *paths, f"--overlay={overlay}"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {overlay}: cannot be read as a config (while scanning")
    assert told.count("\n") == 1
    assert f'"{overlay}", line 3' in told


def test_the_sentence_is_found_below_what_monai_raises(tmp_path):
    transform = Compose([LoadScand(keys="image")])
    with pytest.raises(RuntimeError, match="applying transform") as caught:
        transform({"image": str(tmp_path / "gone.nii.gz")})
    assert fault_of(caught.value).startswith(f"{tmp_path / 'gone.nii.gz'}: there is no such file")


def test_the_sentence_is_found_in_what_a_worker_process_hands_over(tmp_path):
    loader = DataLoader(Items([{"image": str(tmp_path / "gone.nii.gz")}]), num_workers=1)
    with pytest.raises(RuntimeError) as caught:
        next(iter(loader))
    assert caught.value.__cause__ is None
    assert fault_of(caught.value).startswith(f"{tmp_path / 'gone.nii.gz'}: there is no such file")


class Items(torch.utils.data.Dataset):
    """Items of a list, loaded as the bundles load them."""

    def __init__(self, items):
        self.items, self.transform = items, Compose([LoadScand(keys="image")])

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.transform(self.items[index])


def test_faults_of_the_program_keep_their_traceback():
    error = RuntimeError("outer")
    error.__cause__ = KeyError("inner")
    assert fault_of(error) is None
    assert reason_of(error, "scan.nii.gz") == "scan.nii.gz: 'inner'"
    error.__cause__ = CaseError("a.nii.gz: broken.")
    assert reason_of(error, "scan.nii.gz") == "a.nii.gz: broken."
    assert fault_of(PermissionError(13, "Permission denied", "/x")) == "[Errno 13] Permission denied: '/x'"
