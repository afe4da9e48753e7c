"""The tumors of a whole data set assigned to host organs: what the organ network and the tumor networks train on."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from abdoseg.case_stage import CaseStage, excluded_entry
from abdoseg.datalist import write_datalist
from abdoseg.files import CaseError, write_json, write_label_map
from abdoseg.label_maps import count_voxels, read_label_map
from abdoseg.labels import ORGAN_IDS, TUMOR_ID
from abdoseg.tumors.hosts import EVERY_FAMILY, NO_HOST, TooManyFoci, TumorFocus, family_of, tumor_foci
from abdoseg.tumors.targets import organ_target


class AssignHosts(CaseStage):
    """Assign the tumors of a merged datalist's training cases to host organs (papers-spec.md 3.2 and 3.3).

    Into ``output_dir`` come, for each training case, ``organ_labels/ID.nii.gz`` (the label without tumor) and
    ``summary/ID.json`` (its foci); at the end

    - ``organs.json``, for the organ network: the organ labels in place of the labels;
    - ``tumors.json``, for the tumor networks: the labels as they are, and beside them ``"hosts": {organ id: number of
      tumor foci}`` for each organ of the case ("0": foci without host, if there are any) and ``"tumor_known"``, whether
      its tumors are drawn. A case with more than ``max_foci`` foci is not in it, but in its section ``excluded``;
    - ``unknown.json``: the cases of ``tumors.json`` whose tumors are to be predicted, see `takes_pseudo_tumor`;
    - ``summary.json``: cases and foci by family of host organs.

    Resumed, and faulty cases set aside, as `CaseStage` tells.

    The tumors of a case are known if tumor is among its ``annotated_classes`` or in its label. Those of an unlabeled
    scan never are: should its label, which nobody drew, hold a tumor, it counts for no host.

    Parameters
    ----------
    datalist : datalist of the merge, or any other whose training cases have labels of organs and tumor, 0..14.
    output_dir : folder to write to; made if missing.
    enclose : whether organ labels enclose their tumors, see `organ_target`. False: a hole, as in paper B.
    max_foci : more foci than this are no case for a tumor network (6 in paper B); None: any number.
    num_threads : cases in work at once; each holds a few uint8 volumes in memory.
    progress : show a progress bar.
    faithful_box : assign hosts by paper B's boxes, see `host_in_box`.

    Raises
    ------
    CaseError
        If ``max_foci`` or ``num_threads`` is below 1.
    """

    action, done = "assign hosts", "assigned"

    def __init__(
        self,
        datalist: str | os.PathLike,
        output_dir: str | os.PathLike,
        enclose: bool = True,
        max_foci: int | None = 6,
        num_threads: int = 1,
        progress: bool = True,
        faithful_box: bool = False,
    ) -> None:
        if max_foci is not None and max_foci < 1:
            raise CaseError(f"max_foci is {max_foci}; use 6 (paper B), another number from 1 on, or none for any.")
        settings = {"enclose": enclose, "max_foci": max_foci, "faithful_box": faithful_box}
        super().__init__(datalist, output_dir, settings, num_threads, progress)

    def run(self) -> dict:
        """Assign what is not assigned yet.

        Returns
        -------
        dict
            ``{"organs", "tumors", "unknown"}``: paths of the three datalists; ``"assigned"``, ``"up_to_date"``: numbers
            of cases; ``"failed"``: {id: reason}. A case with too many foci has not failed. Under torchrun {} in all
            processes but the first, which alone writes what is common.

        Raises
        ------
        CaseError
            If the datalist is missing, or not one case could be assigned.
        """
        names = ("organs", "tumors", "unknown")
        datalist = self.read(*(f"{name}.json" for name in names))
        taken = self.take(datalist.get("training", []))
        if taken is None:
            return {}
        organs, tumors, crowded, foci = [], [], [], []
        for case, summary in taken.done:
            organs.append({**case, "label": f"organ_labels/{case['id']}.nii.gz"})
            if "too_many_foci" in summary:
                crowded.append(excluded_entry(case, summary["too_many_foci"]))
                continue
            known = case["kind"] != "unlabeled" and (
                TUMOR_ID in case.get("annotated_classes", []) or any(summary["hosts"].values())
            )
            tumors.append({**case, "hosts": summary["hosts"], "tumor_known": known})
            foci.append([focus["host"] for focus in summary["foci"]])

        unknown = [case for case in tumors if takes_pseudo_tumor(case)]
        excluded = datalist.get("excluded", []) + taken.set_aside
        for name, training in zip(names, (organs, tumors, unknown), strict=True):
            left_out = excluded + (crowded if name == "tumors" else [])
            content = {**datalist, "training": training, "excluded": left_out, "assign": self.settings}
            write_datalist(self.output_dir / f"{name}.json", content)
        summary = {
            **self.settings,
            "cases": len(organs),
            "tumor_known": sum(case["tumor_known"] for case in tumors),
            "families": _by_family(foci),
            "without_host": sum(hosts.count(NO_HOST) for hosts in foci),
            "too_many_foci": {case["id"]: case["reason"] for case in crowded},
            "excluded": taken.set_aside,
        }
        write_json(self.output_dir / "summary.json", summary)
        return {**{name: str(self.output_dir / f"{name}.json") for name in names}, **self.result(taken)}

    def inputs(self, case: dict) -> dict[str, str]:
        """Name the label."""
        return {"label": self.label_of(case)}

    def maps(self, case: dict) -> tuple[Path]:
        """Give the path of the organ label."""
        return (self.output_dir / "organ_labels" / f"{case['id']}.nii.gz",)

    def work(self, case: dict, inputs: dict[str, str]) -> dict:
        """Write the organ label of a case; give its hosts and foci, or why it has too many."""
        labels, grid = read_label_map(inputs["label"])
        write_label_map(*self.maps(case), organ_target(labels, self.settings["enclose"]), grid)
        if case["kind"] == "unlabeled":
            return {"hosts": host_counts(labels, []), "foci": []}
        try:
            _, foci = tumor_foci(labels, self.settings["max_foci"], self.settings["faithful_box"])
        except TooManyFoci as error:
            return {"too_many_foci": f"{inputs['label']}: {error}"}
        # In an order that does not depend on how the scan is stored.
        sizes = sorted((focus.host, focus.voxels) for focus in foci)
        listed = [{"host": host, "voxels": voxels} for host, voxels in sizes]
        return {"hosts": host_counts(labels, foci), "foci": listed}


def host_counts(labels: np.ndarray, foci: Sequence[TumorFocus]) -> dict[str, int]:
    """Count the tumor foci of a case by host organ, as a datalist tells them under ``"hosts"``.

    Parameters
    ----------
    labels : (x, y, z) uint8, 0..14; an organ that is there and has no tumor counts 0.
    foci : see `tumor_foci`.

    Returns
    -------
    dict
        Organ id as text -> number of foci, in the order of the ids; first, if there is one, "0": foci without host.
    """
    counts = dict.fromkeys(np.flatnonzero(count_voxels(labels)[: max(ORGAN_IDS) + 1]).tolist(), 0)
    counts.pop(NO_HOST, None)
    for focus in foci:
        counts[focus.host] = counts.get(focus.host, 0) + 1
    return {str(organ): counts[organ] for organ in sorted(counts)}


def takes_pseudo_tumor(case: dict) -> bool:
    """Whether a case of ``tumors.json`` may learn its tumors from a prediction.

    Its tumors must not be known, and it must not be held out: networks are not chosen by what they have predicted.
    """
    unknown = case["kind"] == "unlabeled" or not case["tumor_known"]
    return unknown and not case.get("validation", False)


def _by_family(hosts: list[list[int]]) -> dict[str, dict]:
    families = [[family_of(host) for host in case] for case in hosts]
    return {
        family: {
            "cases": sum(family in case for case in families),
            "foci": sum(case.count(family) for case in families),
        }
        for family in EVERY_FAMILY
    }
