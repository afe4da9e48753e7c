"""Configs from elsewhere are code: what they would run is listed, and runs only after the user has said so."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from abdoseg.files import CaseError
from abdoseg.manifest import imported_hash, source_hash
from tools.chain import BUNDLES, Stage

EVALUATED = ("args", "kwargs", "class")  # of a logging.conf
# What Python imports from a folder that a config puts on its path.
IMPORTABLE = (".py", ".pyc", ".pyd", ".so", ".pth")


def check_trusted(bundle: str | Path, trust: bool = False) -> None:
    """Refuse to run a bundle from elsewhere until the user trusts it; print what it would run.

    A bundle is trusted where it is one of this repository's ``bundles``, or holds their configs and Python, byte for
    byte, as an unpacked zip of this version does.

    Parameters
    ----------
    bundle : its folder.
    trust : whether the user has said so.

    Raises
    ------
    CaseError
        If it is from elsewhere and the user has not said that it is trusted.
    """
    bundle = Path(bundle).resolve()
    if not trust:
        _refuse(bundle, foreign_code(bundle), "is not one of this repository's bundles, and its configs are code")


def check_configs(paths: Iterable[Path], trust: bool = False) -> None:
    """Refuse configs from elsewhere, which are to be laid over a bundle's, as long as the user does not trust them.

    One that gives values only runs nothing, and needs no trust.

    Parameters
    ----------
    paths : config files; those in this repository's ``bundles`` are trusted.
    trust : whether the user has said so.

    Raises
    ------
    CaseError
        If one would run something.
    """
    for path in () if trust else paths:
        if not path.resolve().is_relative_to(BUNDLES.resolve()):
            _refuse(path, code_in(path), "is not one of this repository's configs, and what it gives is code")


def check_stages(stages: Iterable[Stage], trust: bool = False) -> None:
    """Refuse the stages of a chain as long as they lay configs from elsewhere over their bundles', see above."""
    check_configs(dict.fromkeys(path for stage in stages if stage.bundle for path in stage.config_files()), trust)


def _refuse(what: Path, code: Sequence[str], why: str) -> None:
    if code:
        print(f"{what} would run:", *(f"  {line}" for line in code), sep="\n")
        raise CaseError(f"{what} {why} ({len(code)} lines of it are listed above); if you trust it, add --trust.")


def foreign_code(bundle: Path) -> list[str]:
    """List what a bundle would run that is not this repository's, a line each: ``FILE: ID: $expression or target``.

    Parameters
    ----------
    bundle : folder of the bundle; all its configs are looked at.
    """
    configs = sorted((bundle / "configs").glob("*"))
    lines = [line for path in configs if not _is_ours(path, bundle.name) for line in code_in(path)]
    return lines + _python_in(bundle)


def code_in(config: Path) -> list[str]:
    """List the ``$`` expressions and ``_target_`` values of a config, and the macros that take from other files.

    Python evaluates what a logging.conf tells; other files than YAML and JSON run nothing.

    Raises
    ------
    CaseError
        If the file cannot be read.
    """
    if config.suffix == ".conf":
        lines = [line.strip() for line in config.read_text(errors="replace").splitlines()]
        return [f"{config.name}: {line}" for line in lines if line.startswith(EVALUATED)]
    if config.suffix not in (".yaml", ".yml", ".json"):
        return []
    from monai.bundle import ConfigParser  # imports torch, which takes seconds

    try:
        content = ConfigParser.load_config_file(str(config))
    except Exception as error:
        raise CaseError(f"{config}: cannot be read as a config ({' '.join(str(error).split())}).") from error
    return [
        f"{config.name}: {name}: {' '.join(text.split())}" for name, text in _texts(content) if _is_code(name, text)
    ]


def _is_code(name: str, text: str) -> bool:
    # A macro that names a file brings its content, which may be anything; one without is of this file.
    macro = text.startswith("%") and "::" in text
    return text.startswith("$") or macro or name.rsplit("#", 1)[-1] == "_target_"


def _texts(node, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a config with its id."""
    if isinstance(node, str):
        yield name, node
    elif isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _texts(value, f"{name}#{key}" if name else str(key))


def _is_ours(path: Path, bundle: str) -> bool:
    """Whether a config is one of this repository's, or a copy byte for byte."""
    ours = BUNDLES / bundle / "configs" / path.name
    if path.resolve().is_relative_to(BUNDLES.resolve()):
        return True
    return path.parent.name == "configs" and ours.is_file() and ours.read_bytes() == path.read_bytes()


def _python_in(bundle: Path) -> list[str]:
    """Python that a bundle brings along and that is not this repository's: its configs put its folder on the path."""
    if bundle.resolve().is_relative_to(BUNDLES.resolve()):
        return []
    code = bundle / "abdoseg"
    is_ours = code.is_dir() and source_hash(code) == imported_hash()
    found = sorted(path for path in bundle.rglob("*") if path.suffix in IMPORTABLE and path.is_file())
    # What Python has compiled beside our sources is not read here: this process has imported its own abdoseg.
    ours = [path for path in found if path.suffix == ".py" or path.parent.name == "__pycache__"] if is_ours else []
    ours = {path for path in ours if path.is_relative_to(code)}
    return [f"{path.relative_to(bundle)}: Python of its own" for path in found if path not in ours]
