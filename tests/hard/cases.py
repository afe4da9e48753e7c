"""One malformed case from a seed: a healthy little data set, one thing in it spoiled, one command, and a verdict."""

import io
import json
import os
import re
import shutil
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

import nibabel as nib
import numpy as np

from abdoseg.datalist import case_id, load_cases
from abdoseg.files import CaseError
from abdoseg.merging import MergeCases
from tests.hard.changing import WHILE_READ, changed_while_read
from tests.hard.malformed import random_name, spoil
from tests.hard.malformed_lists import files_below, spoil_list
from tests.tools.small_data import (
    FIVE,
    ORGANS,
    STUDENT,
    TEACHER,
    labels_of,
    save,
    save_data_set,
    save_scan,
    save_weights,
)
from tools.__main__ import main
from tools.chain import BUNDLES

RESULT, SENTENCE, ESCAPED = "result", "sentence", "escaped"
NETWORKS = {"fine_seg": STUDENT, "teacher_nnunet": TEACHER}
HEALTHY = ("0001", "0002", "0003")
LONGEST_SENTENCE = 2500  # a path may have 1000 characters, and an error may name two


class EscapedError(AssertionError):
    """The command did something that no input may make it do."""


@dataclass
class Case:
    """What was spoiled, what it was given to, and how that ended: a result, a sentence, or it escaped."""

    seed: int
    command: str
    fault: str
    end: str
    told: str


def write_healthy(root: Path) -> None:
    """Write what all cases are copied from: a data set, label maps to score, pseudo labels, weights."""
    save_data_set(root / "data", [ORGANS, ORGANS, FIVE], testing=1)
    for number in (1, 2, 3):
        save_scan(root / "scans" / f"{number:04}_0000.nii.gz", number)
        for folder, classes in (("references", ORGANS), ("predictions", FIVE), ("pseudo_labels", ORGANS)):
            save(root / folder / f"{number:04}.nii.gz", labels_of(classes, number))
    for bundle, architecture in NETWORKS.items():
        save_weights(root / "weights" / bundle, architecture)


def run_case(seed: int, healthy: Path, folder: Path) -> Case:
    """Make the case of a seed in ``folder``, run its command and judge how it ends."""
    rng = np.random.default_rng(seed)
    make = COMMANDS[seed % len(COMMANDS)]
    case = Case(seed, make.__name__, "", ESCAPED, "")
    folder.mkdir()
    try:
        case.end, case.told = make(case, healthy, folder, rng)
    except EscapedError as error:
        case.told = str(error)
    return case


def audit(case: Case, healthy: Path, folder: Path, rng: np.random.Generator) -> tuple[str, str]:
    data, output = folder / "data", folder / "audit"
    shutil.copytree(healthy / "data", data)
    name = random_name(rng)
    images, labels = (("imagesTr2200", "labelsTr2200"), ("validation", "truth"))[rng.integers(2)]
    ending = rng.choice([".nii.gz", ".nii.gz", ".nii"])
    scan = save_scan(data / images / fitting(name, f"_0000{ending}"), int(rng.integers(1000, 10**6)))
    label = save(data / labels / f"{case_id(scan)}{ending}", labels_of(ORGANS, 1))
    victim = (scan, label)[rng.integers(2)]
    code, told = spoiled_call(case, victim, rng, ["audit", str(data), str(output)])
    require(code in (0, 1), f"exit code {code}: {told}")
    datalist = json.loads((output / "datalist.json").read_text())
    used = {entry["id"] for section in ("training", "testing") for entry in datalist[section]}
    require(used >= {*HEALTHY, "0101"}, f"of the healthy cases only {sorted(used)} came through")
    require((output / "report.html").stat().st_size > 0, "there is no report")
    return verdict(
        case, case_id(scan), used, {entry["id"]: entry["reason"] for entry in datalist["excluded"]}, victim, scan
    )


def predict(case: Case, healthy: Path, folder: Path, rng: np.random.Generator) -> tuple[str, str]:
    scans, output = folder / "scans", folder / "labels"
    scans.mkdir()
    for number in ("0001", "0003"):
        shutil.copy(healthy / "scans" / f"{number}_0000.nii.gz", scans)
    # The id of a scan is its label map's name: in the middle of the order, so that there is a neighbor on both sides.
    victim = save_scan(scans / fitting(f"0002{random_name(rng)}", rng.choice(["_0000.nii.gz", ".nii"])), 2)
    bundle = rng.choice(list(NETWORKS))
    options = [str(BUNDLES / bundle), str(scans), str(output), f"--weights={healthy / 'weights' / bundle}"]
    code, told = spoiled_call(case, victim, rng, ["predict", *options])
    require(code in (0, 1), f"exit code {code}: {told}")
    found = {path.name.removesuffix(".nii.gz") for path in output.glob("*.nii.gz")}
    require(found >= {"0001", "0003"}, f"of the healthy scans only {sorted(found)} were labeled")
    name = case_id(victim)
    if name in found:
        label = nib.load(output / f"{name}.nii.gz")
        require(bool(np.isfinite(label.affine).all()), "the label map's affine is not finite")
        require(np.asanyarray(label.dataobj).max() <= 14, "the label map holds no classes")
    return verdict(case, name, found, json.loads((output / "manifest.json").read_text())["failed"], victim)


