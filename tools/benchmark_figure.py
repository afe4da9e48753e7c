"""Pictures of benchmarks: of the comparison with a plain MONAI pipeline, and of growth with the number of cases."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from tools.report_figures import ARM_COLORS, INK, as_png, plain_axes

# Slices and seconds a case on a Quadro RTX 5000, a new process a case: paper A, Table 6.
PAPER_A = ((55, 12.6), (100, 9.04), (150, 9.64), (215, 11.39), (334, 11.33), (448, 14.58), (499, 14.6), (554, 16.87))


def peers_figure(result: Mapping) -> bytes:
    """PNG of what `benchmark_peers` gives: medians with least and most; crosses are paper A's on its GPU."""
    lengths = {int(length): part for length, part in result["lengths"].items()}
    arms = list(next(iter(lengths.values()))["arms"])
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    seconds, memory, stages = figure.subplots(1, 3)
    for axes, name, scale in ((seconds, "wall_s", 1), (memory, "host_peak_mb", 1024)):
        for arm, color in zip(arms, ARM_COLORS, strict=False):
            _curve(axes, {n: part["arms"][arm].get(name) for n, part in lengths.items()}, scale, arm, color)
        axes.set_xlabel("slices of 512 x 512 voxels" if name == "wall_s" else "slices")
        axes.set_yscale("log")
        _plain_ticks(axes, sorted(lengths))
    seconds.plot(*zip(*PAPER_A, strict=True), "x", color=INK, markersize=4, label="paper A, GPU, cold")
    seconds.set_title("seconds a case, warm", loc="left", color=INK, fontsize=10)
    memory.set_title("peak memory, GiB", loc="left", color=INK, fontsize=10)
    seconds.legend(frameon=False, fontsize=7)
    _stage_bars(stages, lengths)
    return as_png(figure)


def _curve(axes: Axes, spreads: Mapping[int, Mapping | None], scale: float, label: str, color: str) -> None:
    found = {n: one for n, one in sorted(spreads.items()) if one is not None}
    axes.plot(
        list(found), [one["median"] / scale for one in found.values()], "o-", color=color, label=label, markersize=4
    )
    for n, one in found.items():
        axes.plot([n, n], [one["least"] / scale, one["most"] / scale], color=color, linewidth=1.4)


def growth_figure(result: Mapping) -> bytes:
    """PNG of what `benchmark_growth` gives: seconds and peak memory of each step against the number of cases."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    seconds, memory = figure.subplots(1, 2)
    for index, (name, found) in enumerate(result["steps"].items()):
        counts = [int(count) for count in found]
        style = {"color": f"C{index % 10}", "marker": "os^"[index // 10], "markersize": 4, "linewidth": 1.2}
        for axes, key in ((seconds, "seconds"), (memory, "peak_mb")):
            axes.plot(counts, [figures[key] for figures in found.values()], label=name.replace("_", " "), **style)
    most = max(int(count) for found in result["steps"].values() for count in found)
    for axes, title in ((seconds, "seconds, imports included"), (memory, "peak memory, MB")):
        axes.set_xscale("log")
        axes.set_xlabel("cases")
        axes.set_title(title, loc="left", color=INK, fontsize=10)
        plain_axes(axes, "y")
    seconds.plot([most / 100, most], [0.5, 50], ":", color=INK, linewidth=1, label="linear")
    seconds.set_yscale("log")
    memory.set_ylim(bottom=0)
    figure.legend(*seconds.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    return as_png(figure)


def _stage_bars(axes: Axes, lengths: Mapping[int, Mapping]) -> None:
    """Bar of each engine and length, cut into its stages."""
    bars = {f"{n}\n{name}": stages for n, part in lengths.items() for name, stages in part["stages"].items()}
    names: Sequence[str] = list(dict.fromkeys(stage for stages in bars.values() for stage in stages))
    bottom = [0.0] * len(bars)
    for index, stage in enumerate(names):
        heights = [stages.get(stage, 0.0) for stages in bars.values()]
        color = f"C{index}"
        axes.bar(range(len(bars)), heights, bottom=bottom, color=color, label=stage, width=0.7)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axes.set_xticks(range(len(bars)), list(bars), fontsize=7)
    axes.set_title("seconds by stage, under a profiler", loc="left", color=INK, fontsize=10)
    axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1), reverse=True)
    plain_axes(axes, "y")


def _plain_ticks(axes: Axes, lengths: Sequence[int]) -> None:
    axes.xaxis.set_major_locator(FixedLocator(lengths))
    axes.yaxis.set_major_locator(FixedLocator([0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 10, 20, 50, 100, 200, 500]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    plain_axes(axes, "y")
