"""Label scans with any bundle of the collection, case by case; what is done already is not done again."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from abdoseg.files import CaseError, is_of_the_disk, write_json
from abdoseg.label_maps import read_label_map
from abdoseg.ranks import Alone, Ranks, join
from tools.chain import check_tracking, find_config, read_manifest, versions
from tools.faults import reason_of
from tools.lock import LOCK_FILE, sole_user
from tools.quick_imports import quick_imports
from tools.scans import ENDINGS, find_scans
from tools.starter_weights import starter_notice
from tools.stream import Passage, Progress, ended_like_ctrl_c, stream
from tools.trust import check_configs, check_trusted

logger = logging.getLogger(__name__)
NAMED = 5  # scans that a line names
REWRITTEN = 0.01  # the manifest is written anew when outcomes of so large a part of all cases are new


def predict(
    bundle: str,
    input: str,  # noqa: A002 - the name that MONAI users expect on the command line
    output: str,
    weights: str | None = None,
    section: str = "testing",
    kind: str | None = None,
    cases: str | None = None,
    overwrite: bool = False,
    overlay: str | None = None,
    series: str | None = None,
    tracking: str | None = None,
    trust: bool = False,
    **overrides,
) -> dict:
    """Label scans with a bundle and write one uint8 label map a scan, on the scan's own grid.

    A scan that cannot be read or labeled is set aside by name with its reason, the rest goes on (exit code 1).
    While one scan is labeled, the next is read and the one before is written. OUTPUT/manifest.json tells weights,
    versions, the scans in which nothing was found, and the seconds that each scan's own reading, labeling and writing
    took; as those of neighbors overlap, their sum is more than the whole took. Started again, the command labels what
    is missing, and names the scans that have changed since they were labeled.
    A DICOM series gets a DICOM SEG (ID.dcm) beside its label map, which lies on the same grid.
    Under torchrun, the processes share the scans that are still to label (docs/clusters.md).

    Args:
        bundle: Folder of the bundle, for example bundles/fine_seg.
        input: A scan (.nii or .nii.gz), a folder of scans, or a data list (.json) as `audit` writes it. A folder
            without NIfTI files is searched for DICOM at any depth; of each study its longest axial CT series is taken.
        output: Folder for the label maps; ID_0000.nii.gz becomes ID.nii.gz. Of DICOM, the ID is the path
            of its folder below INPUT, joined by _.
        weights: Folder with model.pt and architecture.json; without it the bundle's own models/ is taken, or, where
            nothing was trained into it, the starter weights in models/starter.
        section: Section of the data list, which is "training", "unlabeled" or "testing".
        kind: Only the cases of this kind of the data list, for example "weak".
        cases: Only these ids, separated by commas.
        overwrite: Label anew what OUTPUT holds already, whatever weights and settings it was made with.
        overlay: Config file laid over the bundle's inference.yaml, for example faithful.yaml of tumor_cascade.
        series: Label these DICOM series instead of one a study: their UIDs, separated by commas.
        tracking: "mlflow" records settings, counts, seconds a scan and the manifest in OUTPUT/mlruns.db, or
            where the environment variable MLFLOW_TRACKING_URI says. The address of an MLflow server records them there.
        trust: Run a bundle, or an overlay, that is not this project's own. Configs are code: without this option, what
            they would run is listed, and nothing runs.
        overrides: Replace values of the bundle's inference.yaml by their ids, for example --inferer#margin_mm 30,
            --mirror_axes "[]" or --device cpu.
    """
    check_tracking(tracking)
    if output.endswith(ENDINGS):
        raise CaseError(f"--output {output} is the name of a file; give a folder, for label maps of the scans' names.")
    ranks, folder = join(), Path(output)
    find = partial(find_scans, Path(input), section, kind, cases, series)
    load = partial(_load, Path(bundle), folder, Path(weights) if weights else None, overrides, overlay)
    logging.getLogger("abdoseg.transforms.save").setLevel(logging.WARNING)  # the progress bar says it
    if not ranks.first:
        _take_part(ranks, folder, find, load)
        return {}
    scans = find()
    targets = {name: folder / f"{name}.nii.gz" for name in scans}
    for name, scan in scans.items():
        if scan.takes_place(targets[name], Path(input)):
            raise CaseError(f"{scan}: its label map would take its place; give another --output than its own folder.")
    check_trusted(bundle, trust)
    if overlay is not None:
        check_configs([find_config(overlay, Path(bundle) / "configs")], trust)
    predictor = load()
    print(f"weights: {predictor.checkpoint} (sha256 {predictor.sha256[:12]})")
    if notice := starter_notice(predictor.checkpoint, predictor.sha256):
        print(notice)
    with _sole_user(folder), ended_like_ctrl_c():
        manifest = _begin(folder, predictor, str(bundle), scans, targets, overwrite)
        todo = {name: scan for name, scan in scans.items() if not scan.is_done(targets[name])}
        if len(todo) < len(scans):
            print(f"{len(scans) - len(todo)} of {len(scans)} scans are labeled already.")
        states = manifest["scans"]
        if changed := [name for name, scan in scans.items() if name in states and states[name] != scan.state()]:
            told = ",".join(changed[:NAMED]) + ",..." * (len(changed) > NAMED)
            print(f"{len(changed)} of them have changed since; --overwrite --cases {told} labels them anew.")
        told = {name: manifest[name] for name in ("bundle", "weights", "sha256")}
        parameters = {**told, "input": input, "output": output, "overlay": overlay, **overrides}
        with _tracker(tracking, Path(bundle), folder, parameters):
            _label(ranks, ranks.agree(list(todo)), todo, predictor, folder, manifest)
    failed = {name: reason for name, reason in manifest["failed"].items() if name in scans}
    print(f"{len(scans) - len(failed)} of {len(scans)} scans labeled: {output}")
    if empty := [name for name in manifest["empty"] if name in scans]:
        told = ", ".join(empty[:NAMED]) + ", ..." * (len(empty) > NAMED)
        print(f"{len(empty)} of them without any label, named in {folder / 'manifest.json'}: {told}")
    return {"labeled": [name for name in scans if name not in failed], "failed": failed}


@contextmanager
def _sole_user(folder: Path) -> Iterator[None]:
    """`sole_user`, which leaves no file of its own among the label maps."""
    with sole_user(folder):
        try:
            yield
        finally:
            (folder / LOCK_FILE).unlink(missing_ok=True)


def _tracker(tracking: str | None, bundle: Path, output: Path, parameters: dict):
    """Context in which a call is recorded, if it is to be."""
    if tracking is None:
        return nullcontext()
    from tools.tracking import tracked_prediction  # imports mlflow, which takes seconds

    return tracked_prediction(tracking, bundle.absolute().name, output, parameters)


def _load(*arguments):
    with quick_imports():
        from tools.predictor import Predictor  # imports torch and MONAI, which takes seconds

    return Predictor(*arguments)


def _take_part(ranks: Ranks, folder: Path, find: Callable[[], dict], load: Callable) -> None:
    """Label a share of the scans that the first process names, once it has the output folder to itself."""
    names = ranks.agree()
    has_share = bool(ranks.share(names))
    with ended_like_ctrl_c():
        _label(ranks, names, find() if has_share else {}, load() if has_share else None, folder, {})


def _label(ranks: Alone | Ranks, names: Sequence[str], scans: Mapping, predictor, folder: Path, manifest: dict) -> None:
    """Label the scans of this process in a stream; the first one keeps the manifest beside the label maps up to date.

    Parameters
    ----------
    names : of the scans to label, by all processes.
    scans : by name.
    """
    targets = {name: folder / f"{name}.nii.gz" for name in names}
    empty: set[str] = set()
    unwritten = 0
    # Written after each of 100,000 cases, it would come to 100 GB.
    often = REWRITTEN * (len(names) + len(manifest.get("seconds", ())))

    def infer(name: str, prepared: tuple | None) -> tuple | None:
        bar.set_postfix_str(name)
        if prepared is None:
            return None
        labeled = predictor.infer(prepared)
        if predictor.found_nothing(labeled):
            empty.add(name)
        return labeled

    def settle(passage: Passage) -> None:
        name, reason = passage.case, None
        if passage.error is not None:
            if is_of_the_disk(passage.error) or not predictor.answers():  # all other scans would fail, too
                raise passage.error
            logger.debug("%s failed", scans[name], exc_info=passage.error)
            reason = reason_of(passage.error, scans[name])
        hand_over((name, round(passage.seconds, 3), reason, name in empty))

    def note(outcome: Sequence) -> None:
        nonlocal unwritten
        name, seconds, reason, is_empty = outcome
        if reason is None:
            manifest["seconds"][name] = seconds
            if is_empty:
                manifest["empty"].append(name)
        else:
            manifest["failed"][name] = reason
            bar.write(f"set aside: {reason}")
        unwritten += 1
        if unwritten >= often:
            write()
        bar.update()

    def write() -> None:
        nonlocal unwritten
        write_json(folder / "manifest.json", manifest)
        unwritten = 0

    hidden = not (names and ranks.first)
    try:
        with (
            Progress(total=len(names), desc="label", unit="scan", disable=hidden) as bar,
            logging_redirect_tqdm([logging.getLogger("abdoseg")]),  # warnings on lines of their own, beside the bar
            ranks.gathering(note) as hand_over,
            predictor.memory() if predictor else nullcontext(),  # a process may have no share
        ):
            stream(
                ranks.share(names),
                lambda name, _: scans[name].read(predictor, targets[name]),
                infer,
                lambda name, labeled: scans[name].write(predictor, labeled, targets[name]),
                settle,
            )
    finally:
        if unwritten:
            write()


def _is_empty(path: Path) -> bool:
    return not read_label_map(path)[0].any()


def _begin(folder: Path, predictor, bundle: str, scans: Mapping, targets: Mapping[str, Path], overwrite: bool) -> dict:
    """Delete what is made anew and write the manifest, with the cases that stay as an earlier call left them."""
    earlier = read_manifest(folder / "manifest.json")
    seconds, failed = earlier.get("seconds", {}), earlier.get("failed", {})
    same = earlier.get("key") == predictor.key
    if not same and not overwrite and (earlier or any(target.exists() for target in targets.values())):
        made = f"{earlier['weights']}, run by {earlier.get('engine')}" if "weights" in earlier else "of unknown origin"
        raise CaseError(
            f"{folder} holds label maps of other weights or settings ({made}); give another folder, or --overwrite to "
            "label them anew."
        )
    told = earlier.get("scans", {})  # of a call that was killed, some that are labeled have no seconds yet
    anew = set() if not overwrite else set(targets) if same else {*targets, *seconds, *told}

    def stays(name: str) -> bool:
        return name not in anew and (folder / f"{name}.nii.gz").exists()

    kept = {name: value for name, value in seconds.items() if stays(name)}
    todo = {name for name, target in targets.items() if name in anew or not scans[name].is_done(target)}
    empty = [name for name in earlier.get("empty", ()) if stays(name) and name not in todo]
    # What was labeled and not noted before a kill is looked at.
    noted = {*kept, *empty, *todo}
    empty += [name for name, target in targets.items() if name not in noted and _is_empty(target)]
    states = {name: state for name, state in told.items() if stays(name)}
    states |= {name: scans[name].state() for name in targets if name in anew or not targets[name].exists()}
    manifest = {
        "bundle": bundle,
        "weights": str(predictor.checkpoint),
        "sha256": predictor.sha256,
        "key": predictor.key,
        "engine": predictor.engine,
        "versions": versions(),
        **({"classes": predictor.classes} if predictor.classes else {}),  # an imported model may know a few alone
        "scans": dict(sorted(states.items())),  # whatever was labeled in which call
        "seconds": kept,
        "empty": empty,  # labeled, with nothing found
        "failed": {name: reason for name, reason in failed.items() if same and name not in targets},
    }
    # Killed in between, the old label maps must not be taken for those of the new weights.
    for name in anew:
        for ending in (".nii.gz", ".dcm"):
            (folder / f"{name}{ending}").unlink(missing_ok=True)
    write_json(folder / "manifest.json", manifest)
    return manifest
