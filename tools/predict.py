"""Label scans with any bundle of the collection, case by case; what is done already is not done again."""

import hashlib
import json
import logging
import time
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from tqdm import tqdm

from abdoseg.datalist import case_id, load_cases
from abdoseg.files import CaseError, write_json
from abdoseg.networks import load_checkpoint
from tools.chain import versions

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
    **overrides,
) -> dict:
    """Label scans with a bundle and write one uint8 label map a scan, on the scan's own grid.

    A scan that cannot be read or labeled is set aside by name with its reason, the rest goes on (exit code 1).
    Started again, the command labels what is missing. OUTPUT/manifest.json tells weights, versions and times.

    Parameters
    ----------
    bundle : folder of the bundle, e.g. bundles/fine_seg.
    input : a scan (.nii or .nii.gz), a folder of scans, or a data list (.json) as `audit` writes it.
    output : folder for the label maps; ID_0000.nii.gz becomes ID.nii.gz.
    weights : folder with model.pt and architecture.json; without it the bundle's own models/ is taken.
    section : section of the data list: training, unlabeled or testing.
    kind : only the cases of this kind of the data list, e.g. weak.
    cases : only these ids, comma-separated.
    overwrite : label anew what other weights or settings have labeled in OUTPUT before.
    overrides : replace values of the bundle's inference.yaml, e.g. --inferer#margin_mm 30 or --device cpu.
    """
    logging.getLogger("abdoseg").setLevel(logging.WARNING)
    scans = find_scans(Path(input), section, kind)
    if cases:
        wanted = {name.strip() for name in cases.split(",")}
        if missing := wanted - set(scans):
            raise CaseError(f"{input} holds no case {', '.join(sorted(missing))}.")
        scans = {name: scan for name, scan in scans.items() if name in wanted}
    predictor = Predictor(Path(bundle), Path(output), Path(weights) if weights else None, overrides)
    print(f"weights: {predictor.checkpoint} (sha256 {predictor.sha256[:12]})")
    manifest_path = Path(output) / "manifest.json"
    manifest = json.loads(manifest_path.read_text()) if manifest_path.exists() else {}
    if manifest.get("key", predictor.key) != predictor.key:
        if not overwrite:
            raise CaseError(
                f"{output} holds label maps of other weights or settings ({manifest['weights']}); "
                "give another folder, or --overwrite to label them anew."
            )
        for name in manifest["seconds"]:
            (Path(output) / f"{name}.nii.gz").unlink(missing_ok=True)
        manifest = {}
    manifest = {
        "bundle": str(bundle),
        "weights": str(predictor.checkpoint),
        "sha256": predictor.sha256,
        "key": predictor.key,
        "versions": versions(),
        "seconds": manifest.get("seconds", {}),
        "failed": {},
    }
    write_json(manifest_path, manifest)
    todo = {name: scan for name, scan in scans.items() if not (Path(output) / f"{name}.nii.gz").exists()}
    if len(todo) < len(scans):
        print(f"{len(scans) - len(todo)} of {len(scans)} scans are labeled already.")
    for name, scan in (bar := tqdm(todo.items(), desc="label", unit="scan", disable=not todo)):
        bar.set_postfix_str(name)
        start = time.perf_counter()
        try:
            predictor(scan)
        except Exception as error:  # any fault of one scan must not cost the others theirs
            logger.debug("%s failed", scan, exc_info=True)
            manifest["failed"][name] = f"{scan}: {_reason(error)}"
            tqdm.write(f"set aside: {manifest['failed'][name]}")
        else:
            manifest["seconds"][name] = round(time.perf_counter() - start, 3)
        write_json(manifest_path, manifest)
    print(f"{len(scans) - len(manifest['failed'])} of {len(scans)} scans labeled: {output}")
    return {"labeled": sorted(set(scans) - set(manifest["failed"])), "failed": manifest["failed"]}


def find_scans(source: Path, section: str, kind: str | None) -> dict[str, str]:
    """Scans of a file, a folder or a data list: case id -> path, in order of the ids."""
    if source.suffix == ".json":
        paths = [case["image"] for case in load_cases(source, section=section, kind=kind)]
    elif source.is_dir():
        paths = [str(path) for path in source.iterdir() if path.name.endswith((".nii", ".nii.gz"))]
    elif source.exists():
        paths = [str(source)]
    else:
        raise CaseError(f"{source} does not exist; --input takes a scan, a folder of scans or a data list.")
    if not paths:
        raise CaseError(f"{source} holds no scan (.nii or .nii.gz).")
    scans: dict[str, str] = {}
    for path in sorted(paths):
        if case_id(path) in scans:
            raise CaseError(f"{path} and {scans[case_id(path)]} have the same id {case_id(path)}; rename one of them.")
        scans[case_id(path)] = path
    return scans


class Predictor:
    """A bundle's inference, one scan at a time: pre-processing, inferer, post-processing of its ``inference.yaml``.

    Parameters
    ----------
    bundle : folder of the bundle.
    output : folder for the label maps.
    weights : folder with ``model.pt`` and ``architecture.json``; None takes the bundle's ``models``.
    overrides : replace values of the config, by id.
    """

    def __init__(self, bundle: Path, output: Path, weights: Path | None, overrides: dict) -> None:
        config = bundle / "configs" / "inference.yaml"
        if not config.exists():
            raise CaseError(f"{bundle} is no bundle that labels scans: {config} is missing.")
        self.checkpoint = (weights or bundle / "models") / "model.pt"
        if not self.checkpoint.exists():
            raise CaseError(
                f"{self.checkpoint} does not exist; train the bundle, or name the folder of its weights by --weights."
            )
        parser = ConfigParser()
        parser.read_config(str(config))
        parser.read_meta(str(bundle / "configs" / "metadata.json"))
        for name in overrides:
            if name.replace("::", "#") not in parser:
                raise CaseError(f"{config} has no {name!r}; it has: {', '.join(parser.config)}.")
        overrides = {
            "bundle_root": str(bundle),
            "ckpt_dir": str(self.checkpoint.parent),
            "output_dir": str(output),
            **overrides,
        }
        parser.update(overrides)
        parser.parse()
        content = parser.get_parsed_content
        self.device = torch.device(content("device"))
        self.network = content("network_def")
        load_checkpoint(self.checkpoint, self.network)
        self.network = self.network.to(self.device).eval()
        self.preprocessing, self.postprocessing = content("preprocessing"), content("postprocessing")
        self.inferer = content("inferer")
        self.sha256 = hashlib.sha256(self.checkpoint.read_bytes()).hexdigest()
        settings = {key: value for key, value in overrides.items() if key not in ("output_dir", "ckpt_dir")}
        self.key = hashlib.sha256(
            self.sha256.encode() + config.read_bytes() + json.dumps(settings, sort_keys=True, default=str).encode()
        ).hexdigest()

    def __call__(self, scan: str) -> None:
        """Label one scan and write its label map."""
        item = self.preprocessing({"image": scan})
        with torch.inference_mode():
            item["pred"] = self.inferer(item["image"][None].to(self.device), self.network)[0]
        self.postprocessing(item)


def _reason(error: BaseException) -> str:
    """First line of the innermost cause: MONAI wraps what a transform raises."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{error}".strip().splitlines()[0] if f"{error}".strip() else type(error).__name__
