"""Score predictions against references: DSC and NSD by the official FLARE23 rules, and with --strict beyond them."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from abdoseg.files import CaseError, write_json
from abdoseg.metrics import summarize, summarize_hosts
from abdoseg.ranks import Alone, Ranks, join
from tools.case_scores import HEAVY, score_case
from tools.kept_scores import KeptScores, state_of
from tools.score_files import annotated_classes, class_ids, find_pairs, split_names
from tools.score_tables import columns, comparison_rows, format_official, format_strict
from tools.workers import run_cases


def evaluate(
    predictions: str,
    references: str,
    output: str | None = None,
    cases: str | None = None,
    classes: str | None = None,
    minimum_dsc: float | None = None,
    strict: bool = False,
    annotated: str | None = None,
    against: str | None = None,
    section: str = "testing",
    num_workers: int | None = None,
) -> dict:
    """Score predicted label maps against references: DSC and NSD by class.

    The means of the table are over the scans whose reference contains the class (n says how many); the official
    FLARE23 means, which give full marks to a class that is rightly absent, stand beside them. The scores
    of a case and the official means are the numbers of the official script, also in its quirks; where it would stop, or
    cut otherwise than meant, a note says what is done instead.

    --strict scores without these quirks as well: all slices of tubular organs, only classes that somebody looked for,
    no marks for what is absent; with volumes and their bias, tumors found, missed and made up by size, false tumors in
    scans without any, and 95 % intervals. docs/scores.md tells each rule.

    Where the tumor is scored, so are the tumors in the liver, in the pancreas, in the kidneys and elsewhere ("rest"),
    each over the scans that have such a tumor.

    A case that cannot be scored (no prediction, another grid than its reference, an unknown label value, a broken
    file) is named, left out of the means, and makes the command end with exit code 1; the other cases are scored.

    Under torchrun, the processes share the cases, and the first one writes (docs/clusters.md). Killed and started
    again with the same OUTPUT, the command scores the cases that are missing or have changed.

    Args:
        predictions: Folder of predicted label maps ID.nii.gz, or one such file.
        references: Folder of true label maps ID.nii.gz, one such file, or a datalist (.json) that names them.
        output: JSON file to write, with the means ("summary"), the scores of each case ("cases", and its tumors by host
            organ in "tumor_by_host"), notes on the official rules and the cases that could not be scored with their
            reasons ("failed").
        cases: Ids of the cases to score, separated by commas; every reference if left out.
        classes: Names or ids of the classes to score, separated by commas, for example "liver,spleen" where nobody drew
            the others; all 14 if left out.
        minimum_dsc: Mean DSC of the organs that is asked for; below it the exit code is 1.
        strict: Add the strict scores, in the JSON file under "strict".
        annotated: For the strict scores, the classes that somebody looked for in the references, separated by commas,
            or a datalist (.json) whose annotated_classes tell; if left out, those of the datalist that REFERENCES is,
            else all 14.
        against: Compare with another run by paired tests: its JSON file, written with --strict, or its folder of
            predictions. Needs --strict.
        section: Section of a datalist: "testing" or "training".
        num_workers: Cases at once, each in a process of its own; 0 scores all in this one. If left out, one a processor
            for 20 cases or more; of a torchrun, each process takes its part of the processors.

    Returns:
        The content of the JSON file: {"summary": see abdoseg.metrics.summarize, and in it "tumor_by_host": {family:
        {"dsc", "n"}}, "cases": {id: {class name: {"dsc", "nsd", "present"}}}, "tumor_by_host": {id: {family: {"dsc",
        "present", "true_voxels", "predicted_voxels"}}}, "notes": {id: [sentence]}, "failed": {id: reason}}, and with
        --strict "strict": {"summary": see abdoseg.metrics.strict_summary.summarize_strict, "cases", "lesions",
        "comparison": see compare_strict}. Both "tumor_by_host" are empty where the tumor is not scored.
    """
    if not strict and (annotated is not None or against is not None):
        raise CaseError("--annotated and --against are about strict scores; add --strict.")
    if output is not None and Path(output).suffix != ".json":
        raise CaseError(f"--output {output} is no JSON file; name one that ends in .json.")
    ranks = join()
    pairs = find_pairs(Path(predictions), Path(references), section, split_names(cases))
    known = annotated_classes(pairs, annotated, Path(references), section) if strict else {}
    kept = KeptScores(output if ranks.first else None)
    score = partial(_score, ids=class_ids(classes), known=known, num_workers=num_workers, ranks=ranks, kept=kept)
    baseline = None
    if against is not None:
        find = partial(find_pairs, Path(against), Path(references), section, pairs)
        baseline = _baseline(Path(against), find, score, pairs)
    found, failed = score(pairs)
    if not ranks.first:
        return {}
    hosts = _parts(found, "tumor_by_host")
    result = {
        "summary": {**summarize(_parts(found, "scores")), "tumor_by_host": summarize_hosts(hosts)},
        "cases": _parts(found, "scores"),
        "tumor_by_host": hosts,
        "notes": {case: notes for case, notes in _parts(found, "notes").items() if notes},
        "failed": failed,
    }
    print(format_official(result["summary"]))
    for case, notes in result["notes"].items():
        print(*(f"note: {case}: {note}" for note in notes), sep="\n")
    if strict:
        result["strict"] = _strict(found, against, baseline)
    for case, reason in failed.items():
        print(f"failed: {case}: {reason}")
    if output is not None:
        write_json(output, result)
        kept.forget()
        print(f"scores of {len(found)} cases: {output}")
    mean = result["summary"]["organ_mean_dsc"]
    if minimum_dsc is not None and (mean is None or mean < minimum_dsc):
        reason = f"the mean DSC of the organs is {mean}, at least {minimum_dsc} was asked for"
        print(f"failed: {reason}")
        return result | {"failed": failed | {"minimum_dsc": reason}}
    return result


def _score(
    pairs: Mapping[str, tuple[Path, Path]],
    ids: Sequence[int],
    known: Mapping[str, Sequence[int]],
    num_workers: int | None,
    ranks: Alone | Ranks,
    kept: KeptScores,
) -> tuple[dict[str, dict], dict[str, str]]:
    """Scores of the cases that can be scored, in the order of the pairs, and the reasons of the others."""
    found, failed = {}, {}
    states = {case: state_of(*pairs[case], ids, known.get(case)) for case in pairs} if ranks.first else {}
    for case, state in states.items():
        if (scores := kept.take(state)) is not None:
            found[case] = scores
    if found:
        print(f"{len(found)} of {len(pairs)} cases are scored already.")

    def note(outcome: Sequence) -> None:
        case, scores, reason = outcome
        if reason is None:
            found[case] = scores
            kept.keep(states[case], scores)
        else:
            failed[case] = reason
        bar.update()

    missing = ranks.agree([case for case in pairs if case not in found])
    names = ranks.share(missing)
    jobs = {case: (*pairs[case], tuple(ids), known.get(case)) for case in names}
    with (
        tqdm(desc="evaluate", unit="case", total=len(missing), disable=not ranks.first) as bar,
        ranks.gathering(note) as hand_over,
    ):
        for outcome in run_cases(score_case, jobs, num_workers, preload=HEAVY):
            hand_over(outcome)
    return tuple({case: part[case] for case in pairs if case in part} for part in (found, failed))


def _parts(found: Mapping[str, Mapping], key: str) -> dict[str, dict]:
    """One part of the scores of each case, of the cases that have it."""
    return {case: scores[key] for case, scores in found.items() if scores[key] is not None}


def _baseline(
    against: Path, find: Callable[[], dict], score: Callable[[dict], tuple[dict, dict]], cases: Iterable[str]
) -> dict[str, dict]:
    """Strict scores of another run, from its JSON file, which must have one of these cases, or its predictions."""
    if against.suffix != ".json":
        found, failed = score(find())
        for case, reason in failed.items():
            print(f"not compared: {case}: {reason}")
        return _parts(found, "strict")
    try:
        content = json.loads(against.read_text())
        scores = content["strict"]["cases"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CaseError(f"{against}: no strict scores to compare with; write them by `evaluate --strict`.") from error
    if scores.keys().isdisjoint(cases):
        raise CaseError(f"{against}: has scores of other cases only; compare with a run on the same scans.")
    return scores


def _strict(found: Mapping[str, Mapping], against: str | None, baseline: Mapping[str, Mapping] | None) -> dict:
    from abdoseg.metrics.strict_summary import compare_strict, summarize_strict  # SciPy's statistics take a second

    cases, lesions = _parts(found, "strict"), _parts(found, "lesions")
    result = {"summary": summarize_strict(cases, lesions), "cases": cases, "lesions": lesions}
    print("", format_strict(result["summary"]), sep="\n")
    if baseline is not None:
        result["comparison"] = {"against": str(against), **compare_strict(cases, baseline)}
        print("", f"against {against}, scan by scan", columns(comparison_rows(result["comparison"])), sep="\n")
    return result
