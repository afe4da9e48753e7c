"""Figures of the report as PNG bytes: overlays in three planes, scores by class, label statistics, learning curves."""

import io
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from abdoseg.labels import BACKGROUND_ID, CLASS_IDS, COLORS, NAMES, TUMOR_ID

WINDOW_HU = (-160, 240)
PLANES = ("axial", "coronal", "sagittal")
# Axis (x, y, z) that a plane cuts across, and the letters at the left, right, top and bottom of its picture.
PLANE_AXIS = {"axial": 2, "coronal": 1, "sagittal": 0}
PLANE_LETTERS = {"axial": "RLAP", "coronal": "RLHF", "sagittal": "APHF"}
ARM_COLORS = ("#8a94a6", "#1f6feb", "#d4670b", "#2e8540", "#8250df", "#b3261e")
BODY_HU = -300
SMALLEST_BODY_SHARE = 0.01
MARGIN_INCHES = 0.6, 0.35
GAP = 0.985
INK, GRID = "#1d2733", "#e3e7ed"


def cut(volume: np.ndarray, plane: str, index: int) -> np.ndarray:
    """Slice of a volume (x, y, z) RAS as a radiologist looks at it: rows from top to bottom, columns left to right.

    Axial and coronal pictures have the patient's right on their left, sagittal ones the front; the front (axial) or
    the head (coronal, sagittal) is up.
    """
    picture = np.take(volume, index, axis=PLANE_AXIS[plane])
    return picture[::-1, ::-1].T


def telling_slices(labels: np.ndarray) -> dict[str, int]:
    """Index along its axis of the slice of each plane that shows most of the classes of a label map (x, y, z).

    Each class counts by the root of its area relative to its largest one; the tumor counts three times.
    """
    chosen = {}
    for plane, axis in PLANE_AXIS.items():
        others = tuple(other for other in range(3) if other != axis)
        weights = np.zeros(labels.shape[axis])
        for class_id in CLASS_IDS:
            areas = np.count_nonzero(labels == class_id, axis=others)
            if areas.any():
                weights += np.sqrt(areas / areas.max()) * (3 if class_id == TUMOR_ID else 1)
        chosen[plane] = int(weights.argmax()) if weights.any() else labels.shape[axis] // 2
    return chosen


def overlay_figure(image: np.ndarray, spacing: Sequence[float], maps: Mapping[str, np.ndarray]) -> bytes:
    """CT in three planes, plain and with each label map on it, side by side.

    Parameters
    ----------
    image : CT in HU, (x, y, z) RAS.
    spacing : voxel size in mm along (x, y, z).
    maps : name -> label map on the image's grid; the first one is the truth: it chooses the slices, and its outlines
        are drawn in white on the others.
    """
    truth = next(iter(maps.values()))
    slices = telling_slices(truth)
    body = _body_box(image, truth)
    sides = np.array([part.stop - part.start for part in body]) * np.asarray(spacing)
    sizes = {plane: np.delete(sides, axis) for plane, axis in PLANE_AXIS.items()}
    cell_width = max(width for width, _ in sizes.values())
    columns = 1 + len(maps)
    scale = 13 / (columns * cell_width)
    heights = [sizes[plane][1] * scale for plane in PLANES]
    total = sum(heights) + sum(MARGIN_INCHES)
    figure = Figure(figsize=(13, total), facecolor="black")
    top = total - MARGIN_INCHES[1]
    for row, plane in enumerate(PLANES):
        top -= heights[row]
        index = slices[plane] - body[PLANE_AXIS[plane]].start
        for column, (name, labels) in enumerate({"CT": None, **maps}.items()):
            axes = figure.add_axes(
                (column / columns, top / total, GAP / columns, GAP * heights[row] / total), facecolor="black"
            )
            _draw_plane(axes, image[body], plane, index, sizes[plane], cell_width)
            if labels is not None:
                _draw_labels(axes, labels[body], plane, index, sizes[plane], outline=False)
                if labels is not truth:
                    _draw_labels(axes, truth[body], plane, index, sizes[plane], outline=True)
            if row == 0:
                axes.set_title(name, color="white", fontsize=13, pad=7)
    present = [class_id for class_id in CLASS_IDS if any((labels == class_id).any() for labels in maps.values())]
    handles = [Patch(facecolor=_rgb(class_id), label=NAMES[class_id]) for class_id in present]
    figure.legend(
        handles=handles, ncols=7, loc="lower center", fontsize=9.5, frameon=False, labelcolor="white", handlelength=1.2
    )
    return as_png(figure)


