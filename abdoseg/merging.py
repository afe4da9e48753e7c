"""The merge of a whole data set: one case after the other from files to files, and a new datalist at the end."""

import json
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
from tqdm import tqdm

from abdoseg.datalist import read_datalist, write_datalist
from abdoseg.files import CaseError, write_json, write_label_map
from abdoseg.label_maps import grid_difference, open_volume, read_label_map
from abdoseg.labels import CLASS_IDS, NAMES
from abdoseg.merge import check_merge_settings, merge_labels, merge_summary, provenance

logger = logging.getLogger(__name__)
COUNTS = ("kept", "filled", "discarded")


class MergeCases:
    """Merge the weak labels of a datalist with the pseudo labels in a folder.

    Into ``output_dir`` come, for each case, ``labels/ID.nii.gz`` (the merged label, on the grid of the weak label),
    ``provenance/ID.nii.gz`` (0 nobody, 1 a person, 2 the teacher) and ``summary/ID.json`` (voxels kept, filled and
    discarded by class); at the end ``datalist.json``, in which the merged labels stand in place of the weak ones
    (``"merged": true``, ``annotated_classes`` unchanged), and ``summary.json`` with the totals. Everything is written
    aside and renamed. A case that is up to date (same settings, same size and time of its input files) is skipped.
    A case that cannot be merged is set aside in the section ``excluded`` with its reason; the others go on.

    A strong case needs no pseudo label: its own label is its merged label.

    Parameters
    ----------
    datalist : datalist of the audit.
    pseudo_dir : folder with the teacher's labels, ``ID.nii.gz`` or ``ID.nii``, on the grids of the weak labels.
    output_dir : folder to write to; made if missing.
    policy, min_present_voxels : see :func:`abdoseg.merge.merge_labels`.
    include_unlabeled : also take the unlabeled cases into training, with their pseudo labels as labels (paper B;
        paper A leaves them out).
    num_threads : cases in work at once; each holds a few uint8 volumes in memory.
    progress : show a progress bar.

    Raises
    ------
    CaseError
        If a setting is unknown.
    """

    def __init__(
        self,
        datalist: str | os.PathLike,
        pseudo_dir: str | os.PathLike,
        output_dir: str | os.PathLike,
        policy: str = "fill_background",
        min_present_voxels: int = 1,
        include_unlabeled: bool = False,
        num_threads: int = 1,
        progress: bool = True,
    ) -> None:
        check_merge_settings(policy, min_present_voxels)
        if num_threads < 1:
            raise CaseError(f"num_threads is {num_threads}; use 1 or more.")
        self.datalist = Path(datalist).absolute()
        self.pseudo_dir = Path(pseudo_dir).absolute()
        self.output_dir = Path(output_dir).absolute()
        self.settings = {"policy": policy, "min_present_voxels": min_present_voxels}
        self.include_unlabeled = include_unlabeled
        self.num_threads = num_threads
        self.progress = progress

    def run(self) -> dict:
        """Merge what is not merged yet.

        Returns
        -------
        dict
            ``{"datalist": path, "merged": n, "up_to_date": n, "failed": {id: reason}}``.

        Raises
        ------
        CaseError
            If the datalist or the folder of pseudo labels is missing, or not one case could be merged.
        """
        datalist = read_datalist(self.datalist)
        cases = list(datalist.get("training", []))
        if self.include_unlabeled:
            cases += datalist.pop("unlabeled", [])
        if not self.pseudo_dir.is_dir() and any(case["kind"] != "strong" for case in cases):
            raise CaseError(
                f"{self.pseudo_dir}: there is no such folder; it should hold the teacher's labels ID.nii.gz."
            )
        if (self.output_dir / "datalist.json") == self.datalist:
            raise CaseError(f"{self.datalist}: the output folder must not be the folder of the input datalist.")

        totals = {str(c): {"name": NAMES[c], **dict.fromkeys(COUNTS, 0)} for c in CLASS_IDS}
        training, excluded, up_to_date = [], [], 0
        for case, summary, fresh in self._results(cases):
            if isinstance(summary, CaseError):
                logger.warning("Case %s is set aside. %s", case["id"], summary)
                paths = {key: case[key] for key in ("image", "label") if key in case}
                excluded.append({"id": case["id"], **paths, "reason": str(summary)})
                continue
            up_to_date += not fresh
            for name, counts in summary["classes"].items():
                for count in COUNTS:
                    totals[name][count] += counts[count]
            training.append({**case, "label": f"labels/{case['id']}.nii.gz", "merged": True})
        if not training:
            reason = excluded[0]["reason"] if excluded else "it has no training case."
            raise CaseError(f"{self.datalist}: not one case could be merged; the first reason: {reason}")

        datalist["training"] = training
        datalist["excluded"] = datalist.get("excluded", []) + excluded
        datalist["merge"] = self.settings
        write_datalist(self.output_dir / "datalist.json", datalist)
        totals = {**self.settings, "cases": len(training), "classes": totals, "excluded": excluded}
        write_json(self.output_dir / "summary.json", totals)
        return {
            "datalist": str(self.output_dir / "datalist.json"),
            "merged": len(training) - up_to_date,
            "up_to_date": up_to_date,
            "failed": {case["id"]: case["reason"] for case in excluded},
        }

    def _results(self, cases: list[dict]) -> Iterator[tuple[dict, dict | CaseError, bool]]:
        def work(case: dict) -> tuple[dict, dict | CaseError, bool]:
            try:
                return case, *self._merge_case(case)
            except CaseError as error:
                for path in self._outputs(case):
                    path.unlink(missing_ok=True)
                return case, error, False

        threads = ThreadPoolExecutor(self.num_threads)
        try:
            yield from tqdm(threads.map(work, cases), "merge", len(cases), unit="case", disable=not self.progress)
        finally:
            threads.shutdown(cancel_futures=True)

    def _outputs(self, case: dict) -> tuple[Path, Path, Path]:
        name = case["id"]
        folder = self.output_dir
        return folder / f"labels/{name}.nii.gz", folder / f"provenance/{name}.nii.gz", folder / f"summary/{name}.json"

    def _merge_case(self, case: dict) -> tuple[dict, bool]:
        """Give the summary of a case, and whether it was merged now (True) or found up to date (False)."""
        label_path, provenance_path, summary_path = self._outputs(case)
        inputs = self._inputs(case)
        state = {"id": case["id"], "kind": case["kind"], **self.settings, "inputs": _fingerprints(inputs)}
        done = _read_summary(summary_path)
        if label_path.is_file() and provenance_path.is_file() and all(done.get(key) == state[key] for key in state):
            return done, False

        weak, pseudo, grid = _read_sources(inputs)
        merged = weak if case["kind"] == "strong" else merge_labels(weak, pseudo, **self.settings)
        write_label_map(label_path, merged, grid)
        write_label_map(provenance_path, provenance(weak, pseudo, merged), grid)
        # Written last: a summary that fits its inputs proves that both maps are complete.
        summary = {**state, "classes": merge_summary(weak, pseudo, merged)}
        write_json(summary_path, summary)
        return summary, True

    def _inputs(self, case: dict) -> dict[str, str]:
        """Name the files that a merged label is made of: weak and pseudo label, or image and pseudo label."""
        inputs = {"image": case["image"]} if case["kind"] == "unlabeled" else {"weak": case["label"]}
        if case["kind"] != "strong":
            candidates = [self.pseudo_dir / f"{case['id']}{ending}" for ending in (".nii.gz", ".nii")]
            found = [path for path in candidates if path.is_file()]
            if not found:
                raise CaseError(
                    f"{candidates[0]}: there is no such pseudo label; let the teacher label this case first."
                )
            inputs["pseudo"] = str(found[0])
        return inputs


def _fingerprints(inputs: dict[str, str]) -> dict[str, dict]:
    prints = {}
    for role, path in inputs.items():
        try:
            status = os.stat(path)
        except OSError as error:
            raise CaseError(f"{path}: the file named in the datalist is not there ({error.strerror}).") from error
        prints[role] = {"path": path, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    return prints


def _read_summary(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _read_sources(inputs: dict[str, str]) -> tuple[np.ndarray, np.ndarray, nib.Nifti1Image]:
    """Read weak label, pseudo label and the grid of the result; what is not among the inputs is all background."""
    if "image" in inputs:
        grid = open_volume(inputs["image"])
        weak = np.zeros(grid.shape, dtype=np.uint8)
    else:
        weak, grid = read_label_map(inputs["weak"])
    if "pseudo" not in inputs:
        return weak, np.zeros_like(weak), grid
    difference = grid_difference(open_volume(inputs["pseudo"]), grid)
    if difference:
        other = inputs.get("weak") or inputs["image"]
        raise CaseError(f"{inputs['pseudo']}: has {difference}; a pseudo label lies on the grid of {other}.")
    return weak, read_label_map(inputs["pseudo"])[0], grid
