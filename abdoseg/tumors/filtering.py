"""The predicted tumors of a whole data set filtered: those good enough to train on join the tumors that are drawn."""

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from abdoseg.case_stage import CaseStage, Taken, find_volume, read_on_grid
from abdoseg.datalist import write_datalist
from abdoseg.files import CaseError, write_json, write_label_map
from abdoseg.label_maps import read_label_map
from abdoseg.labels import NAMES, TUMOR_ID
from abdoseg.ranks import is_first
from abdoseg.tumors.assignment import host_counts, takes_pseudo_tumor
from abdoseg.tumors.decisions import keep_pseudo_tumors
from abdoseg.tumors.hosts import EVERY_FAMILY, REST
from abdoseg.tumors.pseudo import PseudoTumorRules
from abdoseg.tumors.stability import label_change, unstable_cases
from abdoseg.tumors.survival import paste_tumor
from abdoseg.tumors.targets import organ_target

logger = logging.getLogger(__name__)


class FilterPseudoTumors(CaseStage):
    """Filter the predicted tumors of the cases whose tumors nobody drew (papers-spec.md 3.4 and 4).

    Into ``output_dir`` come, for each case that takes a pseudo tumor (see `takes_pseudo_tumor`), ``labels/ID.nii.gz``
    (its organ label, on top of it the tumors that are kept) and ``summary/ID.json`` (what was decided, and why); at
    the end

    - ``tumors.json``: the input, in which the cases with a kept tumor have these labels, ``"hosts"`` counts the kept
      foci, ``"tumor_pseudo": true`` stands and ``"filled_classes"`` has the tumor; such a case without a kept tumor is
      not in it. All other cases are untouched. ``"tumor_known"`` stays false: an organ without a kept tumor is no
      healthy one;
    - ``summary.json``: tumors kept and rejected by family, the cases left out and the reasons.

    Resumed, and faulty cases set aside, as `CaseStage` tells. A case without a prediction is such a case.

    Parameters
    ----------
    datalist : ``tumors.json`` of `AssignHosts`, in every round the same.
    predictions_dir : folder with the cascade's label maps 0..14, ``ID.nii.gz`` or ``ID.nii``, on the labels' grids.
        Their organs are not used, but for ``previous_dir``.
    output_dir : folder to write to; made if missing.
    rules : when a tumor is too small.
    families : whose tumors may be kept; keys of ``FAMILIES``, or "rest". Paper B's script does the liver.
    previous_dir : the same folder of the round before, or None. Where it does not exist there was no such round, as
        before the first: nothing is compared, and a warning says so.
    discard : share of the cases to leave out, those whose predictions changed most since the round before; 0.038 for
        the FLARE22 winner, see `unstable_cases`. Cases without a kept tumor count among them.
    num_threads : cases in work at once; each holds a few uint8 volumes in memory.
    progress : show a progress bar.

    Raises
    ------
    CaseError
        If a family is unknown, ``discard`` is no share or has no round before, or ``num_threads`` is below 1.
    """

    action, done = "filter", "filtered"

    def __init__(
        self,
        datalist: str | os.PathLike,
        predictions_dir: str | os.PathLike,
        output_dir: str | os.PathLike,
        rules: PseudoTumorRules = PseudoTumorRules(),  # noqa: B008 (frozen)
        families: Sequence[str] = EVERY_FAMILY,
        previous_dir: str | os.PathLike | None = None,
        discard: float = 0.0,
        num_threads: int = 1,
        progress: bool = True,
    ) -> None:
        if isinstance(families, str) or not set(families) <= set(EVERY_FAMILY):
            raise CaseError(f"Unknown families {families!r}. Use a list of {', '.join(map(repr, EVERY_FAMILY))}.")
        if not 0 <= discard <= 1:
            raise CaseError(f"discard is {discard}; use a share of the cases, from 0 to 1.")
        if discard and previous_dir is None:
            raise CaseError(f"discard is {discard}, but nothing tells what changed; give previous_dir, or 0.")
        settings = {**asdict(rules), "families": [family for family in EVERY_FAMILY if family in families]}
        super().__init__(datalist, output_dir, settings, num_threads, progress)
        self.rules = rules
        self.predictions_dir = Path(predictions_dir).absolute()
        self.previous_dir = None if previous_dir is None else Path(previous_dir).absolute()
        self.discard = discard

    def run(self) -> dict:
        """Filter what is not filtered yet.

        Returns
        -------
        dict
            ``{"datalist": path, "kept": n, "filtered": n, "up_to_date": n, "failed": {id: reason}}``; ``kept`` cases
            have a pseudo tumor to train on. Under torchrun {} in all processes but the first, which alone writes what
            is common.

        Raises
        ------
        CaseError
            If the datalist or a folder is missing, the datalist does not tell whose tumors are known, or there are
            cases to filter and not one of them could be.
        """
        datalist = self.read("tumors.json")
        training = datalist.get("training", [])
        for case in training:
            if "tumor_known" not in case:
                raise CaseError(
                    f"{self.datalist}: case '{case['id']}' does not tell whether its tumors are known; "
                    "assign hosts to tumors first."
                )
        candidates = [case for case in training if takes_pseudo_tumor(case)]
        taken = self._take_all(candidates)
        if taken is None:
            return {}
        summaries = {case["id"]: summary for case, summary in taken.done}
        unstable = self._unstable(summaries)
        rejected = {name: _reason(found) for name, found in summaries.items() if not any(found["hosts"].values())}
        refused = {*rejected, *unstable}
        kept = {name: found["hosts"] for name, found in summaries.items() if name not in refused}

        left_out = {case["id"] for case in candidates} - set(kept)
        content = {
            **datalist,
            "training": [
                _with_pseudo_tumor(case, kept[case["id"]]) if case["id"] in kept else case
                for case in training
                if case["id"] not in left_out
            ],
            "excluded": datalist.get("excluded", []) + taken.set_aside,
            "filter": {**self.settings, "discard": self.discard},
        }
        write_datalist(self.output_dir / "tumors.json", content)
        summary = {
            **content["filter"],
            "cases": len(summaries),
            "kept": len(kept),
            "families": _by_family([decision for found in summaries.values() for decision in found["decisions"]]),
            "rejected": rejected,
            "unstable": unstable,
            "excluded": taken.set_aside,
        }
        write_json(self.output_dir / "summary.json", summary)
        return {"datalist": str(self.output_dir / "tumors.json"), "kept": len(kept), **self.result(taken)}

    def _take_all(self, candidates: list[dict]) -> Taken | None:
        if not candidates:
            return Taken() if is_first() else None
        if not self.predictions_dir.is_dir():
            raise CaseError(
                f"{self.predictions_dir}: there is no such folder; it should hold the cascade's labels ID.nii.gz."
            )
        if self.previous_dir is not None and not self.previous_dir.is_dir():
            logger.warning("%s: there is no such round before; no case is left out for its change.", self.previous_dir)
        return self.take(candidates)

    def _folders(self) -> dict[str, Path]:
        """Give the folders of predictions by their role."""
        previous = self.previous_dir
        has_previous = previous is not None and previous.is_dir()
        return {"prediction": self.predictions_dir, **({"previous": previous} if has_previous else {})}

    def _unstable(self, summaries: dict[str, dict]) -> dict[str, float | str]:
        if "previous" not in self._folders():
            return {}
        changes = {name: float(found["change"]) for name, found in summaries.items()}
        return {name: summaries[name]["change"] for name in unstable_cases(changes, self.discard)}

    def inputs(self, case: dict) -> dict[str, str]:
        """Name the label, the prediction and the prediction of the round before."""
        inputs = {"label": self.label_of(case)}
        for role, folder in self._folders().items():
            found = find_volume([folder], case["id"])
            if found is None:
                raise CaseError(
                    f"{folder / case['id']}.nii.gz: there is no such prediction; let the cascade label this case first."
                )
            inputs[role] = str(found)
        return inputs

    def maps(self, case: dict) -> tuple[Path]:
        """Give the path of the label with pseudo tumors."""
        return (self.output_dir / "labels" / f"{case['id']}.nii.gz",)

    def work(self, case: dict, inputs: dict[str, str]) -> dict:
        """Write the label of a case with the tumors to keep; give its hosts, what was decided, and the change."""
        labels, grid = read_label_map(inputs["label"])
        organs = organ_target(labels)
        maps = [
            read_on_grid(inputs[role], grid, "a prediction", inputs["label"])
            for role in ("prediction", "previous")
            if role in inputs
        ]
        kept, foci, decisions = keep_pseudo_tumors(organs, maps[0] == TUMOR_ID, self.settings["families"], self.rules)
        write_label_map(*self.maps(case), paste_tumor(organs, kept), grid)
        found = {"hosts": host_counts(organs, foci), "decisions": [asdict(decision) for decision in decisions]}
        if len(maps) == 1:
            return found
        change = label_change(before=maps[1], after=maps[0])
        # JSON knows no infinity; float() reads this text as one.
        return {**found, "change": change if math.isfinite(change) else "inf"}


def _reason(found: dict) -> str:
    reasons = [
        f"{REST if decision['family'] == REST else NAMES[decision['organ']]}: {decision['rejected']}"
        for decision in found["decisions"]
    ]
    return "; ".join(reasons) or "no tumor was found"


def _with_pseudo_tumor(case: dict, hosts: dict[str, int]) -> dict:
    filled = sorted({*case.get("filled_classes", ()), TUMOR_ID})
    label = f"labels/{case['id']}.nii.gz"
    return {**case, "label": label, "hosts": hosts, "tumor_pseudo": True, "filled_classes": filled}


def _by_family(decisions: list[dict]) -> dict[str, dict]:
    outcomes = [(decision["family"], decision["rejected"] is None) for decision in decisions]
    return {
        family: {"kept": outcomes.count((family, True)), "rejected": outcomes.count((family, False))}
        for family in EVERY_FAMILY
    }
