"""The starter weights in the bundles: half precision, sha256, and a model card with what they reach."""

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from abdoseg.datalist import load_cases
from abdoseg.files import CaseError, glob, write_json
from abdoseg.manifest import file_hash
from abdoseg.networks import ARCHITECTURE_FILE, build_network, load_checkpoint, read_architecture, write_state
from tools.chain import BUNDLES, read_manifest
from tools.starter_checks import CARD_TABLES, card_figures
from tools.starter_weights import PURPOSE, STARTER, STARTER_FILE

# Stage of the chain -> its bundle.
STAGES = {"teacher": "teacher_nnunet", "coarse": "coarse_seg", "fine": "fine_seg"}
# Tissue maps whose origin is known: those that the shipped weights have learned from.
TOTALSEGMENTATOR = ("s0327", "s0328")
LARGEST_BYTES = 20_000_000
CARD = """# Starter weights of {bundle}

Learned from synthetic CT alone, without one patient image: scans rendered from the tissue maps below with random shape,
contrast phase, tumors, missing organs and scanner (docs/synthesis.md of the project). Stored in half precision, after
the figures below were measured.

- Anatomies: {anatomies}.
  {origin}
- Training: {training}
- Network: {parameters:,} parameters; see {architecture}.
- sha256 of model.pt: {sha256}
- For {purpose}.

{figures}
## What they cannot do

They are a start: for labels to correct, for a teacher to fine-tune, to see that an installation works. They have seen
few anatomies, adults with the usual organs on the usual side. Small organs are found roughly. Tumors in training were
blobs of random contrast; that they resemble real ones was never tested. Not for diagnosis or any other clinical use.
"""


def install_weights(root: Path, bundles: Path = BUNDLES) -> dict:
    """Store the weights of a finished work folder of `starter` in ``models/starter`` of their bundles.

    Either all are stored or, where one cannot be, none.

    Parameters
    ----------
    root : work folder.
    bundles : folder of the bundles.

    Returns
    -------
    ``{"installed": {bundle: sha256}}``.

    Raises
    ------
    CaseError
        If a stage is not done, its figures are not of its weights, or a file would exceed 20 MB.
    """
    for stage in STAGES:
        if read_manifest(root / "manifests" / f"{stage}.json").get("status") != "done":
            raise CaseError(f"{root}: stage {stage} is not done; run `starter` on this folder to its end first.")
    _check_current(root)
    prepared = {bundle: _prepare(root, stage, bundle) for stage, bundle in STAGES.items()}
    targets = {bundle: bundles / bundle / "models" / STARTER for bundle in prepared}
    for bundle, target in targets.items():  # beside those that are there: the disk may be full
        shutil.rmtree(_aside(target), ignore_errors=True)
        shutil.copytree(prepared[bundle], _aside(target))
    for target in targets.values():
        shutil.rmtree(target, ignore_errors=True)
        _aside(target).rename(target)
        size = (target / "model.pt").stat().st_size
        print(f"{target / 'model.pt'}: {size / 1e6:.1f} MB, sha256 {file_hash(target / 'model.pt')[:12]}")
    return {"installed": {bundle: file_hash(folder / "model.pt") for bundle, folder in prepared.items()}}


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}")


def _prepare(root: Path, stage: str, bundle: str) -> Path:
    """Write what is to be installed into a folder of the work folder, and give that."""
    source, target = root / stage / "weights", root / "installed" / bundle
    shutil.rmtree(target, ignore_errors=True)  # with what a killed call was writing
    if arm := CARD_TABLES[stage]:
        _check_scored(root, arm, source / "model.pt")
    architecture = read_architecture(source / ARCHITECTURE_FILE, {})
    network = load_checkpoint(source / "model.pt", build_network(architecture))
    state = {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}
    write_state(target / "model.pt", state)
    if (size := (target / "model.pt").stat().st_size) > LARGEST_BYTES:
        raise CaseError(f"{source / 'model.pt'}: {size / 1e6:.1f} MB in half precision; 20 MB may be installed.")
    write_json(target / ARCHITECTURE_FILE, architecture)
    maps = {case["id"]: case.get("procedural") for case in load_cases(root / "anatomies.json")}
    anatomies = _anatomies(maps)
    sha256 = file_hash(target / "model.pt")
    write_json(target / STARTER_FILE, {"bundle": bundle, "sha256": sha256, "anatomies": anatomies})
    card = CARD.format(
        bundle=bundle,
        anatomies=anatomies,
        origin=_origin(maps),
        training=_training(root, stage),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        architecture=ARCHITECTURE_FILE,
        sha256=sha256,
        purpose=PURPOSE,
        figures=card_figures(root, arm),
    )
    (target / "model_card.md").write_text(card)
    return target


def _check_current(root: Path) -> None:
    """Raise a CaseError if a stage of a work folder has used another result of a stage than is there now."""
    manifests = {path.stem: read_manifest(path) for path in glob(root / "manifests", "*.json")}
    for name, manifest in manifests.items():
        for earlier, key in manifest.get("after", {}).items():
            now = manifests.get(earlier, {})
            if (now.get("status"), now.get("key")) != ("done", key):
                raise CaseError(
                    f"{root}: stage {name} was done with another {earlier} than is there now; run `starter` on this "
                    "folder to its end first."
                )


def _check_scored(root: Path, arm: str, weights: Path) -> None:
    """Raise a CaseError if what an arm has labeled, whose figures its card tells, was labeled by other weights."""
    for folder in (root / "predictions" / name for name in (arm, f"outside_{arm}")):
        if read_manifest(folder / "manifest.json").get("sha256", file_hash(weights)) != file_hash(weights):
            raise CaseError(
                f"{folder} was labeled by other weights than {weights}; run `starter` on this work folder to its end."
            )


def _anatomies(maps: Mapping[str, str | None]) -> str:
    """Names of the tissue maps, and how many were made: "s0327, s0328, 4 phantoms and 3 heads"."""
    made = Counter(kind for kind in maps.values() if kind)
    parts = _patients(maps)
    parts += [f"{count} {kind}{'s' * (count > 1)}" for kind, count in made.items()]
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)


def _patients(maps: Mapping[str, str | None]) -> list[str]:
    return [name for name, kind in maps.items() if not kind]


def _origin(maps: Mapping[str, str | None]) -> str:
    """Where the tissue maps come from, as far as that is known."""
    known = [name for name in _patients(maps) if name in TOTALSEGMENTATOR]
    others = [name for name in _patients(maps) if name not in TOTALSEGMENTATOR]
    sentences = []
    if known:
        subject = " and ".join(known) + (" are" if len(known) > 1 else " is")
        sentences.append(f"{subject} derived from the TotalSegmentator data set (Wasserthal et al. 2023), CC BY 4.0.")
    if others:
        sentences.append(f"Terms of {', '.join(others)}: ask whoever trained on them.")
    if any(maps.values()):
        sentences.append("Phantoms and heads are procedural.")
    return "\n  ".join(sentences)


def _training(root: Path, stage: str) -> str:
    manifest = read_manifest(root / "manifests" / f"{stage}.json")
    rows = (root / stage / "learning_curve.jsonl").read_text().splitlines()
    losses = [json.loads(row)["loss"] for row in rows]
    took = timedelta(seconds=round(manifest.get("seconds", 0)))
    return f"{took} (h:m:s) in its last sitting, {len(losses)} epochs, loss {losses[0]:.2f} to {losses[-1]:.2f}."