def _draw_plane(axes, image: np.ndarray, plane: str, index: int, size: np.ndarray, cell_width: float) -> None:
    width, height = size
    axes.imshow(
        cut(image, plane, index),
        cmap="gray",
        vmin=WINDOW_HU[0],
        vmax=WINDOW_HU[1],
        extent=(0, width, height, 0),
        interpolation="bilinear",
    )
    margin = (cell_width - width) / 2 + 2
    axes.set(xlim=(-margin, width + margin), ylim=(height, 0), aspect="equal")
    axes.axis("off")
    left, right, upper, lower = PLANE_LETTERS[plane]
    halo = withStroke(linewidth=2.5, foreground="black")
    style = {"color": "#c3d3e4", "fontsize": 9, "ha": "center", "va": "center", "path_effects": [halo]}
    inset = cell_width * 0.03
    axes.text(inset - margin, height / 2, left, **style)
    axes.text(width + margin - inset, height / 2, right, **style)
    axes.text(width / 2, inset, upper, **style)
    axes.text(width / 2, height - inset, lower, **style)


def _draw_labels(axes, labels: np.ndarray, plane: str, index: int, size: np.ndarray, outline: bool) -> None:
    """Areas of the classes with their borders, or only thin white borders."""
    picture = np.pad(cut(labels, plane, index), 1)
    steps = size / (np.array(picture.shape[::-1]) - 2)
    x, y = ((np.arange(count) - 0.5) * step for count, step in zip(picture.shape[::-1], steps, strict=True))
    for class_id in np.setdiff1d(np.unique(picture), [BACKGROUND_ID]):
        mask = (picture == class_id).astype(float)
        if outline:
            axes.contour(x, y, mask, levels=[0.5], colors="white", linewidths=0.7)
        else:
            axes.contourf(x, y, mask, levels=[0.5, 1.5], colors=[_rgb(class_id)], alpha=0.45)
            axes.contour(x, y, mask, levels=[0.5], colors=[_rgb(class_id)], linewidths=1.1)


def _body_box(image: np.ndarray, truth: np.ndarray) -> tuple[slice, slice, slice]:
    """Box around the body, without the air beside it, and around all that is labeled."""
    box = []
    for axis, size in enumerate(image.shape):
        others = tuple(other for other in range(3) if other != axis)
        dense = (image > BODY_HU).mean(axis=others) > SMALLEST_BODY_SHARE
        filled = np.flatnonzero(dense | truth.any(axis=others))
        box.append(slice(filled[0], filled[-1] + 1) if len(filled) else slice(0, size))
    return tuple(box)


def scores_figure(arms: Mapping[str, Mapping]) -> bytes:
    """DSC of every scan that contains the class, one row a class, one color an arm; the bar is the mean.

    Parameters
    ----------
    arms : name -> content of the JSON file that ``evaluate`` writes.
    """
    figure = Figure(figsize=(9.5, 6.2 + 1.2 * max(len(arms) - 3, 0)))
    axes = figure.add_subplot()
    names = [NAMES[class_id] for class_id in CLASS_IDS]
    reach = 0.2 if len(arms) < 3 else 0.33
    offsets = np.linspace(-reach, reach, len(arms)) if len(arms) > 1 else [0]
    half = 0.17 if len(arms) < 3 else reach / len(arms)
    for (arm, scores), offset, color in zip(arms.items(), offsets, cycle(ARM_COLORS), strict=False):
        for row, name in enumerate(names):
            values = [case[name]["dsc"] for case in scores["cases"].values() if name in case and case[name]["present"]]
            label = arm if row == 0 else None
            axes.scatter(values, [row + offset] * len(values), s=22, color=color, alpha=0.55, lw=0, label=label)
            if values:
                axes.plot([np.mean(values)] * 2, [row + offset - half, row + offset + half], color=color, lw=3)
    axes.set(
        yticks=range(len(names)), yticklabels=names, xlim=(-0.02, 1.02), xlabel="DSC", ylim=(len(names) - 0.5, -0.5)
    )
    axes.legend(loc="lower left", frameon=False, ncols=len(arms), bbox_to_anchor=(0, 1))
    plain_axes(axes, "x")
    return as_png(figure)


