"""Write a phantom data set in FLARE23's layout, with the complete truth of every scan apart."""

import json
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import nibabel as nib
import numpy as np
from tqdm import tqdm

from abdoseg.files import atomic_path, write_json, write_label_map
from abdoseg.labels import NAMES
from abdoseg.phantom import KINDS, PhantomCase, PhantomError, PhantomSettings, allocate, make_case, partial_label

VERSION = 1  # counts changes of the phantom that change its bytes
SAVE_SECONDS = 5.0
TRAINING, UNLABELED, TEST = 0, 1, 2
FOLDERS = {TRAINING: "imagesTr2200", UNLABELED: "unlabelTr1800", TEST: "validation"}


@dataclass(frozen=True)
class Job:
    """One scan to make: its id, its part of the data set, its number there and its kind of label (or None)."""

    case: str
    part: int
    number: int
    kind: str | None


def phantom(
    output_dir: str,
    cases=48,
    unlabeled=6,
    test_cases=16,
    seed=0,
    size: str = "demo",
    difficulty=0.5,
    min_strong=5,
    orientation: str | None = None,
    workers=1,
):
    """Make a data set of procedural abdominal CT scans in FLARE23's layout.

    No external data: anatomy, contrast agent, scanner and labels are drawn at random. Label kinds have FLARE23's
    shares: of 2200, 888 tumor only, 10 four organs, 455 five organs (liver, kidneys, spleen, pancreas), 597 those five
    and tumor, 250 all organs, 28 of which lack an organ; no label has all 13 organs and tumor.

    The folder gets imagesTr2200/FLARE23_0001_0000.nii.gz and so on with their partial labels
    labelsTr2200/FLARE23_0001.nii.gz; unlabelTr1800/FLARE23_2201_0000.nii.gz (numbered on from the training scans, at
    least from 2201); validation/FLARE23Ts_0001_0000.nii.gz (three of four with a tumor); for every scan, its complete
    truth (13 organs and tumor) truth/ID.nii.gz; and phantom.json with the settings and, for each scan, label kind,
    missing organs, tumors (host, mm^3), spacing, orientation and contrast phase.

    A second call with the same settings makes what is missing and nothing else. The same seed gives the same bytes;
    a scan depends on the seed, its number and its kind of label only.

    Args:
        output_dir: Folder to write to.
        cases: Number of training scans.
        unlabeled: Number of scans without label.
        test_cases: Number of test scans.
        seed: Any whole number from 0.
        size: "demo" (80-104 voxels in-plane of 3.5-4.5 mm, 48-72 slices) or "full" (512 x 512, slices of 1-5 mm).
        difficulty: 0 to 1; more noise, more varied shapes, organs closer in Hounsfield units.
        min_strong: At least so many training labels have all 13 organs; with few cases FLARE23's shares give almost
            none. The difference is taken from the largest kinds.
        orientation: Axis codes in which every scan is stored, such as RAS; by default they vary, as in real data.
        workers: Number of processes. The result does not depend on it.
    """
    settings = {
        "version": VERSION,
        "cases": _whole("cases", cases),
        "unlabeled": _whole("unlabeled", unlabeled),
        "test_cases": _whole("test_cases", test_cases),
        "seed": _whole("seed", seed),
        "size": size,
        "difficulty": difficulty,
        "min_strong": _whole("min_strong", min_strong),
        "orientation": orientation,
    }
    workers = _whole("workers", workers)
    common = PhantomSettings(size=size, difficulty=difficulty, orientation=orientation)
    root = Path(str(output_dir))
    jobs = plan_jobs(settings)
    done = _finished(root, settings)
    todo = [job for job in jobs if job.case not in done or not all(p.is_file() for p in _paths(root, job).values())]
    if todo:
        root.mkdir(parents=True, exist_ok=True)
        _make(root, todo, settings, common, done, workers)
    records = {job.case: done[job.case] for job in jobs}
    if todo or not (root / "phantom.json").is_file():
        write_json(root / "phantom.json", {"settings": settings, "cases": records})
        (root / "phantom.unfinished.json").unlink(missing_ok=True)
    print(f"{len(jobs)} scans in {root} ({len(todo)} made now, {len(jobs) - len(todo)} were there).")


def plan_jobs(settings: dict) -> list[Job]:
    """All scans of a data set: training with their kinds in random order, then unlabeled, then test."""
    cases = settings["cases"]
    counts = allocate(cases, settings["min_strong"])
    kinds = [name for name, count in counts.items() for _ in range(count)]
    order = np.random.default_rng([settings["seed"], 23]).permutation(len(kinds))
    jobs = [Job(f"FLARE23_{i + 1:04d}", TRAINING, i + 1, kinds[k]) for i, k in enumerate(order)]
    first = max(2200, cases) + 1
    jobs += [Job(f"FLARE23_{first + i:04d}", UNLABELED, i + 1, None) for i in range(settings["unlabeled"])]
    return jobs + [Job(f"FLARE23Ts_{i + 1:04d}", TEST, i + 1, None) for i in range(settings["test_cases"])]


