"""Our data list as an nnU-Net raw data set, in which what nobody drew is ignored and not background."""

import gzip
import json
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path

import numpy as np

from abdoseg.case_stage import CaseStage, read_on_grid
from abdoseg.datalist import known_classes
from abdoseg.files import CaseError, atomic_path, glob, write_json, write_label_map
from abdoseg.label_maps import open_volume
from abdoseg.labels import BACKGROUND_ID, CLASS_IDS, NAMES, ORGAN_IDS
from abdoseg.ranks import is_first

CLASSES = {"organs": ORGAN_IDS, "all": CLASS_IDS}
PARTIAL = ("ignore", "skip")
FOLDER_NAME = re.compile(r"Dataset\d{3}_[\w.-]+")


def nnunet_labels(labels: np.ndarray, known: Collection[int], classes: tuple[int, ...]) -> np.ndarray:
    """Give a label map in which every voxel is a class, background or to be ignored.

    Parameters
    ----------
    labels : (x, y, z) uint8, ids 0 to 14.
    known : see `abdoseg.datalist.known_classes`.
    classes : ids that the network learns, 1 to n.

    Returns
    -------
    uint8 array. Where all of ``classes`` are known, 0 is background; otherwise a voxel that nobody drew may belong to
    one of the unknown classes, and becomes n + 1, nnU-Net's ignore label. So does a voxel of a class that is not
    learned: a tumor's organ is not told.
    """
    ignore = len(classes) + 1
    table = np.full(max(CLASS_IDS) + 1, ignore, dtype=np.uint8)
    table[list(classes)] = classes
    if set(classes) <= set(known):
        table[BACKGROUND_ID] = BACKGROUND_ID
    return table[labels]