def label_statistics_figure(label_counts: Mapping[str, int], class_cases: Mapping[str, int]) -> bytes:
    """Scans by their number of labels (Fig. 2 of paper A), and scans that contain each class.

    Parameters
    ----------
    label_counts : number of foreground labels -> number of scans.
    class_cases : class name -> number of scans whose label contains it.
    """
    figure = Figure(figsize=(11, 4.4))
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
    counts = {int(count): scans for count, scans in label_counts.items()}
    numbers = list(range(min([1, *counts]), len(CLASS_IDS) + 1))
    bars = left.bar(numbers, [counts.get(number, 0) for number in numbers], color="#1f6feb", width=0.75)
    left.bar_label(bars, [str(counts.get(number) or "") for number in numbers], fontsize=9, padding=2)
    left.set(
        xticks=numbers, xlabel="number of labels in the scan", ylabel="scans", title="How much of each scan is drawn"
    )
    left.margins(y=0.12)
    names = [NAMES[class_id] for class_id in CLASS_IDS]
    values = [class_cases.get(name, 0) for name in names]
    bars = right.barh(names, values, color=[_rgb(class_id) for class_id in CLASS_IDS], height=0.75)
    right.bar_label(bars, fontsize=9, padding=3)
    right.invert_yaxis()
    right.margins(x=0.12)
    right.set(xlabel="scans", title="How often each class is drawn")
    left.yaxis.set_major_locator(MaxNLocator(integer=True))
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain_axes(left, "y")
    plain_axes(right, "x")
    figure.tight_layout(w_pad=3)
    return as_png(figure)


def learning_curves_figure(curves: Mapping[str, Sequence[Mapping]]) -> bytes:
    """Training loss (upper row) and validation DSC (lower row) by epoch, one column a network.

    Parameters
    ----------
    curves : name of the network -> lines ``{"epoch", "loss", "lr", "validation_dsc": float or None}``.
    """
    figure = Figure(figsize=(3.9 * max(len(curves), 2), 4.6))
    grid = figure.subplots(2, len(curves), squeeze=False, sharex="col")
    for column, (name, lines) in enumerate(curves.items()):
        rows = (("loss", "training loss", "#d4670b"), ("validation_dsc", "validation DSC", "#1f6feb"))
        for row, (key, title, color) in enumerate(rows):
            axes = grid[row, column]
            points = [(line["epoch"], line[key]) for line in lines if line.get(key) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), color=color, lw=1.8, marker="o" if len(points) < 30 else "", ms=3)
            else:
                axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color="#8a94a6")
            plain_axes(axes, "y")
            if column == 0:
                axes.set_ylabel(title)
        grid[0, column].set_title(name)
        grid[1, column].set(xlabel="epoch", ylim=(0, 1))
        grid[1, column].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.tight_layout()
    return as_png(figure)


def plain_axes(axes, grid_axis: str) -> None:
    """Give axes the look of all figures: a faint grid along ``grid_axis``, no frame."""
    axes.grid(axis=grid_axis, color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_color(GRID)
    axes.spines[["top", "right"]].set_visible(False)
    axes.title.set(fontsize=11, color=INK)


def _rgb(class_id: int) -> tuple[float, float, float]:
    return tuple(channel / 255 for channel in COLORS[class_id])


def as_png(figure: Figure) -> bytes:
    """Draw a figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight" if figure.get_facecolor()[0] else None)
    return buffer.getvalue()
