"""Plan the teacher: derive spacing, patch, network and normalization from the scans by nnU-Net's rules."""

import functools
import hashlib
import json
from pathlib import Path

from tqdm import tqdm

from abdoseg.datalist import load_cases
from abdoseg.files import CaseError, write_json
from abdoseg.labels import ORGAN_IDS
from abdoseg.planning import check_options, fingerprint, make_plan


def plan(
    datalist: str,
    output: str,
    kind: str = "strong",
    preset: str = "automatic",
    spacing: tuple | None = None,
    patch_size: tuple | None = None,
    batch_size: int | None = None,
    gpu_memory_gb: float = 8,
    max_patch_voxels: int | None = None,
    base_features: int = 32,
    max_features: int = 320,
    hu_window: tuple | None = None,
    classes: int = len(ORGAN_IDS) + 1,
    workers: int = 1,
    force: bool = False,
) -> dict:
    """Derive the plan of the teacher network from the training scans, by nnU-Net's planning rules.

    The plan (JSON) holds spacing, patch, strides, kernels, features, batch size, the CT normalization and what was
    measured. A plan that stands already and was made from the same files with the same options is kept. A scan that
    cannot be used is named, left out, and makes the command end with exit code 1.

    Args:
        datalist: datalist (.json) whose section "training" names the scans.
        output: plan to write (.json).
        kind: which training cases count, "strong" (every organ drawn), "weak", "unlabeled" or "all".
        preset: "automatic", or the patch of a paper: "paper_a" (48 x 192 x 192 as z, y, x). Options below win.
        spacing: mm as x,y,z, instead of the rule's; for example 2,2,2.5.
        patch_size: voxels as x,y,z, instead of the rule's; for example 160,160,96. Strides and kernels follow it.
        batch_size: patches a training step, instead of the rule's.
        gpu_memory_gb: graphics memory that training may fill.
        max_patch_voxels: limit of the patch that the rules may choose, for small machines.
        base_features: channels of the first stage; each stage doubles them.
        max_features: channels at most.
        hu_window: HU as lower,upper that voxels are clipped to first, for example -160,240 for soft tissue, which
            short trainings learn in fewer steps; without it only what lies beyond the percentiles of the organs is cut.
        classes: network outputs, background included.
        workers: processes that read scans.
        force: plan again even if the plan stands.

    Returns:
        The plan; "failed" is {id: reason} of the scans left out.
    """
    cases = load_cases(datalist, section="training", kind=None if kind == "all" else kind)
    if not cases:
        remedy = "`python -m tools audit` tells the kinds, and `run --teacher starter` needs no strong one."
        raise CaseError(f"{datalist}: has no training case of kind '{kind}'; {remedy}")
    options = {
        "preset": preset,
        "spacing": _listed(spacing),
        "patch_size": _listed(patch_size),
        "batch_size": batch_size,
        "gpu_memory_gb": gpu_memory_gb,
        "max_patch_voxels": max_patch_voxels,
        "base_features": base_features,
        "max_features": max_features,
    }
    hu_window = _listed(hu_window)
    if hu_window is not None and not (len(hu_window) == 2 and hu_window[0] < hu_window[1]):
        raise CaseError(f"hu_window is {hu_window}; give two numbers in HU, the lower one first, such as -160,240.")
    try:
        check_options(classes=classes, **options)
    except ValueError as error:
        raise CaseError(str(error)) from error
    key = _inputs_key(cases, {"kind": kind, "classes": classes, "hu_window": hu_window, **options})
    if not force and _standing_key(output) == key:
        print(f"{output}: stands already, made from the same scans and options; kept (--force plans again).")
        return _with_failed(json.loads(Path(output).read_text()))
    progress = functools.partial(tqdm, desc="fingerprint", total=len(cases), unit="scan")
    measured = fingerprint(cases, workers, progress, hu_window)
    try:
        result = make_plan(measured, classes, **options)
    except ValueError as error:
        raise CaseError(str(error)) from error
    result |= {"options": {"kind": kind, "hu_window": hu_window, **options}, "inputs_sha256": key}
    write_json(output, result)
    print(summary(result))
    for case in measured["excluded"]:
        print(f"left out: {case['id']}: {case['reason']}")
    print(f"plan: {output}")
    return _with_failed(result)


def _with_failed(plan: dict) -> dict:
    return {**plan, "failed": {case["id"]: case["reason"] for case in plan["fingerprint"]["excluded"]}}


def summary(plan: dict) -> str:
    """Say a plan in a few lines, axes x, y, z."""
    found, values = plan["fingerprint"], plan["normalization"]
    lines = {
        "scans": f"{found['cases']}, median {_joined(found['median_shape'], ' x ')} voxels "
        f"of {_joined(found['median_spacing'], ' x ')} mm",
        "spacing": f"{_joined(plan['spacing'], ' x ')} mm, median scan then {_joined(plan['median_shape'], ' x ')}",
        "patch": f"{_joined(plan['patch_size'], ' x ')}, batch {plan['batch_size']}",
        "stages": f"{len(plan['features'])}, features {_joined(plan['features'], ', ')}",
        "strides": "  ".join(_joined(stride, "") for stride in plan["strides"]),
        "kernels": "  ".join(_joined(kernel, "") for kernel in plan["kernels"]),
        "normalize": f"clip to {values['lower']:g}..{values['upper']:g} HU, "
        f"subtract {values['mean']:.1f}, divide by {values['std']:.1f}",
    }
    return "\n".join(f"{name + ':':11}{text}" for name, text in lines.items())


def _joined(numbers, separator: str) -> str:
    return separator.join(f"{number:.4g}" for number in numbers)


def _listed(numbers) -> list | None:
    """Numbers as a list; fire gives a tuple, or one bare number for `--spacing 5`."""
    if numbers is None:
        return None
    return list(numbers) if isinstance(numbers, list | tuple) else [numbers]


def _inputs_key(cases: list[dict], options: dict) -> str:
    """Hash of what decides the plan: options, and path, size and time of every file."""
    files = []
    for case in cases:
        for path in (Path(case["image"]), Path(case["label"])):
            state = path.stat() if path.is_file() else None
            files.append([case["id"], str(path), state and state.st_size, state and state.st_mtime_ns])
    return hashlib.sha256(json.dumps([options, files], sort_keys=True).encode()).hexdigest()


def _standing_key(output: str) -> str | None:
    """Key of the plan that stands at a path; None if there is none or it is not a plan."""
    try:
        return json.loads(Path(output).read_text()).get("inputs_sha256")
    except (FileNotFoundError, ValueError, AttributeError):
        return None
