"""What stages from files to files share: case after case, in threads, resumed, faulty cases set aside by name."""

import json
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unicodedata import normalize

import nibabel as nib
import numpy as np
from tqdm import tqdm

from abdoseg.datalist import read_datalist
from abdoseg.files import CaseError, is_file, is_of_the_disk, write_json
from abdoseg.label_maps import grid_difference, open_volume, read_label_map
from abdoseg.ranks import join
from abdoseg.threads import in_threads

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taken:
    """What became of the cases of a stage.

    Parameters
    ----------
    done : pairs of a case and what its stage tells of it (`CaseStage.told`), in the order of the cases.
    set_aside : entries for the section ``excluded`` of a datalist: id, paths and reason.
    up_to_date : how many of those done were found done.
    """

    done: list[tuple[dict, dict]] = field(default_factory=list)
    set_aside: list[dict] = field(default_factory=list)
    up_to_date: int = 0


class CaseStage(ABC):
    """A stage that takes the cases of a datalist one by one and writes label maps and a summary for each.

    Everything is written aside and renamed. ``summary/ID.json`` comes last: it holds the settings and the path, size
    and time of each input file, so that one that still fits, beside its label maps, proves the case up to date; such a
    case is skipped. While a case is in work, a summary without them stands there. A case that raises a CaseError leaves
    no outputs and is set aside with its reason; the others go on. Under torchrun each process takes its share of the
    cases (`take`).

    Parameters
    ----------
    datalist : the stage's input.
    output_dir : folder to write to; made if missing.
    settings : what decides the outputs of a case besides its input files; plain JSON values.
    num_threads : cases in work at once.
    progress : show a progress bar.

    Raises
    ------
    CaseError
        If ``num_threads`` is below 1.
    """

    action: str
    done: str

    def __init__(
        self,
        datalist: str | os.PathLike,
        output_dir: str | os.PathLike,
        settings: dict,
        num_threads: int = 1,
        progress: bool = True,
    ) -> None:
        if num_threads < 1:
            raise CaseError(f"num_threads is {num_threads}; use 1 or more.")
        self.datalist = Path(datalist).absolute()
        self.output_dir = Path(output_dir).absolute()
        self.settings = settings
        self.num_threads = num_threads
        self.progress = progress

    @abstractmethod
    def inputs(self, case: dict) -> dict[str, str]:
        """Give the paths of the files that a case's outputs are made of, by role; CaseError if one cannot be found."""

    @abstractmethod
    def maps(self, case: dict) -> tuple[Path, ...]:
        """Give the paths of the label maps that `work` writes."""

    @abstractmethod
    def work(self, case: dict, inputs: dict[str, str]) -> dict:
        """Write the label maps of a case; give what its summary says of them."""

    def settings_of(self, case: dict) -> dict:
        """Give what decides the outputs of one case besides its input files; plain JSON values."""
        return self.settings

    def told(self, summary: dict) -> dict | list:
        """Give what `run` needs of a case's summary, as plain JSON values; it is kept in memory for all cases."""
        return {key: value for key, value in summary.items() if key != "inputs"}

    def read(self, *outputs: str) -> dict:
        """Read the datalist; CaseError if one of the stage's own datalists would take its place."""
        datalist = read_datalist(self.datalist)
        if self.datalist.resolve() in [(self.output_dir / name).resolve() for name in outputs]:
            raise CaseError(f"{self.datalist}: the output folder must not be the folder of the input datalist.")
        return datalist

    def take(self, cases: list[dict]) -> Taken | None:
        """Do what is not done yet; CaseError if not one case could be done.

        Under torchrun each process takes its share of the cases, and all but the first get None: they write nothing
        that is common.
        """
        ranks, outcomes = join(), {}

        def note(outcome: Sequence) -> None:
            number, reason, summary, fresh = outcome
            if reason is not None:
                logger.warning("Case %s is set aside. %s", cases[number]["id"], reason)
            outcomes[number] = reason, summary, fresh

        share = ranks.share(range(len(cases)))
        with ranks.gathering(note) as hand_over:
            results = self._results([cases[number] for number in share], ranks.first)
            for number, (summary, fresh) in zip(share, results, strict=True):
                fault = isinstance(summary, CaseError)
                hand_over((number, *((str(summary), None) if fault else (None, self.told(summary))), fresh))
        if not ranks.first:
            return None
        done, set_aside, up_to_date = [], [], 0
        for case, (reason, summary, fresh) in zip(cases, (outcomes[key] for key in sorted(outcomes)), strict=True):
            if reason is not None:
                set_aside.append(excluded_entry(case, reason))
                continue
            up_to_date += not fresh
            done.append((case, summary))
        if not done:
            reason = set_aside[0]["reason"] if set_aside else "it has no training case."
            raise CaseError(f"{self.datalist}: not one case could be {self.done}; the first reason: {reason}")
        return Taken(done, set_aside, up_to_date)

    def result(self, taken: Taken) -> dict:
        """Give the part of a stage's result that all stages have: ``{done: n, "up_to_date": n, "failed": {}}``."""
        failed = {case["id"]: case["reason"] for case in taken.set_aside}
        return {self.done: len(taken.done) - taken.up_to_date, "up_to_date": taken.up_to_date, "failed": failed}

    def label_of(self, case: dict) -> str:
        """Give the path of a case's label; CaseError for an unlabeled case that has none."""
        if "label" not in case:
            raise CaseError(f"{self.datalist}: case '{case['id']}' has no label; merge in its pseudo label first.")
        return case["label"]

    def _results(self, cases: list[dict], shown: bool) -> Iterator[tuple[dict | CaseError, bool]]:
        def attempt(case: dict) -> tuple[dict | CaseError, bool]:
            try:
                return self._case(case)
            except CaseError as error:
                reason = error
            except MemoryError:
                reason = CaseError(f"{case.get('label') or case['image']}: needs more memory than there is.")
            for path in (*self.maps(case), self._summary_path(case)):
                path.unlink(missing_ok=True)
            return reason, False

        results = in_threads(attempt, cases, self.num_threads)
        hidden = not (self.progress and shown)
        yield from tqdm(results, self.action, len(cases), unit="case", disable=hidden)

    def _case(self, case: dict) -> tuple[dict, bool]:
        """Give the summary of a case, and whether it was done now (True) or found up to date (False)."""
        inputs = self.inputs(case)
        state = {"id": case["id"], "kind": case["kind"], **self.settings_of(case), "inputs": fingerprints(inputs)}
        found = read_summary(self._summary_path(case))
        if all(path.is_file() for path in self.maps(case)) and all(found.get(key) == state[key] for key in state):
            return found, False
        # Killed from here on, the maps may no longer be those of an earlier summary, to whose settings one may go back.
        write_json(self._summary_path(case), {"id": case["id"], "kind": case["kind"]})
        # Written last: a summary that fits its inputs proves that the maps are complete.
        summary = {**state, **self.work(case, inputs)}
        write_json(self._summary_path(case), summary)
        return summary, True

    def _summary_path(self, case: dict) -> Path:
        return self.output_dir / f"summary/{case['id']}.json"


