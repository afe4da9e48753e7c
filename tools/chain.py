"""Stages of a chain, and the manifests that tell what is done already."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path

import yaml

from abdoseg.datalist import load_cases
from abdoseg.files import CaseError, glob, write_json
from tools.layout import find_cases

BUNDLES = Path(__file__).parent.parent / "bundles"
# Commands of tools and run ids of bundles that many processes can share.
SHARED = ("predict", "evaluate", "training", "merging", "assigning", "filtering")
# Commands whose outputs are for people: no stage reads them.
FINAL = ("report", "pack")
PACKAGES = ("abdoseg", "monai", "torch", "numpy", "nibabel", "pytorch-ignite", "mlflow")


def versions() -> dict[str, str]:
    """Installed versions of what decides a result."""
    return {package: version(package) for package in PACKAGES}


def check_tracking(where: str | None) -> None:
    """Raise a CaseError if an option ``tracking`` names no place; `tools.tracking.Store` has what it may be."""
    if where not in (None, "mlflow") and "://" not in where:
        raise CaseError(f"Unknown tracking {where!r}. Use 'mlflow', the address of a server, or leave it out.")


def find_config(name: str, folder: Path) -> Path:
    """Path of a config file, in a bundle's ``configs`` or from the current folder; CaseError if it is in neither."""
    found = next((path for path in (folder / name, Path(name).absolute()) if path.is_file()), None)
    if found is None:
        raise CaseError(f"{name}: neither {folder} nor the current folder has such a config file.")
    return found


CONFIG_ENDINGS = (".yaml", ".yml", ".json")


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
    cases : ``{"path": datalist, "section", "kind", "labeled"}``, or ``{"path", "family"}``: cases with a tumor in
        that family of hosts; without one such case the stage is skipped; with ``"absent": true`` if there is one.
    outputs : files that must be there when it is done.
    state : files and folders that go when the stage's definition has changed, of trainings aside: they must not be
        resumed.
    inputs : folders of files from outside of the chain that decide the result, too.
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
    inputs: tuple[str, ...] = ()

    @property
    def is_shared(self) -> bool:
        """Whether many processes can share its work: a training, or one case after the other."""
        return (self.tool or self.run) in SHARED

    def config_files(self) -> list[Path]:
        """Paths of the config files; CaseError if one is missing."""
        folder = BUNDLES / self.bundle / "configs" if self.bundle else Path()
        return [find_config(name, folder) for name in self.configs]

    def key(self, keys: dict[str, str], inputs: str) -> str:
        """Hash of all that decides the stage's result: definition, config files, the stages before it, the data."""
        definition = {name: value for name, value in self.__dict__.items() if name != "inputs"}
        digest = hashlib.sha256(json.dumps(definition, sort_keys=True, default=str).encode())
        for path in self.config_files():
            content = path.read_bytes()
            digest.update(_parsed(content) if path.suffix in CONFIG_ENDINGS else content)  # weights may be among them
        for path in map(Path, self.inputs):
            digest.update(_listing(path).encode())
        for stage in self.after:
            digest.update(keys[stage].encode())
        if not self.after:
            digest.update(inputs.encode())
        return digest.hexdigest()

    def missing_cases(self) -> str | None:
        """Say which cases the stage is about and the data set lacks; None if it can run."""
        if not self.cases:
            return None
        if "family" in self.cases:
            from abdoseg.host_cases import load_host_cases  # imports torch and MONAI, which takes seconds

            found = load_host_cases(**self.cases, validation=False)
            return None if found else f"no scan has a tumor of the family {self.cases['family']!r}"
        query = {name: value for name, value in self.cases.items() if name not in ("labeled", "absent")}
        labeled, absent = self.cases.get("labeled", False), self.cases.get("absent", False)
        if any(case.get("label") or not labeled for case in load_cases(**query)) != absent:
            return None
        kind = f"{query['kind']} " if query.get("kind") else ""
        has = "has" if absent else "has no"
        return f"the data set {has} {kind}cases in section '{query['section']}'{' with a label' * labeled}"


