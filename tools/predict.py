"""Label scans with any bundle of the collection, case by case; what is done already is not done again."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from abdoseg.datalist import case_id, load_cases
from abdoseg.files import CaseError, is_of_the_disk, write_json
from tools.chain import check_tracking, read_manifest, versions
from tools.faults import reason_of
from tools.lock import LOCK_FILE, sole_user
from tools.stream import Passage, Progress, ended_like_ctrl_c, stream
from tools.trust import check_trusted

logger = logging.getLogger(__name__)


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
    versions, and the seconds that each scan's own reading, labeling and writing took; as those of neighbors overlap,
    their sum is more than the whole took. Started again, the command labels what is missing.
    A DICOM series gets a DICOM SEG (ID.dcm) beside its label map, which lies on the same grid.

    Args:
        bundle: Folder of the bundle, for example bundles/fine_seg.
        input: A scan (.nii or .nii.gz), a folder of scans, or a data list (.json) as `audit` writes it. A folder
            without NIfTI files is searched for DICOM at any depth; of each study its longest axial CT series is taken.
        output: Folder for the label maps; ID_0000.nii.gz becomes ID.nii.gz. Of DICOM, the ID is the folder's name.
        weights: Folder with model.pt and architecture.json; without it the bundle's own models/ is taken.
        section: Section of the data list, which is "training", "unlabeled" or "testing".
        kind: Only the cases of this kind of the data list, for example "weak".
        cases: Only these ids, separated by commas.
        overwrite: Label anew what OUTPUT holds already, whatever weights and settings it was made with.
        overlay: Config file laid over the bundle's inference.yaml, for example faithful.yaml of tumor_cascade.
        series: Label these DICOM series instead of one a study: their UIDs, separated by commas.
        tracking: "mlflow" records settings, counts, seconds a scan and the manifest in OUTPUT/mlruns.db, or
            where the environment variable MLFLOW_TRACKING_URI says. The address of an MLflow server records them there.
        trust: Run a bundle that is not this project's own. Its configs are code: without this option, what they would
            run is listed, and nothing runs.
        overrides: Replace values of the bundle's inference.yaml by their ids, for example --inferer#margin_mm 30,
            --mirror_axes "[]" or --device cpu.
    """
    check_tracking(tracking)
    scans = find_scans(Path(input), section, kind, cases, series)
    targets = {name: Path(output) / f"{name}.nii.gz" for name in scans}
    folder = Path(output)
    for name, scan in scans.items():
        if scan.takes_place(targets[name], Path(input)):
            raise CaseError(f"{scan}: its label map would take its place; give another --output than its own folder.")
    check_trusted(bundle, trust)
    from tools.predictor import Predictor  # imports torch and MONAI, which takes seconds

    predictor = Predictor(Path(bundle), folder, Path(weights) if weights else None, overrides, overlay)
    print(f"weights: {predictor.checkpoint} (sha256 {predictor.sha256[:12]})")
    logging.getLogger("abdoseg.transforms.save").setLevel(logging.WARNING)  # the progress bar says it
    with _sole_user(folder), ended_like_ctrl_c():
        manifest = _begin(folder, predictor, str(bundle), targets, overwrite)
        todo = {name: scan for name, scan in scans.items() if not scan.is_done(targets[name])}
        if len(todo) < len(scans):
            print(f"{len(scans) - len(todo)} of {len(scans)} scans are labeled already.")
        told = {name: manifest[name] for name in ("bundle", "weights", "sha256")}
        parameters = {**told, "input": input, "output": output, "overlay": overlay, **overrides}
        with _tracker(tracking, Path(bundle), folder, parameters):
            _label(todo, targets, predictor, manifest)
    failed = {name: reason for name, reason in manifest["failed"].items() if name in scans}
    print(f"{len(scans) - len(failed)} of {len(scans)} scans labeled: {output}")
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


def _label(todo: Mapping, targets: Mapping[str, Path], predictor, manifest: dict) -> None:
    """Label the scans in a stream, and keep the manifest beside the label maps up to date."""

    def infer(name: str, prepared: tuple | None) -> tuple | None:
        bar.set_postfix_str(name)
        return None if prepared is None else predictor.infer(prepared)

    def settle(passage: Passage) -> None:
        name = passage.case
        if passage.error is None:
            manifest["seconds"][name] = round(passage.seconds, 3)
        elif is_of_the_disk(passage.error):
            raise passage.error
        else:
            logger.debug("%s failed", todo[name], exc_info=passage.error)
            manifest["failed"][name] = reason_of(passage.error, todo[name])
            bar.write(f"set aside: {manifest['failed'][name]}")
        write_json(targets[name].with_name("manifest.json"), manifest)
        bar.update()

    with Progress(total=len(todo), desc="label", unit="scan", disable=not todo) as bar:
        stream(
            todo,
            lambda name, _: todo[name].read(predictor, targets[name]),
            infer,
            lambda name, labeled: todo[name].write(predictor, labeled, targets[name]),
            settle,
        )


