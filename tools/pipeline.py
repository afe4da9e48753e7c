"""Chains as data: files in pipelines/ with parameters, presets, stages of another chain and stages that repeat."""

import string
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import yaml

from abdoseg.files import CaseError
from tools.chain import Stage

PIPELINES = Path(__file__).parent / "pipelines"


def load_pipeline(name: str, preset: str | None, values: dict) -> list[Stage]:
    """Read ``pipelines/NAME.yaml`` and fill in its placeholders.

    A chain has ``parameters``, ``presets`` of them, ``choices`` (parameter -> all that its list may hold) and
    ``stages``, which are filled in from top to bottom:

    - ``{name}`` in any text is a parameter; a text that is one placeholder takes the parameter's type.
    - ``inherits: CHAIN`` brings the parameters and presets of another chain, and ``- inherit: STAGE`` puts one of its
      stages here, equal to the last letter, so that in one work folder it is done once for both. What stands beside it
      takes the place of what the stage has; ``arguments`` one by one.
    - ``- each: {family: "{families}"}`` with ``stages`` repeats these for every value; for a number n, for 0..n, where
      ``{previous_...}`` is one less.
    - A stage with ``unless`` (``when``) is left out where that value, or one of a list, is set (is not set).
    - ``after`` takes names with ``*``; names of stages that were left out are passed over.

    Parameters
    ----------
    name : name of the chain, or path of another one (.yaml).
    preset : name of a preset of the chain (``demo``), or None for the full-size protocol.
    values : replace parameters of the chain; ``data_dir`` and ``work_dir`` must be among them.

    Raises
    ------
    CaseError
        For an unknown chain, preset or parameter, a value of another type, or a work folder whose name no config can
        hold; the message names what is allowed.
    """
    content = _read(name)
    presets = content["presets"]
    if preset is not None and preset not in presets:
        raise CaseError(f"Chain {name} has no preset {preset!r}. Use one of: {', '.join(presets)}, or none.")
    parameters = content["parameters"] | (presets[preset] if preset else {})
    unknown = set(values) - set(parameters) - {"data_dir", "work_dir"}
    if unknown:
        raise CaseError(f"Chain {name} has no parameter {', '.join(sorted(unknown))}. It has: {', '.join(parameters)}.")
    if "#" in str(values.get("work_dir")):
        raise CaseError(
            f"{values['work_dir']}: MONAI's configs take # in a path for ::; give a work folder without it."
        )
    parameters |= {
        key: _checked(key, value, parameters.get(key), content["choices"].get(key)) for key, value in values.items()
    }
    stages: list[Stage] = []
    defined: set[str] = set()
    for filled in _filled(content["stages"], parameters, content["inherited"]):
        defined.add(filled["name"])
        when, unless = (_listed(filled.pop(key, default)) for key, default in (("when", True), ("unless", None)))
        if not all(when) or any(unless):
            continue
        patterns = filled.get("after", ())
        if strange := [item for item in patterns if not any(fnmatch(stage, item) for stage in defined)]:
            raise CaseError(
                f"Chain {name}: stage {filled['name']} comes after {strange[0]}, which is no stage before it."
            )
        for key in ("configs", "inputs", "outputs", "state"):
            filled[key] = tuple(item for item in filled.get(key, ()) if item)
        earlier = [stage.name for stage in stages]
        filled["after"] = tuple(name for name in earlier if any(fnmatch(name, pattern) for pattern in patterns))
        filled["arguments"] = {k: v for k, v in filled.get("arguments", {}).items() if v is not None}
        stages.append(Stage(**filled))
    return stages


def _listed(value) -> list:
    return value if isinstance(value, list) else [value]


def _read(name: str) -> dict:
    """Content of a chain: parameters and presets with those that it inherits, its stages, and the inherited ones."""
    path = Path(name) if name.endswith(".yaml") else PIPELINES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PIPELINES.glob("*.yaml")))
        raise CaseError(f"Unknown chain {name!r}. Use one of: {known}.")
    content = yaml.safe_load(path.read_text())
    empty = {"parameters": {}, "presets": {}, "choices": {}, "stages": []}
    base = _read(content["inherits"]) if "inherits" in content else empty
    presets = dict(base["presets"])
    for preset, parameters in content.get("presets", {}).items():
        presets[preset] = presets.get(preset, {}) | parameters
    return {
        "parameters": base["parameters"] | content.get("parameters", {}),
        "presets": presets,
        "choices": base["choices"] | content.get("choices", {}),
        "stages": content["stages"],
        "inherited": {stage["name"]: stage for stage in base["stages"] if "name" in stage},
    }


def _filled(items: list[dict], parameters: dict, inherited: dict) -> Iterator[dict]:
    """Definitions of stages without placeholders and repetitions."""
    for item in items:
        if "each" in item:
            ((name, values),) = _fill(item["each"], parameters).items()
            for value in range(values + 1) if isinstance(values, int) else values:
                previous = {f"previous_{name}": value - 1} if isinstance(values, int) else {}
                yield from _filled(item["stages"], parameters | {name: value} | previous, inherited)
            continue
        definition = dict(item)
        if "inherit" in definition:
            base = inherited[definition.pop("inherit")]
            arguments = base.get("arguments", {}) | definition.get("arguments", {})
            definition = base | definition | {"arguments": arguments}
        yield _fill(definition, parameters)


def _checked(name: str, value, default, choices: list | None):
    """A value of a parameter, refused where the parameter's own value is of another type, or it holds no choice."""
    value = list(value) if isinstance(value, tuple) else value
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if default is not None and value is not None and type(value) is not type(default):
        raise CaseError(f"Parameter {name} is {value!r}; it takes a value such as {default!r}.")
    if choices and value and (strange := [item for item in value if item not in choices]):
        raise CaseError(f"Parameter {name} has {strange[0]!r}. Use some of: {', '.join(choices)}.")
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
        return string.Formatter().get_field(names[0], (), parameters)[0]
    return item.format(**parameters)
