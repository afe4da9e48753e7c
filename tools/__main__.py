"""Entry point of ``python -m tools``: one command a module, imported only when it is called."""

import ast
import importlib
import inspect
import sys
from pathlib import Path

import fire
from fire.decorators import SetParseFns

from abdoseg.files import CaseError

COMMANDS = ("phantom", "audit", "plan", "run", "predict", "evaluate", "report")
USAGE = "usage: python -m tools COMMAND [--option value ...]      (python -m tools COMMAND --help explains one)"


def summary(command: str) -> str:
    """First line of a command's module, read without importing it (importing torch takes seconds)."""
    source = (Path(__file__).parent / f"{command}.py").read_text()
    return (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]


def load(command: str):
    """Function of a command, with its text options kept as text: fire would turn the id 0001 into the number 1."""
    function = getattr(importlib.import_module(f"tools.{command}"), command)
    texts = {
        name: str
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.annotation in (str, str | None)
    }
    return SetParseFns(**texts)(function)


def main(arguments: list[str]) -> int:
    """Run one command; the exit code is 0 (done), 1 (some cases failed, the rest is done) or 2 (nothing was done)."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE, "", *(f"  {command:10} {summary(command)}" for command in COMMANDS), sep="\n")
        return 0
    command, *options = arguments
    if command not in COMMANDS:
        print(f"error: Unknown command {command!r}. Use one of: {', '.join(COMMANDS)}.", file=sys.stderr)
        return 2
    if not options and any(
        parameter.default is parameter.empty for parameter in inspect.signature(load(command)).parameters.values()
    ):
        options = ["--help"]
    try:
        result = fire.Fire(load(command), command=options, name=f"python -m tools {command}", serialize=lambda _: "")
    except (CaseError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 1 if isinstance(result, dict) and result.get("failed") else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