@dataclass(frozen=True)
class NiftiScan:
    """A NIfTI file to label; has the methods of `tools.dicom_scans.DicomScan`.

    Parameters
    ----------
    name : id of the case.
    path : the file.
    """

    name: str
    path: str

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path

    def is_done(self, target: Path) -> bool:
        return target.exists()

    def takes_place(self, target: Path, _source: Path) -> bool:
        return os.path.realpath(target) == os.path.realpath(self.path)  # unlike resolve() it bears a link to itself

    def read(self, predictor, _target: Path) -> tuple:
        return predictor.read(self.path, self.name)

    def write(self, predictor, labeled: tuple, _target: Path) -> None:
        predictor.write(labeled)


def find_scans(
    source: Path,
    section: str = "testing",
    kind: str | None = None,
    cases: str | None = None,
    series: str | None = None,
) -> dict:
    """Scans of a file, a folder or a data list: case id -> `NiftiScan` or `DicomScan`, in order of the ids.

    Raises
    ------
    CaseError
        If there is no scan, two have the same id, or a wanted case is not there.
    """
    if series and not source.is_dir():
        raise CaseError(f"{source} is no folder; --series chooses among the DICOM series of a folder.")
    if source.suffix == ".json":
        found = load_cases(source, section=section, kind=kind)
        listed = {case["id"]: NiftiScan(case["id"], case["image"]) for case in found}
        if not listed:
            raise CaseError(f"{source} holds no scan in section {section!r}" + (f" of kind {kind!r}." if kind else "."))
        return _only(dict(sorted(listed.items())), cases, source)
    if source.is_dir():
        paths = [str(path) for path in source.iterdir() if is_scan(path)]
        what = "no scan (.nii or .nii.gz)"
        if not paths or series:
            from tools.dicom_scans import find_dicom_scans

            if scans := find_dicom_scans(source, series):
                return _only(scans, cases, source)
            what = "no scan (.nii or .nii.gz, or DICOM)"
    elif source.exists():
        paths = [str(source)] if is_scan(source) else []
        what = "no scan (.nii or .nii.gz) or data list (.json)"
    else:
        raise CaseError(f"{source} does not exist; --input takes a scan, a folder of scans or a data list.")
    if not paths:
        raise CaseError(f"{source} holds {what}.")
    scans: dict[str, NiftiScan] = {}
    for path in sorted(paths):
        name = case_id(path)
        if name in scans:
            raise CaseError(f"{path} and {scans[name]} have the same id {name}; rename one of them.")
        scans[name] = NiftiScan(name, path)
    return _only(scans, cases, source)


def _only(scans: dict, cases: str | None, source: Path) -> dict:
    """The scans that ``--cases`` names, or all."""
    if cases is None:
        return scans
    wanted = {name.strip() for name in cases.split(",")}
    if missing := wanted - set(scans):
        raise CaseError(f"{source} holds no case {', '.join(sorted(missing))}; it holds {', '.join(list(scans)[:5])}.")
    return {name: scan for name, scan in scans.items() if name in wanted}


def is_scan(path: Path) -> bool:
    """Whether a file is a NIfTI file that is not hidden."""
    return path.name.endswith((".nii", ".nii.gz")) and not path.name.startswith(".")


def _begin(folder: Path, predictor, bundle: str, targets: Mapping[str, Path], overwrite: bool) -> dict:
    """Write the manifest, with the cases that stay as an earlier call left them, and delete what is made anew."""
    earlier = read_manifest(folder / "manifest.json")
    seconds, failed = earlier.get("seconds", {}), earlier.get("failed", {})
    same = earlier.get("key") == predictor.key
    if not same and not overwrite and (earlier or any(target.exists() for target in targets.values())):
        made = f"{earlier['weights']}, run by {earlier.get('engine')}" if "weights" in earlier else "of unknown origin"
        raise CaseError(
            f"{folder} holds label maps of other weights or settings ({made}); give another folder, or --overwrite to "
            "label them anew."
        )
    anew = set() if not overwrite else set(targets) if same else set(targets) | set(seconds)
    kept = {name: value for name, value in seconds.items() if name not in anew and (folder / f"{name}.nii.gz").exists()}
    manifest = {
        "bundle": bundle,
        "weights": str(predictor.checkpoint),
        "sha256": predictor.sha256,
        "key": predictor.key,
        "engine": predictor.engine,
        "versions": versions(),
        "seconds": kept,
        "failed": {name: reason for name, reason in failed.items() if same and name not in targets},
    }
    write_json(folder / "manifest.json", manifest)
    for name in anew:
        for ending in (".nii.gz", ".dcm"):
            (folder / f"{name}{ending}").unlink(missing_ok=True)
    return manifest