def evaluate(case: Case, healthy: Path, folder: Path, rng: np.random.Generator) -> tuple[str, str]:
    name = fitting(random_name(rng), ".nii.gz")
    files = []
    for part, classes in (("predictions", FIVE), ("references", ORGANS)):
        shutil.copytree(healthy / part, folder / part)
        files.append(save(folder / part / name, labels_of(classes, 4)))
    victim = files[rng.integers(2)]
    options = [str(folder / "predictions"), str(folder / "references"), f"--output={folder / 'scores.json'}"]
    options += ["--strict"] * int(rng.integers(2)) + ["--num_workers=0"]
    code, told = spoiled_call(case, victim, rng, ["evaluate", *options])
    require(code in (0, 1), f"exit code {code}: {told}")
    scores = json.loads((folder / "scores.json").read_text())
    require(set(scores["cases"]) >= set(HEALTHY), f"of the healthy cases only {sorted(scores['cases'])} were scored")
    return verdict(case, case_id(name), scores["cases"], scores["failed"], victim)


def merge(case: Case, healthy: Path, folder: Path, rng: np.random.Generator) -> tuple[str, str]:
    shutil.copytree(healthy / "pseudo_labels", folder / "pseudo_labels")
    entries = [entry(healthy, "0001", "strong", ORGANS), entry(healthy, "0003", "weak", FIVE)]
    name = fitting(random_name(rng), ".nii.gz")
    files = {
        "image": save_scan(folder / "scans" / fitting(case_id(name), "_0000.nii.gz"), 5),
        "label": save(folder / "weak" / name, labels_of(FIVE, 5)),
    }
    pseudo = save(folder / "pseudo_labels" / name, labels_of(ORGANS, 5))
    kind = rng.choice(["weak", "unlabeled"])
    own = {"id": case_id(name), "kind": str(kind), "annotated_classes": [], "image": str(files["image"])}
    victim = (pseudo, files["label" if kind == "weak" else "image"])[rng.integers(2)]
    if kind == "weak":
        own["label"] = str(files["label"])
    content = {"training": [*entries, *([own] if kind == "weak" else [])], "unlabeled": [own] * (kind == "unlabeled")}
    (folder / "list.json").write_text(json.dumps(content))
    options = (folder / "list.json", folder / "pseudo_labels", folder / "merged")
    policy = str(rng.choice(["fill_background", "overwrite_pseudo"]))
    stage = MergeCases(*options, policy=policy, include_unlabeled=True, num_threads=2, progress=False)
    with disturbance(case, victim, rng):
        try:
            stage.run()
        except Exception as error:
            raise EscapedError(f"{type(error).__name__}: {error}") from error
    merged = json.loads((folder / "merged" / "datalist.json").read_text())
    used = {entry["id"] for entry in merged["training"]}
    require(used >= {"0001", "0003"}, f"of the healthy cases only {sorted(used)} were merged")
    return verdict(case, own["id"], used, {entry["id"]: entry["reason"] for entry in merged["excluded"]}, victim)


def datalist(case: Case, healthy: Path, folder: Path, rng: np.random.Generator) -> tuple[str, str]:
    """A malformed data list given to what reads one; nothing may be written beside the output folder."""
    path = folder / "cases.json"
    tests = [
        {**entry(healthy, name, "test", ORGANS), "label": str(healthy / "references" / f"{name}.nii.gz")}
        for name in ("0001", "0003")
    ]
    training = [entry(healthy, "0001", "strong", ORGANS), {**entry(healthy, "0003", "weak", FIVE), "validation": True}]
    content = {"name": "x", "seed": 0, "labels": {"0": "background"}, "training": training, "testing": tests}
    path.write_text(json.dumps({**content, "unlabeled": [], "excluded": []}))
    case.fault = spoil_list(path, rng)
    readers = {
        "predict": ["predict", str(BUNDLES / "fine_seg"), str(path), str(folder / "out"),
                    f"--weights={healthy / 'weights' / 'fine_seg'}"],
        "evaluate": ["evaluate", str(healthy / "predictions"), str(path), f"--output={folder / 'out' / 'scores.json'}",
                     "--num_workers=0", "--strict"],
        "plan": ["plan", str(path), f"--output={folder / 'out' / 'plan.json'}", "--patch_size=16,16,16"],
    }  # fmt: skip
    reader = str(rng.choice([*readers, "merge", "load"]))
    case.command = f"datalist: {reader}"
    before = files_below(healthy) | files_below(folder)
    if reader in readers:
        code, told = call(readers[reader])
    else:
        code, told = call_python(reader, path, healthy, folder / "out")
    stray = {name for name in files_below(healthy) | files_below(folder) if not name.startswith(f"{folder / 'out'}")}
    require(stray <= before, f"wrote beside its output folder: {sorted(stray - before)}")
    if code != 2:
        return RESULT, told
    sentence = last_sentence(told)
    require(re.search(r"/\S", sentence) is not None, f"names no file: {told}")
    return SENTENCE, sentence