@cache
def _parsed(config: bytes) -> bytes:
    """What a config says, without comments and layout, which decide nothing."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(config)  # yaml.safe_load takes ten times as long
    try:
        return json.dumps(loader.get_single_data(), default=str).encode()
    finally:
        loader.dispose()


def _listing(folder: Path) -> str:
    """Names, sizes and times of the files in a folder, without hidden ones; CaseError if there is no such folder."""
    if not folder.is_dir():
        raise CaseError(f"{folder}: there is no such folder; give one that is there, or leave it out.")
    found = (path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith("."))
    states = ((path.name, path.stat()) for path in found)
    return json.dumps([(name, state.st_size, state.st_mtime_ns) for name, state in states])


class Manifests:
    """What each stage of a work folder did, and whether it needs doing again."""

    def __init__(self, work_dir: str | Path) -> None:
        self.folder = Path(work_dir) / "manifests"

    def read(self, stage: str) -> dict:
        return read_manifest(self.folder / f"{stage}.json")

    def write(self, stage: str, content: dict) -> None:
        write_json(self.folder / f"{stage}.json", {"stage": stage, **content, "versions": versions()})

    def begin(self, stage: Stage, keys: Mapping[str, str]) -> None:
        """Note that a stage is running, and that others whose outputs it is about to replace are not done any more.

        A teacher that is trained, imported or given lies in one place, and so does its plan: the stage that wrote it
        last is the one that is done.
        """
        outputs = [] if stage.tool in FINAL else list(stage.outputs)
        after = {name: keys[name] for name in stage.after}
        self.write(stage.name, {"key": keys[stage.name], "status": "running", "outputs": outputs, "after": after})
        for name in (path.stem for path in glob(self.folder, "*.json")):
            if name != stage.name and set(outputs) & set(self.read(name).get("outputs", ())):
                self.write(name, {"key": "", "status": "replaced", "by": stage.name})

    def end(self, stage: str, content: dict) -> None:
        """Note how a stage that was begun has ended."""
        self.write(stage, self.read(stage) | content)

    def is_done(self, stage: Stage, key: str) -> bool:
        """Whether the stage was done, or rightly skipped, with the same settings, data and stages before it."""
        manifest = self.read(stage.name)
        if manifest.get("key") != key:
            return False
        done = manifest.get("status") == "done" and all(Path(output).exists() for output in stage.outputs)
        return done or manifest.get("status") == "skipped"


def outdated(manifests: Mapping[str, Mapping]) -> set[str]:
    """Names of stages that have used what another stage has made anew since; ``manifests`` by their stages' names."""

    @cache
    def is_outdated(name: str) -> bool:
        used = manifests.get(name, {}).get("after", {})
        return any(manifests.get(one, {}).get("key") != key or is_outdated(one) for one, key in used.items())

    return {name for name in manifests if is_outdated(name)}


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


def data_signature(data: str | Path) -> str:
    """Hash of a data set's cases, their files' sizes and times and what the labels mean: changes when one of them does.

    Parameters
    ----------
    data : folder of a data set, or a datasets.yaml.

    Raises
    ------
    CaseError
        See `tools.layout.find_cases`.
    """
    root = Path(data).absolute()
    candidates, excluded = find_cases(root)
    lines = []
    for case in [*candidates, *excluded]:
        label = case.get("label", [])
        files = [Path(path) for path in [case.get("image"), *([label] if isinstance(label, str) else label)] if path]
        convention = case["source_labels"].as_dict() if "source_labels" in case else None
        told = [case["id"], case.get("section"), convention]
        for path in files:
            state = path.stat() if path.exists() else None
            told.append([os.path.relpath(path, root), state and state.st_size, state and state.st_mtime_ns])
        lines.append(json.dumps(told))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
