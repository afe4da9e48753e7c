"""Chains of stages as data: placeholders, presets, and manifests that tell what is done already."""

import hashlib
import json
import string
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import yaml

from abdoseg.files import CaseError, write_json

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
    bundle, run, configs : bundle folder, run id and config files (merged in order), or None.
    arguments : options of the command, or overrides of the config.
    after : stages whose result this one uses.
    outputs : files that must be there when it is done.
    state : files that belong to an unfinished run and go when the stage's definition has changed.
    """

    name: str
    tool: str | None = None
    bundle: str | None = None
    run: str | None = None
    configs: tuple[str, ...] = ()
    arguments: dict = field(default_factory=dict)
    after: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    state: tuple[str, ...] = ()

    def key(self, keys: dict[str, str], inputs: str) -> str:
        """Hash of all that decides the stage's result: definition, config files, the stages before it, the data."""
        digest = hashlib.sha256(json.dumps(self.__dict__, sort_keys=True, default=str).encode())
        for config in self.configs:
            digest.update((BUNDLES / self.bundle / "configs" / config).read_bytes())
        for stage in self.after:
            digest.update(keys[stage].encode())
        if not self.after:
            digest.update(inputs.encode())
        return digest.hexdigest()


class Manifests:
    """What each stage of a work folder did, and whether it needs doing again."""

    def __init__(self, work_dir: str | Path) -> None:
        self.folder = Path(work_dir) / "manifests"

    def read(self, stage: str) -> dict:
        path = self.folder / f"{stage}.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def write(self, stage: str, content: dict) -> None:
        write_json(self.folder / f"{stage}.json", {"stage": stage, **content, "versions": versions()})

    def is_done(self, stage: Stage, key: str) -> bool:
        manifest = self.read(stage.name)
        return (
            manifest.get("key") == key
            and manifest.get("status") == "done"
            and all(Path(output).exists() for output in stage.outputs)
        )

    def seconds(self, stages: list[Stage]) -> dict[str, float]:
        """Wall time of each stage that has been done."""
        manifests = {stage.name: self.read(stage.name) for stage in stages}
        return {name: manifest["seconds"] for name, manifest in manifests.items() if "seconds" in manifest}


def folder_signature(folder: str | Path) -> str:
    """Names, sizes and times of all files below a folder, hashed: changes when a scan comes, goes or changes."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    lines = [f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def load_pipeline(name: str, preset: str | None, values: dict) -> list[Stage]:
    """Read ``pipelines/NAME.yaml`` and fill in its placeholders.

    Parameters
    ----------
    name : name of the chain.
    preset : name of a preset of the chain (``demo``), or None for the full-size protocol.
    values : replace parameters of the chain; ``data_dir`` and ``work_dir`` must be among them.

    Raises
    ------
    CaseError
        For an unknown chain, preset or parameter; the message names those that exist.
    """
    path = PIPELINES / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in PIPELINES.glob("*.yaml")))
        raise CaseError(f"Unknown chain {name!r}. Use one of: {known}.")
    content = yaml.safe_load(path.read_text())
    presets = content.get("presets", {})
    if preset is not None and preset not in presets:
        raise CaseError(f"Chain {name} has no preset {preset!r}. Use one of: {', '.join(presets)}, or none.")
    parameters = content["parameters"] | (presets[preset] if preset else {})
    unknown = set(values) - set(parameters) - {"data_dir", "work_dir"}
    if unknown:
        raise CaseError(f"Chain {name} has no parameter {', '.join(sorted(unknown))}. It has: {', '.join(parameters)}.")
    parameters |= values
    stages = []
    for definition in content["stages"]:
        filled = _fill(definition, parameters)
        for key in ("configs", "after", "outputs", "state"):
            filled[key] = tuple(item for item in filled.get(key, ()) if item)
        filled["arguments"] = {k: v for k, v in filled.get("arguments", {}).items() if v is not None}
        stages.append(Stage(**filled))
    return stages


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
