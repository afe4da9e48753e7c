"""What a study found: means of its arms, verdicts on its claims, and both as Markdown beside the papers' figures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from abdoseg.files import CaseError
from abdoseg.metrics.paired import differences
from abdoseg.metrics.replicates import replicated_mean
from tools.results import case_means

HELD, FAILED, OPEN = "held", "failed", "open"


def collect_study(definition: Mapping, sets: Mapping[float, Sequence[Path]]) -> dict:
    """Means and verdicts by difficulty, from the scores in the work folders of the chains.

    Parameters
    ----------
    definition : content of study.yaml.
    sets : difficulty -> work folders, one a seed, with scores/ARM.json of ``evaluate``.

    Returns
    -------
    ``{difficulty as text: {"arms": {arm: {class or group: see replicated_mean}}, "claims": [{"text", "difference": see
    replicated_mean, "verdict"}]}}``.
    """
    groups = _groups(definition)
    outcome = {}
    for difficulty, folders in sets.items():
        scores = {arm: [_read(folder, arm) for folder in folders] for arm in definition["arms"]}
        by_scan = {
            (arm, name): [case_means(cases, classes) for cases in scores[arm]]
            for arm in definition["arms"]
            for name, classes in groups.items()
        }
        outcome[str(difficulty)] = {
            "arms": {arm: {name: replicated_mean(by_scan[arm, name]) for name in groups} for arm in definition["arms"]},
            "claims": [_judged(claim, by_scan) for claim in definition["claims"]],
        }
    return outcome


def check_claims(definition: Mapping, path: Path) -> None:
    """Raise a CaseError if a claim of a definition, which stands in ``path``, could not be judged in the end."""
    arms, groups = definition["arms"], _groups(definition)
    for claim in definition["claims"]:
        for key, known in (("arm", arms), ("than", arms), ("group", groups)):
            if (key in claim or key != "than") and claim.get(key) not in known:
                told = f"the claim {claim['text']!r} has {claim.get(key)!r} as its {key!r}"
                raise CaseError(f"{path}: {told}; use one of {', '.join(known)}.")
        if ("above" in claim) == ("below" in claim):
            raise CaseError(f"{path}: the claim {claim['text']!r} needs one bound, 'above' or 'below'.")


def _groups(definition: Mapping) -> dict[str, list[str]]:
    """Classes of each group, and each organ as a group of its own."""
    return {**{name: [name] for name in definition["groups"]["all organs"]}, **definition["groups"]}


def _read(folder: Path, arm: str) -> dict:
    path = folder / "scores" / f"{arm}.json"
    if not path.is_file():
        raise CaseError(f"{path}: no chain of the study has scored the arm {arm!r}; add one, or drop the arm.")
    return json.loads(path.read_text())["cases"]


def _judged(claim: Mapping, by_scan: Mapping[tuple, list[dict]]) -> dict:
    scores = by_scan[claim["arm"], claim["group"]]
    if "than" in claim:
        baseline = by_scan[claim["than"], claim["group"]]
        scores = [differences(*pair) for pair in zip(scores, baseline, strict=True)]
    found = replicated_mean(scores)
    return {"text": claim["text"], "difference": found, "verdict": verdict(found["interval"], claim)}


def verdict(interval: Sequence[float] | None, claim: Mapping) -> str:
    """Whether a claim held: the whole interval lies on its side of the bound, or on the other, or neither.

    >>> verdict([0.1, 0.2], {"above": 0}), verdict([0.1, 0.2], {"below": 0}), verdict([-0.1, 0.2], {"above": 0})
    ('held', 'failed', 'open')
    """
    if interval is None:
        return OPEN
    lower, upper = interval if "above" in claim else (-interval[1], -interval[0])
    bound = claim["above"] if "above" in claim else -claim["below"]
    if lower > bound:
        return HELD
    return FAILED if upper < bound else OPEN


def format_study(definition: Mapping, outcome: Mapping) -> str:
    """The outcome as Markdown: a table of the claims, and one of the arms for each difficulty."""
    parts = [_claims_table(definition, outcome)]
    printed = ", the papers' in brackets" if definition["papers"] else ""
    for difficulty, found in outcome.items():
        parts += [f"### Difficulty {difficulty}: DSC{printed}", _arms_table(definition, found["arms"])]
    return "\n\n".join(parts)


def _claims_table(definition: Mapping, outcome: Mapping) -> str:
    printed = ["in the papers"] if definition["papers"] else []
    heads = ["claim", *printed, *(f"difficulty {difficulty}" for difficulty in outcome)]
    rows = []
    for number, claim in enumerate(definition["claims"]):
        cells = []
        for found in outcome.values():
            judged = found["claims"][number]
            seeds = ", ".join(f"{mean:+.2f}" for mean in judged["difference"]["replicates"])
            cells.append(f"**{judged['verdict']}** {_interval(judged['difference'], '+')}; seeds {seeds}")
        rows.append([claim["text"], *(_in_paper(definition, claim) for _ in printed), *cells])
    return markdown_table(heads, rows)


def _arms_table(definition: Mapping, arms: Mapping[str, Mapping]) -> str:
    organs = definition["groups"]["all organs"]
    rows = []
    for name in (*organs, *definition["groups"]):
        cells = []
        for arm in arms:
            printed = _paper_mean(definition, arm, name)
            cells.append(_interval(arms[arm][name]) + ("" if printed is None else f" ({printed:.2f})"))
        rows.append([name if name in organs else f"**{name}**", *cells])
    return markdown_table(["", *arms], rows)


def _in_paper(definition: Mapping, claim: Mapping) -> str:
    values = [_paper_mean(definition, claim[key], claim["group"]) for key in ("arm", "than") if key in claim]
    if "paper" not in claim or None in values:
        return "-"
    return f"{values[0] - sum(values[1:]):+.2f}"


def _paper_mean(definition: Mapping, arm: str, name: str) -> float | None:
    """DSC in 0..1 that a paper prints for a class or a group of classes; None where it prints none."""
    printed = definition["papers"].get(arm, {})
    if name in printed:
        return printed[name] / 100
    classes = definition["groups"].get(name, [name])
    if not all(each in printed for each in classes):
        return None
    return sum(printed[each] for each in classes) / len(classes) / 100


def _interval(found: Mapping, sign: str = "") -> str:
    if found["mean"] is None:
        return "-"
    bounds = found["interval"]
    return f"{found['mean']:{sign}.2f}" + (f" [{bounds[0]:{sign}.2f}, {bounds[1]:{sign}.2f}]" if bounds else "")


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *rows)]
    return "\n".join(lines)
