"""Entry point of ``python -m tools``: one command a module, imported only when it is called."""

import ast
import functools
import importlib
import inspect
import io
import keyword
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType
from typing import get_args

import fire
import yaml
from fire.core import FireExit
from fire.decorators import SetParseFn, SetParseFns
from fire.helptext import HelpText
from fire.parser import DefaultParseValue
from fire.trace import FireTrace

from abdoseg.files import CaseError
from tools.faults import fault_of

# OpenMP's threads wait by spinning, which slows them down many times over on shared processors; a short spin costs
# nothing on others. Read when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

COMMANDS = (
    "phantom",
    "synthesize",
    "audit",
    "plan",
    "run",
    "predict",
    "evaluate",
    "benchmark",
    "report",
    "picture",
    "study",
    "starter",
    "import",
    "export",
    "pack",
    "verify",
    "serve",
    "dicom",
)
USAGE = "usage: python -m tools COMMAND [--option value ...]      (python -m tools COMMAND --help explains one)"
WORDS = {"true": True, "false": False, "null": None, "none": None}
FLAG = "--|-[a-zA-Z]"  # how an option begins
NUMBERS = {int: "a whole number", float: "a number", bool: "true or false"}


def main(arguments: Sequence[str]) -> int:
    """Run one command; the exit code is 0 (done), 1 (some cases failed, the rest is done) or 2 (nothing was done)."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may hold what this terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # else it reports to its makers how it is used
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE, "", *(f"  {command:10} {summary(command)}" for command in COMMANDS), sep="\n")
        return 0
    command, *options = arguments
    try:
        function = load(command)
        if wants_help(function, options):
            print(help_text(command, function))
            return 0
        positional, named = parse(command, function, options)
        result = function(*positional, **named)
    except FireExit as stop:
        return stop.code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except Exception as error:
        fault = fault_of(error)
        if fault is None:
            raise
        print(f"error: {fault}", file=sys.stderr)
        return 2
    return 1 if isinstance(result, dict) and result.get("failed") else 0


def summary(command: str) -> str:
    """First line of a command's module, read without importing it (importing torch takes seconds)."""
    source = (Path(__file__).parent / f"{module_name(command)}.py").read_text()
    return (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]


def module_name(command: str) -> str:
    """Name of a command's module and function; a word of Python's own gets an underscore, as in ``tools.import_``."""
    return f"{command}_" if keyword.iskeyword(command) else command


def load(command: str) -> Callable:
    """Function of a command; CaseError if there is none of this name."""
    if command not in COMMANDS:
        raise CaseError(f"Unknown command {command!r}. Use one of: {', '.join(COMMANDS)}.")
    name = module_name(command)
    return getattr(importlib.import_module(f"tools.{name}"), name)


def wants_help(function: Callable, options: Sequence[str]) -> bool:
    """Whether help was asked for, or a command that needs options was given none."""
    needs_some = any(
        parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        for parameter in inspect.signature(function).parameters.values()
    )
    return "--help" in options or "-h" in options or (needs_some and not options)


def help_text(command: str, function: Callable) -> str:
    """Help as fire writes it, without its quotes, and without the one-letter options, which not all commands take."""
    name = f"python -m tools {command}"
    text = HelpText(function, trace=FireTrace(function, name=name)).replace(f"'{name}'", name)
    return re.sub(r"Optional\[(.+) \| None\]", r"\1", re.sub(r"(?m)^( +)-\w, --", r"\1--", text))


def parse(command: str, function: Callable, options: Sequence[str]) -> tuple[tuple, dict]:
    """Arguments of a call, as fire reads them; nothing runs yet.

    Left to itself, fire would turn the id 0001 into a number, and run a command before it finds its options unknown.

    Raises
    ------
    CaseError
        For an unknown option, one without its value, a list with blanks, or a text where a number is needed.
    FireExit
        Where fire finds another fault, which it has printed.
    """
    parameters = inspect.signature(function).parameters
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters.values()):
        for option in (option for option in options if option.startswith("--")):
            name = option[2:].split("=")[0].replace("-", "_")
            if name not in parameters and name.removeprefix("no") not in parameters:
                allowed = ", ".join(f"--{known}" for known in parameters)
                raise CaseError(f"Unknown option --{name}. {command} has: {allowed}.")
    texts = [name for name, parameter in parameters.items() if is_text(parameter.annotation)]
    for option, value in zip(options, [*options[1:], "--"], strict=False):
        name = option[2:].replace("-", "_")
        if option.startswith("--") and name in texts and re.match(FLAG, value):  # fire would take the text "True"
            raise CaseError(f"--{name} needs a value; give one, or leave it out.")
    if cut := [option for option in options if option.endswith(",")]:  # the rest would be taken for another argument
        raise CaseError(f"{cut[0]!r} ends with a comma; write a list without blanks, as in 1,2, or in quotes.")
    arguments: tuple[tuple, dict] = ((), {})

    @functools.wraps(function)
    def note(*positional, **named) -> None:
        nonlocal arguments
        arguments = positional, named

    SetParseFns(**{name: reader(name, parameter.annotation) for name, parameter in parameters.items()})(note)
    SetParseFn(parse_value)(note)
    fire.Fire(note, command=list(options), name=f"python -m tools {command}", serialize=lambda _: None)
    return arguments


def reader(name: str, annotation) -> Callable:
    """Function that reads an option's text as its annotation demands."""
    if is_text(annotation):
        return functools.partial(read_text, name)
    kinds = set(get_args(annotation) or [annotation])
    if not kinds - {NoneType} <= set(NUMBERS):
        return parse_value

    def read(text: str):
        value = parse_value(text)
        if type(value) not in kinds and not (float in kinds and type(value) is int):
            wanted = " or ".join(NUMBERS[kind] for kind in NUMBERS if kind in kinds)
            raise CaseError(f"--{name} takes {wanted}, not {text!r}.")
        return value

    return read


def is_text(annotation) -> bool:
    """Whether an option takes a text."""
    return set(get_args(annotation) or [annotation]) - {NoneType} == {str}


def read_text(name: str, text: str) -> str:
    """Read a text, as a rule a path, in which shells leave the ~ of ``--output=~/labels``.

    Raises
    ------
    CaseError
        If it is empty, as "$OUT" is where nobody has set it: a path would be the current folder.
    """
    if not text.strip():
        raise CaseError(f"--{name} is empty; give a value, or leave it out.")
    return os.path.expanduser(text) if text.startswith("~/") else text


def parse_value(text: str):
    """Read the value of an option whose type is not fixed.

    As fire does, and as YAML does where fire does not: true, null, [left-right, inferior-superior]; a # is no comment.
    A number with leading zeros, such as an id, stays text, and ~/ becomes the home folder, as in `read_text`.
    """
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if text.startswith("~/"):
        return os.path.expanduser(text)
    if "#" in text or (text[:1] == "0" and text.isdigit() and len(text) > 1):
        return text
    value = DefaultParseValue(text)
    if isinstance(value, str) and text.startswith(("[", "{")):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise CaseError(f"{text!r} is neither a list nor a mapping; close its brackets and quotes.") from error
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