COMMANDS = (audit, predict, evaluate, merge, datalist)


def entry(healthy: Path, name: str, kind: str, classes) -> dict:
    image, label = healthy / "scans" / f"{name}_0000.nii.gz", healthy / "predictions" / f"{name}.nii.gz"
    return {"id": name, "image": str(image), "label": str(label), "kind": kind, "annotated_classes": list(classes)}


def fitting(name: str, ending: str) -> str:
    """File name of an id that a file system takes, also where the name of another of its files has a suffix more."""
    room = 255 - len("_0000.nii.gz")
    while len(name.encode("utf-8", "surrogateescape")) > room:
        name = name[:-1]
    return f"{name}{ending}"


def disturbance(case: Case, victim: Path, rng: np.random.Generator):
    """Spoil the file now, or give the context in which it is changed while the command runs."""
    if rng.random() < 0.1:
        case.fault = str(rng.choice(WHILE_READ))
        return changed_while_read(victim, case.fault, rng)
    case.fault = spoil(victim, rng)
    return nullcontext()


def spoiled_call(case: Case, victim: Path, rng: np.random.Generator, arguments: list[str]) -> tuple[int, str]:
    with disturbance(case, victim, rng):
        return call(arguments)


def call(arguments: list[str]) -> tuple[int, str]:
    """Exit code of a command and what it printed, to streams as strict about characters as a terminal's."""
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    errors = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", write_through=True)
    with redirect_stdout(printed), redirect_stderr(errors):
        try:
            code = main(arguments)
        except BaseException as error:
            raise EscapedError(f"{type(error).__name__}: {error}") from error
    told = "".join(stream.buffer.getvalue().decode("utf-8", "replace") for stream in (printed, errors))
    require("Traceback" not in told, told)
    return code, told


def call_python(reader: str, path: Path, healthy: Path, output: Path) -> tuple[int, str]:
    """The same for what has no command of its own."""
    try:
        if reader == "load":
            return 0, f"{len(load_cases(path))} cases"
        stage = MergeCases(path, healthy / "pseudo_labels", output, progress=False)
        return 0, str(stage.run())
    except CaseError as error:
        return 2, f"error: {error}"
    except BaseException as error:
        raise EscapedError(f"{type(error).__name__}: {error}") from error


def verdict(case: Case, name: str, used, failed: dict[str, str], *files: Path) -> tuple[str, str]:
    """A case is used, or set aside with one sentence that names one of its files; the first one was spoiled."""
    if case.fault in WHILE_READ and name not in {*used, *failed} and not os.path.lexists(files[0]):
        return SENTENCE, "it had gone before the folder was listed"
    require(name in used or name in failed, f"case {name!r} is lost")
    if name not in failed:
        return RESULT, ""
    reason = failed[name]
    names = [shown(str(file)) for file in files]
    require(any(one in shown(reason) for one in names), f"the reason does not name {names[0]}: {reason}")
    require(len(reason) < LONGEST_SENTENCE, f"a reason of {len(reason)} characters: {reason[:200]}")
    require("Traceback" not in reason, reason)
    rest = shown(reason).replace(names[0], "")
    require(len(rest.split()) >= 3, f"the reason says too little: {reason}")
    return SENTENCE, reason


def last_sentence(told: str) -> str:
    lines = [line for line in told.splitlines() if line.startswith("error: ")]
    require(len(lines) == 1 and len(lines[0]) < LONGEST_SENTENCE, f"not one sentence: {told[:3000]}")
    return lines[0]


def shown(text: str) -> str:
    """A text on one line, as commands show it, with its accents composed, as they are in ids."""
    return " ".join(normalize("NFC", text).split())


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise EscapedError(otherwise)
