"""Picture of a study: DSC of every arm by class with its interval, beside the papers' figures."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from tools.report_figures import ARM_COLORS, INK, as_png, plain_axes


def study_figure(definition: Mapping, outcome: Mapping) -> bytes:
    """PNG with one panel a difficulty: a dot an arm with its interval, a cross what the paper prints."""
    organs = definition["groups"]["all organs"]
    names = [*organs, *(group for group in definition["groups"] if group != "all organs")]
    arms = list(definition["arms"])
    figure = Figure(figsize=(11, 3.6 * len(outcome)), layout="constrained")
    panels = figure.subplots(len(outcome), 1, squeeze=False)[:, 0]
    for axes, (difficulty, found) in zip(panels, outcome.items(), strict=True):
        for index, arm in enumerate(arms):
            places = [position + (index - (len(arms) - 1) / 2) * 0.12 for position in range(len(names))]
            color = ARM_COLORS[index % len(ARM_COLORS)]
            for place, name in zip(places, names, strict=True):
                value = found["arms"][arm][name]
                if value["mean"] is None:
                    continue
                label = arm if name == names[0] else None
                axes.plot(place, value["mean"], "o", color=color, markersize=4, label=label)
                if value["interval"]:
                    axes.plot([place, place], value["interval"], color=color, linewidth=1.4)
                printed = definition["papers"].get(arm, {}).get(name)
                if printed is not None:
                    axes.plot(place, printed / 100, "x", color=color, markersize=5, alpha=0.6)
        axes.set_title(f"difficulty {difficulty}", loc="left", color=INK, fontsize=10)
        axes.set_ylabel("DSC")
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names], fontsize=7)
        plain_axes(axes, "y")
    panels[0].legend(ncols=len(arms), frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.06))
    figure.text(
        0.99, 0.0, "dots: mean and 95 % interval over seeds and scans; crosses: the papers", ha="right", fontsize=7
    )
    return as_png(figure)
