"""The cases that the report pictures: best, median and worst of the last arm, read from their files."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from abdoseg.files import CaseError
from abdoseg.label_maps import grid_difference, open_volume, read_label_map
from abdoseg.labels import NAMES
from abdoseg.metrics import to_ras
from tools import report_page as html
from tools.report_figures import WINDOW_HU, overlay_figure
from tools.results import FEW_ARMS, case_mean, case_means, tumor_arms


def ranked_cases(scores: Mapping) -> dict[str, str]:
    """Best, median and worst case by the mean DSC over the classes that the reference contains.

    Parameters
    ----------
    scores : content of a JSON file of ``evaluate``.

    Returns
    -------
    ``{"best": id, "median": id, "worst": id}``; with fewer than three cases only the first ones.
    """
    means = case_means(scores["cases"], NAMES.values())
    ranked = sorted(means, key=means.get, reverse=True)
    chosen = [ranked[0], ranked[len(ranked) // 2], ranked[-1]] if len(ranked) > 2 else ranked
    return dict(zip(("best", "median", "worst"), chosen, strict=False))


def pictured_arms(arms: Iterable[str]) -> list[str]:
    """Arms that fit side by side into a picture: all of three, else the one compared with and the last two."""
    arms = list(arms)
    return arms if len(arms) <= FEW_ARMS else [arm for arm in arms if arm in (tumor_arms(arms)[0], *arms[-2:])]


def case_pictures(
    scores: Mapping[str, Mapping], predictions: Mapping[str, str | Path], testing: Sequence[Mapping]
) -> tuple[list[str], dict[str, bytes]]:
    """Show the best, the median and the worst case of the last arm.

    Parameters
    ----------
    scores : arm -> content of a JSON file of ``evaluate``.
    predictions : arm -> folder of predicted label maps ID.nii.gz.
    testing : the datalist's entries of the scored scans.

    Returns
    -------
    parts : HTML.
    pictures : rank -> PNG.
    """
    if not scores:
        return [html.note("No scores: no case to choose.")], {}
    main_arm = list(scores)[-1]
    shown = pictured_arms(predictions)
    entries = {entry["id"]: entry for entry in testing}
    parts = [
        html.paragraph(
            f"Chosen by the mean DSC of the {main_arm}. The slices show most classes of the truth. White lines on the "
            "predictions are the truth's outlines. Radiological convention: the patient's right is on the left of "
            "axial and coronal pictures, the front on the left of sagittal ones. "
            f"Window {WINDOW_HU[0]} to {WINDOW_HU[1]} HU."
        )
    ]
    if len(shown) < len(predictions):
        parts.append(html.paragraph(f"Shown: {', '.join(shown)}; the other arms are in the tables only."))
    pictures = {}
    for rank, case in ranked_cases(scores[main_arm]).items():
        classes = scores[main_arm]["cases"][case]
        parts.append(
            f"<h3>{rank}: {html.escape(case)}, mean DSC {html.number(case_mean(classes, NAMES.values()))}</h3>"
        )
        try:
            image, spacing, maps = _read_case(entries.get(case, {}), case, {arm: predictions[arm] for arm in shown})
        except CaseError as error:
            parts.append(html.note(f"No picture: {error}"))
            continue
        pictures[rank] = overlay_figure(image, spacing, maps)
        parts += [html.picture(pictures[rank], f"{rank} case {case} in three planes"), html.class_chips(classes)]
    return parts, pictures


def _read_case(
    entry: Mapping, case: str, predictions: Mapping[str, str | Path]
) -> tuple[np.ndarray, Sequence[float], dict]:
    if not entry.get("label"):
        raise CaseError(f"the datalist names no image with truth for case {case}.")
    volume = open_volume(entry["image"])
    files = {"truth": Path(entry["label"])}
    for arm, folder in predictions.items():
        path = Path(folder) / f"{case}.nii.gz"
        if path.is_file():
            files[arm] = path
    maps = {}
    for name, path in files.items():
        labels, label_image = read_label_map(path)
        difference = grid_difference(label_image, volume)
        if difference:
            raise CaseError(f"{path}: has {difference}; it must lie on the grid of its image {entry['image']}.")
        maps[name], _ = to_ras(labels, volume.affine)
    image, spacing = to_ras(volume.get_fdata(dtype=np.float32), volume.affine)
    return image, spacing, maps