def make_job(job: Job, seed: int, common: PhantomSettings) -> PhantomCase:
    """The scan of a job: what its kind of label asks of the patient, the rest at random."""
    rng = np.random.default_rng([seed, job.part, job.number, 1])
    options = {"tumors": None, "missing": None, "complete": False}
    if job.kind is not None:
        options["tumors"] = KINDS[job.kind].tumors
    if job.part == TEST:
        options["tumors"] = job.number % 4 != 0
    if job.kind == "four_organs":  # one of the five was removed
        options["missing"] = frozenset({int(rng.choice([2, 3, 13]))})
    elif job.kind in ("five_organs", "five_organs_tumor"):
        options["missing"] = frozenset({9} if rng.random() < 0.1 else ())
    elif job.kind == "all_organs":
        options |= {"missing": frozenset(), "complete": True}
        # One complete label in ten is of a patient with a tumor that nobody drew.
        options["tumors"] = bool(rng.random() < 0.1)
    elif job.kind == "all_organs_some_missing":
        options |= {
            "missing": frozenset({int(rng.choice([9, 8, 12, 13], p=[0.82, 0.08, 0.05, 0.05]))}),
            "complete": True,
        }
    settings = PhantomSettings(common.size, common.difficulty, orientation=common.orientation, **options)
    return make_case([seed, job.part, job.number], settings)


def _make(root: Path, todo: list[Job], settings: dict, common: PhantomSettings, done: dict, workers: int) -> None:
    arguments = [(root, job, settings["seed"], common) for job in todo]
    pool = ProcessPoolExecutor(workers, get_context("spawn")) if workers > 1 else nullcontext()
    saved = time.monotonic()
    try:
        with pool as processes:
            records = (processes.map if processes else map)(_write_job, arguments)
            for job, record in zip(todo, tqdm(records, total=len(todo), desc="phantom", unit="scan"), strict=True):
                done[job.case] = record
                if time.monotonic() - saved > SAVE_SECONDS:
                    write_json(root / "phantom.unfinished.json", {"settings": settings, "cases": done})
                    saved = time.monotonic()
    finally:
        write_json(root / "phantom.unfinished.json", {"settings": settings, "cases": done})


def _paths(root: Path, job: Job) -> dict[str, Path]:
    paths = {
        "image": root / FOLDERS[job.part] / f"{job.case}_0000.nii.gz",
        "truth": root / "truth" / f"{job.case}.nii.gz",
    }
    if job.kind is not None:
        paths["label"] = root / "labelsTr2200" / f"{job.case}.nii.gz"
    return paths


def _write_job(arguments) -> dict:
    root, job, seed, common = arguments
    case, paths = make_job(job, seed, common), _paths(root, job)
    header = nib.Nifti1Header()
    header.set_xyzt_units("mm")
    header.set_data_dtype(np.int16)  # nibabel would write the type that a given header names, float32
    image = nib.Nifti1Image(case.image, case.affine, header)
    image.set_sform(case.affine, code=1)
    image.set_qform(case.affine, code=1)
    write_label_map(paths["truth"], case.truth, image)
    if job.kind is not None:
        write_label_map(paths["label"], partial_label(KINDS[job.kind], case.truth, case.organs), image)
    with atomic_path(paths["image"]) as temporary:
        nib.save(image, temporary)
    named = {key: [NAMES[i] for i in case.info[key]] for key in ("missing", "not_in_view")}
    return {"part": FOLDERS[job.part], "kind": job.kind, **case.info, **named}


def _finished(root: Path, settings: dict) -> dict:
    """Records of the scans that an earlier call made with the same settings."""
    for name in ("phantom.json", "phantom.unfinished.json"):
        path = root / name
        if path.is_file():
            earlier = json.loads(path.read_text())
            differing = [key for key in settings if earlier["settings"].get(key) != settings[key]]
            if differing:
                told = ", ".join(f"{key}={earlier['settings'].get(key)} (now {settings[key]})" for key in differing)
                raise PhantomError(f"{path} was made with other settings: {told}; choose another folder or delete it.")
            return dict(earlier["cases"])
    if root.exists() and not root.is_dir():
        raise PhantomError(f"{root} is a file; name a folder for the data set.")
    return {}


def _whole(name: str, value) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise PhantomError(f"{name} is {value!r}; it must be a whole number from 0.")
    return value
