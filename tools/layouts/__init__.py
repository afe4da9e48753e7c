"""Layouts of data sets, recognized by what is in a folder; one module each."""

from pathlib import Path

from abdoseg.datasets import LabelConvention
from abdoseg.files import CaseError
from tools.layouts import amos, btcv, decathlon, flare, folders, kits, nnunet, totalsegmentator
from tools.layouts.common import exclude

# In the order in which they are tried: FLARE's folder names are the least particular.
LAYOUTS = {
    "totalsegmentator": totalsegmentator,
    "kits": kits,
    "btcv": btcv,
    "amos": amos,
    "nnunet": nnunet,
    "decathlon": decathlon,
    "folders": folders,
    "flare": flare,
}


def find_in_folder(
    root: Path, layout: str | None = None, convention: LabelConvention | None = None
) -> tuple[list[dict], list[dict]]:
    """Find the cases of one data set; see `tools.layout.find_cases`.

    Parameters
    ----------
    root : its folder.
    layout : name in ``LAYOUTS``; None finds out.
    convention : takes the place of what the layout knows about the labels.

    Raises
    ------
    CaseError
        If there is no such folder, or nothing in it that a layout would have.
    """
    if not root.is_dir():
        raise CaseError(f"{root}: there is no such folder; name the folder of a data set, or a datasets.yaml.")
    tried = LAYOUTS if layout is None else {layout: LAYOUTS[layout]}
    for module in tried.values():
        if module.matches(root):
            return _each_once(*module.find(root, convention))
    looked_for = "; ".join(f"{module.LOOKED_FOR} ({name})" for name, module in tried.items())
    raise CaseError(f"{root}: not laid out in a way that is known; looked for {looked_for}.")


def _each_once(candidates: list[dict], excluded: list[dict]) -> tuple[list[dict], list[dict]]:
    """Keep the first case of each id; the others are excluded."""
    found: dict[str, dict] = {}
    for case in candidates:
        first = found.setdefault(case["id"], case)
        if first is not case:
            fault = f"another image has the id {case['id']} already, {first['image']}; ids are unique in a data set."
            exclude(excluded, case["id"], "image", Path(case["image"]), fault)
    return list(found.values()), excluded