def excluded_entry(case: dict, reason: str) -> dict:
    """Give a case's entry in the section ``excluded`` of a datalist."""
    return {"id": case["id"], **{key: case[key] for key in ("image", "label") if key in case}, "reason": reason}


def find_volume(folders: Sequence[Path], name: str) -> Path | None:
    """Give the path of ``NAME.nii.gz`` or ``NAME.nii`` in the first of the folders that holds one; None without any.

    It is found also where macOS has written its name, with accents as characters of their own.
    """
    names = [f"{form}{ending}" for form in (name, normalize("NFD", name)) for ending in (".nii.gz", ".nii")]
    candidates = (folder / name for folder in folders for name in names)
    return next((path for path in candidates if is_file(path)), None)


def read_on_grid(path: str | os.PathLike, grid: nib.Nifti1Image, kind: str, other: str | os.PathLike) -> np.ndarray:
    """Read a label map (x, y, z) that must lie on the grid of another file.

    Parameters
    ----------
    path : the label map.
    grid : image whose shape and affine it must have.
    kind : what it is, with its article, and ``other``, the path of ``grid``: for the error.

    Raises
    ------
    CaseError
        If it lies on another grid, or cannot be read as a label map.
    """
    difference = grid_difference(open_volume(path), grid)
    if difference:
        raise CaseError(f"{path}: has {difference}; {kind} lies on the grid of {other}.")
    return read_label_map(path)[0]


def fingerprints(inputs: dict[str, str]) -> dict[str, dict]:
    """Give path, size and time of each input file, by role; CaseError if one is missing, OSError if its disk is."""
    prints = {}
    for role, path in inputs.items():
        try:
            status = os.stat(path)
        except OSError as error:
            if is_of_the_disk(error):
                raise
            raise CaseError(f"{path}: the file named in the datalist is not there ({error.strerror}).") from error
        prints[role] = {"path": path, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    return prints


def read_summary(path: Path) -> dict:
    """Read the JSON file that proves a case done; {} where it is missing or broken."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
