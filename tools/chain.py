"""Chains of stages as data: placeholders, presets, and manifests that tell what is done already."""

import hashlib
import json
import string
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import yaml

from abdoseg.datalist import load_cases
from abdoseg.files import CaseError, write_json
from tools.layout import ENDINGS, FOLDERS

PIPELINES = Path(__file__).parent / "pipelines"
BUNDLES = Path(__file__).parent.parent / "bundles"
PACKAGES = ("abdoseg", "monai", "torch", "numpy", "nibabel", "pytorch-ignite", "mlflow")


def versions() -> dict[str, str]:
    """Installed versions of what decides a result."""
    return {package: version(package) for package in PACKAGES}


@dataclass(frozen=True)
class Stage:
    """One step of a chain: a command of ``tools`` or a run id of a bundle.

    Parameters
    ----------
    name : unique in its chain; names its manifest.
    tool : command of ``tools`` that does it, or None.
    bundle : folder of a bundle in this repository's ``bundles``; a tool gets it as its option ``bundle``.
    run : run id of the bundle, where no tool does the stage.
    configs : config files that decide the result, merged in order: names in the bundle, or paths.
    arguments : options of the command, or overrides of the config.
    after : stages whose result this one uses.
    cases : ``{"path": datalist, "section", "kind", "labeled"}``; without one such case the stage is skipped.
    outputs : files that must be there when it is done.
    state : files and folders that go when the stage's definition has changed: they must not be resumed.
    """

    name: str
    tool: str | None = None
    bundle: str | None = None
    run: str | None = None
    configs: tuple[str, ...] = ()
    arguments: dict = field(default_factory=dict)
    after: tuple[str, ...] = ()
    cases: dict = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    state: tuple[str, ...] = ()

    def config_files(self) -> list[Path]:
        """Paths of the config files; CaseError if one is missing."""
        folder = BUNDLES / self.bundle / "configs" if self.bundle else Path()
        files = []
        for name in self.configs:
            candidates = [folder / name, Path(name).absolute()]
            found = next((path for path in candidates if path.is_file()), None)
            if found is None:
                raise CaseError(f"{name}: neither {folder} nor the current folder has such a config file.")
            files.append(found)
        return files

    def key(self, keys: dict[str, str], inputs: str) -> str:
        """Hash of all that decides the stage's result: definition, config files, the stages before it, the data."""
        digest = hashlib.sha256(json.dumps(self.__dict__, sort_keys=True, default=str).encode())
        for path in self.config_files():
            digest.update(path.read_bytes())
        for stage in self.after:
            digest.update(keys[stage].encode())
        if not self.after:
            digest.update(inputs.encode())
        return digest.hexdigest()

    def missing_cases(self) -> str | None:
        """Say which cases the stage is about and the data set lacks; None if it can run."""
        if not self.cases:
            return None
        query = {name: value for name, value in self.cases.items() if name != "labeled"}
        labeled = self.cases.get("labeled", False)
        if any(case.get("label") or not labeled for case in load_cases(**query)):
            return None
        kind = f"{query['kind']} " if query.get("kind") else ""
        return f"the data set has no {kind}cases in section '{query['section']}'{' with a label' * labeled}"


class Manifests:
    """What each stage of a work folder did, and whether it needs doing again."""

    def __init__(self, work_dir: str | Path) -> None:
        self.folder = Path(work_dir) / "manifests"

    def read(self, stage: str) -> dict:
        return read_manifest(self.folder / f"{stage}.json")

    def write(self, stage: str, content: dict) -> None:
        write_json(self.folder / f"{stage}.json", {"stage": stage, **content, "versions": versions()})

    def is_done(self, stage: Stage, key: str) -> bool:
        """Whether the stage was done, or rightly skipped, with the same settings, data and stages before it."""
        manifest = self.read(stage.name)
        if manifest.get("key") != key:
            return False
        done = manifest.get("status") == "done" and all(Path(output).exists() for output in stage.outputs)
        return done or manifest.get("status") == "skipped"


def read_manifest(path: Path) -> dict:
    """Content of a manifest, {} if there is none; CaseError if the file is something else."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise CaseError(f"{path}: not JSON ({error}); delete this file to start anew.") from error
    if not isinstance(content, dict):
        raise CaseError(f"{path}: not a manifest of these tools; give another folder or delete the file.")
    return content


def data_signature(data_dir: str | Path) -> str:
    """Names, sizes and times of a data set's scans and labels, hashed: changes when one comes, goes or changes."""
    root = Path(data_dir)
    folders = [path for path in root.iterdir() if any(name.fullmatch(path.name) for name in FOLDERS.values())]
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.name.endswith(ENDINGS))
    lines = [f"{path.relative_to(root)} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def load_pipeline(name: str, preset: str | None, values: dict) -> list[Stage]:
    """Read ``pipelines/NAME.yaml`` and fill in its placeholders.

    Parameters
    ----------
    name : name of the chain, or path of another one (.yaml).
    preset : name of a preset of the chain (``demo``), or None for the full-size protocol.
    values : replace parameters of the chain; ``data_dir`` and ``work_dir`` must be among them.

    Raises
    ------
    CaseError
        For an unknown chain, preset or parameter, or a value of another type; the message names what is allowed.
    """
    path = Path(name) if name.endswith(".yaml") else PIPELINES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PIPELINES.glob("*.yaml")))
        raise CaseError(f"Unknown chain {name!r}. Use one of: {known}.")
    content = yaml.safe_load(path.read_text())
    presets = content.get("presets", {})
    if preset is not None and preset not in presets:
        raise CaseError(f"Chain {name} has no preset {preset!r}. Use one of: {', '.join(presets)}, or none.")
    parameters = content.get("parameters", {}) | (presets[preset] if preset else {})
    unknown = set(values) - set(parameters) - {"data_dir", "work_dir"}
    if unknown:
        raise CaseError(f"Chain {name} has no parameter {', '.join(sorted(unknown))}. It has: {', '.join(parameters)}.")
    parameters |= {key: _checked(key, value, parameters.get(key)) for key, value in values.items()}
    stages = []
    for definition in content["stages"]:
        filled = _fill(definition, parameters)
        for key in ("configs", "after", "outputs", "state"):
            filled[key] = tuple(item for item in filled.get(key, ()) if item)
        filled["arguments"] = {k: v for k, v in filled.get("arguments", {}).items() if v is not None}
        stages.append(Stage(**filled))
    return stages


def _checked(name: str, value, default):
    """A value of a parameter, refused where the parameter's own value is of another type."""
    value = list(value) if isinstance(value, tuple) else value
    if default is not None and value is not None and type(value) is not type(default):
        raise CaseError(f"Parameter {name} is {value!r}; it takes a value such as {default!r}.")
    return value


def _fill(item, parameters: dict):
    """Replace ``{name}`` in all texts below ``item``; a text that is one placeholder takes the value's type."""
    if isinstance(item, dict):
        return {key: _fill(value, parameters) for key, value in item.items()}
    if isinstance(item, list):
        return [_fill(value, parameters) for value in item]
    if not isinstance(item, str):
        return item
    names = [name for _, name, _, _ in string.Formatter().parse(item) if name is not None]
    if len(names) == 1 and item == "{" + names[0] + "}":
        return parameters[names[0]]
    return item.format(**parameters)