class ExportRawData(CaseStage):
    """Write the cases of a data list as an nnU-Net v2 raw data set.

    Into ``output_dir`` come ``imagesTr/ID_0000.nii.gz`` (links, or copies), ``labelsTr/ID.nii.gz``, the same of the
    section "testing" as ``imagesTs`` and ``labelsTs``, ``dataset.json``, and, where cases are held out, one fold in
    ``splits_final.json``. nnU-Net is told to turn scans to RAS. Everything is written aside and renamed; a case that
    is up to date is skipped, one that cannot be read is set aside with its reason.

    Parameters
    ----------
    datalist : as the audit or the merge writes it.
    output_dir : folder DatasetNNN_NAME, in nnU-Net's ``nnUNet_raw``.
    classes : "organs" (1 to 13) or "all" (with tumor).
    partial : what becomes of cases in which not all classes are known: "ignore" gives what nobody drew nnU-Net's
        ignore label, "skip" leaves the case out.
    copy : copy the images; False makes symbolic links, but for images that are not ``.nii.gz``.
    num_threads, progress : see ``CaseStage``.

    Raises
    ------
    CaseError
        If a setting is unknown, or the folder's name is none of nnU-Net's.
    """

    action, done = "export", "exported"

    def __init__(
        self,
        datalist: str | os.PathLike,
        output_dir: str | os.PathLike,
        classes: str = "organs",
        partial: str = "ignore",
        copy: bool = False,
        num_threads: int = 1,
        progress: bool = True,
    ) -> None:
        if classes not in CLASSES:
            raise CaseError(f"Unknown classes {classes!r}. Use {' or '.join(map(repr, CLASSES))}.")
        if partial not in PARTIAL:
            raise CaseError(f"Unknown rule {partial!r} for partial cases. Use {' or '.join(map(repr, PARTIAL))}.")
        if not FOLDER_NAME.fullmatch(Path(output_dir).absolute().name):
            raise CaseError(f"{output_dir}: nnU-Net's data sets are called DatasetNNN_NAME, for example Dataset007_CT.")
        super().__init__(datalist, output_dir, {"classes": classes, "copy": copy}, num_threads, progress)
        self.classes, self.partial, self.copy = CLASSES[classes], partial, copy

    def run(self) -> dict:
        """Write what is not written yet.

        Returns
        -------
        dict
            ``{"dataset": path of dataset.json, "exported": n, "up_to_date": n, "complete": n, "partial": n,
            "skipped": n, "failed": {id: reason}}``; complete and partial count training cases. Under torchrun {} in all
            processes but the first, which alone writes what is common.

        Raises
        ------
        CaseError
            If no training case knows all classes: then nothing would be background.
        """
        datalist = self.read("dataset.json")
        training = [case for case in datalist.get("training", []) if "label" in case]
        complete = [case for case in training if set(self.classes) <= set(known_classes(case))]
        if not complete:
            raise CaseError(
                f"{self.datalist}: no training case knows all {len(self.classes)} classes, so that no voxel would be "
                "background; export a merged data list, or --classes organs."
            )
        wanted = complete if self.partial == "skip" else training
        listed = [*wanted, *datalist.get("testing", [])]
        if is_first():
            self._remove_others({case["id"] for case in listed})
        taken = self.take(listed)
        if taken is None:
            return {}
        cases = [case for case, _ in taken.done if case["kind"] != "test"]
        ignored = any(summary["ignored"] for case, summary in taken.done if case["kind"] != "test")
        ignore = {"ignore": len(self.classes) + 1} if ignored else {}
        apart = [bool(case.get("validation") or case.get("teacher_validation")) for case in cases]
        held_out = [case["id"] for case, is_held_out in zip(cases, apart, strict=True) if is_held_out]
        rest = [case["id"] for case, is_held_out in zip(cases, apart, strict=True) if not is_held_out]
        if held_out and rest:
            write_json(self.output_dir / "splits_final.json", [{"train": rest, "val": held_out}])
        else:
            (self.output_dir / "splits_final.json").unlink(missing_ok=True)
        write_json(
            self.output_dir / "dataset.json",
            {
                "name": datalist.get("name", self.output_dir.name),
                "channel_names": {"0": "CT"},
                "labels": {"background": BACKGROUND_ID, **{NAMES[value]: value for value in self.classes}, **ignore},
                "numTraining": len(cases),
                "file_ending": ".nii.gz",
                "overwrite_image_reader_writer": "NibabelIOWithReorient",
            },
        )
        known = {case["id"] for case in complete}
        return {
            "dataset": str(self.output_dir / "dataset.json"),
            **self.result(taken),
            "complete": sum(case["id"] in known for case in cases),
            "partial": sum(case["id"] not in known for case in cases),
            "skipped": len(training) - len(wanted),
        }

    def inputs(self, case: dict) -> dict[str, str]:
        """Name the image and, where there is one, the label."""
        return {key: case[key] for key in ("image", "label") if key in case}

    def maps(self, case: dict) -> tuple[Path, ...]:
        """Give the paths of the image and, where there is one, of the label."""
        part = "Ts" if case["kind"] == "test" else "Tr"
        image = self.output_dir / f"images{part}" / f"{case['id']}_0000.nii.gz"
        label = self.output_dir / f"labels{part}" / f"{case['id']}.nii.gz"
        return (image, label) if "label" in case else (image,)

    def work(self, case: dict, inputs: dict[str, str]) -> dict:
        """Write one case; its summary tells how many voxels are ignored."""
        image, *label = self.maps(case)
        grid, ignored = open_volume(inputs["image"]), 0
        if label:
            drawn = read_on_grid(inputs["label"], grid, "a label", inputs["image"])
            labels = nnunet_labels(drawn, known_classes(case), self.classes)
            ignored = int((labels > len(self.classes)).sum())
            write_label_map(label[0], labels, like=grid)
        self._place(Path(inputs["image"]), image)
        return {"ignored": ignored}

    def settings_of(self, case: dict) -> dict:
        """Give the stage's settings and the classes that the case's label tells all about."""
        return {**self.settings, "known": known_classes(case)}

    def _remove_others(self, ids: set[str]) -> None:
        """Remove the cases of an earlier call that are no longer wanted, and what was being written when it was killed.

        nnU-Net would count them in.
        """
        for path in self.output_dir.glob("*/.tmp-*"):
            path.unlink(missing_ok=True)
        for path in glob(self.output_dir, "summary/*.json"):
            case = json.loads(path.read_text())
            if case["id"] not in ids:
                for file in self.maps({**case, "label": ""}):
                    file.unlink(missing_ok=True)
                path.unlink()

    def _place(self, source: Path, target: Path) -> None:
        if source.name.endswith(".nii.gz") and not self.copy:
            target.parent.mkdir(parents=True, exist_ok=True)
            aside = target.with_name(f".tmp-{target.name}")
            aside.unlink(missing_ok=True)
            aside.symlink_to(source.resolve())
            os.replace(aside, target)
            return
        with atomic_path(target) as temporary:
            if source.name.endswith(".nii.gz"):
                shutil.copyfile(source, temporary)
            else:
                with open(source, "rb") as plain, gzip.open(temporary, "wb", compresslevel=3) as packed:
                    shutil.copyfileobj(plain, packed)
