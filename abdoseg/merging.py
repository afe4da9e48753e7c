"""The merge of a whole data set: one case after the other from files to files, and a new datalist at the end."""

import functools
import itertools
import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from abdoseg.case_stage import CaseStage, find_volume, read_on_grid
from abdoseg.datalist import write_datalist
from abdoseg.files import CaseError, write_json, write_label_map
from abdoseg.label_maps import open_volume, read_label_map
from abdoseg.labels import CLASS_IDS, NAMES, ORGAN_IDS
from abdoseg.merge import check_merge_settings, merge_labels, merge_summary, provenance

COUNTS = ("kept", "filled", "discarded")


class MergeCases(CaseStage):
    """Merge the weak labels of a datalist with the pseudo labels in a folder.

    Into ``output_dir`` come, for each case, ``labels/ID.nii.gz`` (the merged label, on the grid of the weak label),
    ``provenance/ID.nii.gz`` (0 nobody, 1 a person, 2 the teacher) and ``summary/ID.json`` (voxels kept, filled and
    discarded by class); at the end ``datalist.json``, in which the merged labels stand in place of the weak ones
    (``"merged": true``, ``annotated_classes`` unchanged, ``filled_classes``: the organs that were left to the teacher),
    and ``summary.json`` with the totals. Everything is written aside and renamed. A case that is up to date (same
    settings, same size and time of its input files) is skipped. A case that cannot be merged is set aside in the
    section ``excluded`` with its reason; the others go on.

    A strong case needs no pseudo label: its own label is its merged label, and nothing is filled. Tumors are never
    filled: they stay unknown where no person looked for them, as they do in an unlabeled case.

    Parameters
    ----------
    datalist : datalist of the audit.
    pseudo_dir : folder with the teacher's labels, ``ID.nii.gz`` or ``ID.nii``, on the grids of the weak labels. Or a
        list of folders, such as a published set of pseudo labels and then our own: the first that holds a case's label
        gives it. None in the list stands for no folder.
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

    action, done = "merge", "merged"

    def __init__(
        self,
        datalist: str | os.PathLike,
        pseudo_dir: str | os.PathLike | Sequence[str | os.PathLike | None],
        output_dir: str | os.PathLike,
        policy: str = "fill_background",
        min_present_voxels: int = 1,
        include_unlabeled: bool = False,
        num_threads: int = 1,
        progress: bool = True,
    ) -> None:
        check_merge_settings(policy, min_present_voxels)
        settings = {"policy": policy, "min_present_voxels": min_present_voxels}
        super().__init__(datalist, output_dir, settings, num_threads, progress)
        folders = [pseudo_dir] if isinstance(pseudo_dir, str | os.PathLike) else pseudo_dir
        self.pseudo_dirs = [Path(folder).absolute() for folder in folders if folder is not None]
        self.include_unlabeled = include_unlabeled
        self._classes_of = functools.cache(_classes_of)

    def run(self) -> dict:
        """Merge what is not merged yet.

        Returns
        -------
        dict
            ``{"datalist": path, "merged": n, "up_to_date": n, "failed": {id: reason}}``; under torchrun {} in all
            processes but the first, which alone writes what is common.

        Raises
        ------
        CaseError
            If the datalist or every folder of pseudo labels is missing, or not one case could be merged.
        """
        datalist = self.read("datalist.json")
        cases = list(datalist.get("training", []))
        if self.include_unlabeled:
            cases += datalist.pop("unlabeled", [])
        if any(case["kind"] != "strong" for case in cases):
            self._check_folders()

        taken = self.take(cases)
        if taken is None:
            return {}
        totals, training = {str(c): {"name": NAMES[c], **dict.fromkeys(COUNTS, 0)} for c in CLASS_IDS}, []
        for case, voxels in taken.done:
            for (name, count), found in zip(itertools.product(totals, COUNTS), voxels, strict=True):
                totals[name][count] += found
            label = f"labels/{case['id']}.nii.gz"
            filled = [] if case["kind"] == "strong" else filled_classes(case, self._teachers_classes(case))
            training.append({**case, "label": label, "merged": True, "filled_classes": filled})

        datalist["training"] = training
        datalist["excluded"] = datalist.get("excluded", []) + taken.set_aside
        datalist["merge"] = self.settings
        write_datalist(self.output_dir / "datalist.json", datalist)
        totals = {**self.settings, "cases": len(training), "classes": totals, "excluded": taken.set_aside}
        write_json(self.output_dir / "summary.json", totals)
        return {"datalist": str(self.output_dir / "datalist.json"), **self.result(taken)}

    def _check_folders(self) -> None:
        if not self.pseudo_dirs:
            raise CaseError("No folder of pseudo labels is given; give one that holds the teacher's labels ID.nii.gz.")
        if not any(folder.is_dir() for folder in self.pseudo_dirs):
            names = ", ".join(map(str, self.pseudo_dirs))
            raise CaseError(f"{names}: there is no such folder; it should hold the teacher's labels ID.nii.gz.")

    def _teachers_classes(self, case: dict) -> frozenset[int]:
        """Give the classes that the teacher whose label a case has can find."""
        found = find_volume(self.pseudo_dirs, case["id"])
        return frozenset(ORGAN_IDS) if found is None else self._classes_of(found.parent)

    def maps(self, case: dict) -> tuple[Path, Path]:
        """Give the paths of the merged label and of the map of who drew it."""
        return tuple(self.output_dir / folder / f"{case['id']}.nii.gz" for folder in ("labels", "provenance"))

    def inputs(self, case: dict) -> dict[str, str]:
        """Name the files that a merged label is made of: weak and pseudo label, or image and pseudo label."""
        inputs = {"image": case["image"]} if case["kind"] == "unlabeled" else {"weak": case["label"]}
        if case["kind"] != "strong":
            found = find_volume(self.pseudo_dirs, case["id"])
            if found is None:
                raise CaseError(self._not_found(case["id"]))
            inputs["pseudo"] = str(found)
        return inputs

    def _not_found(self, name: str) -> str:
        first, *others = self.pseudo_dirs
        elsewhere = f", nor in {' or '.join(map(str, others))}" if others else ""
        absent = [str(folder) for folder in self.pseudo_dirs if not folder.is_dir()]
        absent = f" (no such folder: {', '.join(absent)})" if absent else ""
        return (
            f"{first / name}.nii.gz: there is no such pseudo label{elsewhere}{absent}; "
            "let the teacher label this case first."
        )

    def settings_of(self, case: dict) -> dict:
        """Give the settings of the merge and what a person looked for in this case."""
        return {**self.settings, "annotated": case.get("annotated_classes", [])}

    def told(self, summary: dict) -> list[int]:
        """Give the voxels of class 1, kept, filled and discarded, then those of class 2, and so on."""
        return [summary["classes"][str(c)][count] for c in CLASS_IDS for count in COUNTS]

    def work(self, case: dict, inputs: dict[str, str]) -> dict:
        """Merge one case and give its counts by class."""
        weak, pseudo, grid = _read_sources(inputs)
        merged = weak if case["kind"] == "strong" else merge_labels(weak, pseudo, **self.settings_of(case))
        label_path, provenance_path = self.maps(case)
        write_label_map(label_path, merged, grid)
        write_label_map(provenance_path, provenance(weak, pseudo, merged), grid)
        return {"classes": merge_summary(weak, pseudo, merged)}


def filled_classes(case: dict, known: Collection[int] = ORGAN_IDS) -> list[int]:
    """Give the organs of a case that are left to the teacher: those that no person looked for, and that it knows.

    The teacher need not have found them: what it did not label there is absent, as far as anybody knows. Of an organ
    that it does not know, an imported model for instance, nobody knows anything.

    Parameters
    ----------
    case : entry of a data list, weak or unlabeled.
    known : ids of the classes that the teacher can find.
    """
    return [c for c in ORGAN_IDS if c in known and c not in case.get("annotated_classes", ())]


def _classes_of(folder: Path) -> frozenset[int]:
    """Give the classes that the label maps of a folder may hold, by the manifest that ``predict`` writes there."""
    try:
        return frozenset(json.loads((folder / "manifest.json").read_text())["classes"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return frozenset(ORGAN_IDS)


def _read_sources(inputs: dict[str, str]) -> tuple[np.ndarray, np.ndarray, nib.Nifti1Image]:
    """Read weak label, pseudo label and the grid of the result; what is not among the inputs is all background."""
    if "image" in inputs:
        grid = open_volume(inputs["image"])
        weak = np.zeros(grid.shape, dtype=np.uint8)
    else:
        weak, grid = read_label_map(inputs["weak"])
    if "pseudo" not in inputs:
        return weak, np.zeros_like(weak), grid
    other = inputs.get("weak") or inputs["image"]
    return weak, read_on_grid(inputs["pseudo"], grid, "a pseudo label", other), grid
