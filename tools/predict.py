"""Label scans with any bundle of the collection, case by case; what is done already is not done again."""

import logging
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from tqdm import tqdm

from abdoseg.datalist import case_id, load_cases
from abdoseg.files import CaseError, write_json
from tools.chain import check_tracking, read_manifest, versions
from tools.faults import reason_of

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
    **overrides,
) -> dict:
    """Label scans with a bundle and write one uint8 label map a scan, on the scan's own grid.

    A scan that cannot be read or labeled is set aside by name with its reason, the rest goes on (exit code 1).
    Started again, the command labels what is missing. OUTPUT/manifest.json tells weights, versions and times.
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
        overrides: Replace values of the bundle's inference.yaml by their ids, for example --inferer#margin_mm 30,
            --mirror_axes "[]" or --device cpu.
    """
    check_tracking(tracking)
    scans = find_scans(Path(input), section, kind, cases, series)
    targets = {name: Path(output) / f"{name}.nii.gz" for name in scans}
    for name, scan in scans.items():
        beside = not isinstance(scan, str) and Path(output).resolve() == Path(input).resolve()
        if beside or targets[name].resolve() == Path(scan).resolve():
            raise CaseError(f"{scan}: its label map would take its place; give another --output than its own folder.")
    from tools.predictor import Predictor  # imports torch and MONAI, which takes seconds

    predictor = Predictor(Path(bundle), Path(output), Path(weights) if weights else None, overrides, overlay)
    print(f"weights: {predictor.checkpoint} (sha256 {predictor.sha256[:12]})")
    logging.getLogger("abdoseg.transforms.save").setLevel(logging.WARNING)  # the progress bar says it
    seconds, failed = _earlier(Path(output), predictor.key, targets, overwrite)
    manifest = {
        "bundle": str(bundle),
        "weights": str(predictor.checkpoint),
        "sha256": predictor.sha256,
        "key": predictor.key,
        "engine": predictor.engine,
        "versions": versions(),
        "seconds": seconds,
        "failed": failed,
    }
    write_json(Path(output) / "manifest.json", manifest)
    todo = {name: scan for name, scan in scans.items() if not _is_done(scan, targets[name])}
    if len(todo) < len(scans):
        print(f"{len(scans) - len(todo)} of {len(scans)} scans are labeled already.")
    told = {name: manifest[name] for name in ("bundle", "weights", "sha256")}
    parameters = {**told, "input": input, "output": output, "overlay": overlay, **overrides}
    with _tracker(tracking, Path(bundle), Path(output), parameters):
        _label(todo, targets, predictor, manifest)
    failed_now = {name: failed[name] for name in scans if name in failed}
    print(f"{len(scans) - len(failed_now)} of {len(scans)} scans labeled: {output}")
    return {"labeled": [name for name in scans if name not in failed], "failed": failed_now}


def _tracker(tracking: str | None, bundle: Path, output: Path, parameters: dict):
    """Context in which a call is recorded, if it is to be."""
    if tracking is None:
        return nullcontext()
    from tools.tracking import tracked_prediction  # imports mlflow, which takes seconds

    return tracked_prediction(tracking, bundle.absolute().name, output, parameters)


def _label(todo: Mapping, targets: Mapping[str, Path], predictor, manifest: dict) -> None:
    """Label the scans one by one, and keep the manifest beside the label maps up to date."""
    seconds, failed = manifest["seconds"], manifest["failed"]
    for name, scan in (bar := tqdm(todo.items(), desc="label", unit="scan", disable=not todo)):
        bar.set_postfix_str(name)
        start = time.perf_counter()
        try:
            if isinstance(scan, str):
                predictor(scan, name)
            else:
                scan.label(predictor, targets[name], Path(manifest["bundle"]).absolute().name, manifest["sha256"][:16])
        except Exception as error:  # any fault of one scan must not cost the others theirs
            logger.debug("%s failed", scan, exc_info=True)
            failed[name] = reason_of(error, scan)
            tqdm.write(f"set aside: {failed[name]}")
        else:
            seconds[name] = round(time.perf_counter() - start, 3)
        write_json(targets[name].with_name("manifest.json"), manifest)


def find_scans(
    source: Path,
    section: str = "testing",
    kind: str | None = None,
    cases: str | None = None,
    series: str | None = None,
) -> dict:
    """Scans of a file, a folder or a data list: case id -> path or `DicomScan`, in order of the ids.

    Raises
    ------
    CaseError
        If there is no scan, two have the same id, or a wanted case is not there.
    """
    if series and not source.is_dir():
        raise CaseError(f"{source} is no folder; --series chooses among the DICOM series of a folder.")
    if source.suffix == ".json":
        listed = {case["id"]: case["image"] for case in load_cases(source, section=section, kind=kind)}
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
    scans: dict[str, str] = {}
    for path in sorted(paths):
        if case_id(path) in scans:
            raise CaseError(f"{path} and {scans[case_id(path)]} have the same id {case_id(path)}; rename one of them.")
        scans[case_id(path)] = path
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


def _is_done(scan, target: Path) -> bool:
    return target.exists() if isinstance(scan, str) else scan.is_done(target)


def _earlier(output: Path, key: str, targets: Mapping[str, Path], overwrite: bool) -> tuple[dict, dict]:
    """Seconds and reasons of the cases that stay as an earlier call left them; what must be made anew is deleted."""
    manifest = read_manifest(output / "manifest.json")
    seconds = manifest.get("seconds", {})
    same = manifest.get("key") == key
    if not same and not overwrite and (manifest or any(target.exists() for target in targets.values())):
        raise CaseError(
            f"{output} holds label maps of other weights or settings ({manifest.get('weights', 'of unknown origin')}); "
            "give another folder, or --overwrite to label them anew."
        )
    if overwrite:
        anew = set(targets) if same else set(targets) | set(seconds)
        for name in anew:
            for ending in (".nii.gz", ".dcm"):
                (output / f"{name}{ending}").unlink(missing_ok=True)
        seconds = {name: value for name, value in seconds.items() if name not in anew}
    return seconds, {
        name: reason for name, reason in manifest.get("failed", {}).items() if same and name not in targets
    }
