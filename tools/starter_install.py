"""The starter weights in the bundles: half precision, sha256, and a model card with what they reach."""

import json
from datetime import timedelta
from pathlib import Path

import torch

from abdoseg.datalist import load_cases
from abdoseg.files import CaseError, atomic_path, write_json
from abdoseg.manifest import file_hash
from abdoseg.networks import ARCHITECTURE_FILE, build_network, load_checkpoint, read_architecture
from tools.chain import BUNDLES, read_manifest

# Stage of the chain -> its bundle, and the scores that tell what it reaches.
STAGES = {
    "teacher": ("teacher_nnunet", "teacher"),
    "coarse": ("coarse_seg", None),
    "fine": ("fine_seg", "student"),
}
LARGEST_BYTES = 20_000_000
CARD = """# Starter weights of {bundle}

Learned from synthetic CT alone, without one patient image: scans rendered from the tissue maps below with random shape,
contrast phase, tumors, missing organs and scanner (docs/synthesis.md of the project). Stored in half precision.

- Anatomies: {anatomies}. s0327 and s0328 are derived from the TotalSegmentator data set (Wasserthal et al. 2023),
  CC BY 4.0; phantoms are procedural.
- Training: {training}
- Network: {parameters:,} parameters; {architecture}
- sha256 of model.pt: {sha256}

{figures}
## What they cannot do

They are a start: for labels to correct, for a teacher to fine-tune, to see that an installation works. They have seen
few anatomies, adults with the usual organs on the usual side. Small organs are found roughly. Tumors in training were
blobs of random contrast; that they resemble real ones was never tested. Not for diagnosis or any other clinical use.
"""


def install_weights(root: Path, bundles: Path = BUNDLES) -> dict:
    """Store the weights of a finished work folder of `starter` in ``models/`` of their bundles.

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
        If a stage is not done, or a file would exceed 20 MB.
    """
    for stage in STAGES:
        if read_manifest(root / "manifests" / f"{stage}.json").get("status") != "done":
            raise CaseError(f"{root}: stage {stage} is not done; run `starter` on this folder to its end first.")
    installed = {}
    for stage, (bundle, scores) in STAGES.items():
        target = bundles / bundle / "models"
        source = root / stage / "weights"
        architecture = read_architecture(source / ARCHITECTURE_FILE, {})
        network = load_checkpoint(source / "model.pt", build_network(architecture))
        state = {
            name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()
        }
        with atomic_path(target / "model.pt") as temporary:
            torch.save(state, temporary)
            if (size := temporary.stat().st_size) > LARGEST_BYTES:
                raise CaseError(
                    f"{source / 'model.pt'}: {size / 1e6:.1f} MB in half precision; 20 MB may be installed."
                )
        write_json(target / ARCHITECTURE_FILE, architecture)
        installed[bundle] = sha256 = file_hash(target / "model.pt")
        card = CARD.format(
            bundle=bundle,
            anatomies=", ".join(case["id"] for case in load_cases(root / "anatomies.json")),
            training=_training(root, stage),
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            architecture=f"see {ARCHITECTURE_FILE}",
            sha256=sha256,
            figures=_figures(root, scores),
        )
        with atomic_path(target / "model_card.md") as temporary:
            temporary.write_text(card)
        print(f"{target / 'model.pt'}: {size / 1e6:.1f} MB, sha256 {sha256[:12]}")
    return {"installed": installed}


def _training(root: Path, stage: str) -> str:
    manifest = read_manifest(root / "manifests" / f"{stage}.json")
    rows = (root / stage / "learning_curve.jsonl").read_text().splitlines()
    losses = [json.loads(row)["loss"] for row in rows]
    took = timedelta(seconds=round(manifest.get("seconds", 0)))
    return f"{took} (h:m:s) in its last sitting, {len(losses)} epochs, loss {losses[0]:.2f} to {losses[-1]:.2f}."


def _figures(root: Path, scores: str | None) -> str:
    """Table of the DSC of each organ on each scan that it was scored on."""
    path = root / "scores" / f"{scores}.json"
    if scores is None:
        return "Its figures are those of fine_seg, whose region of interest it finds.\n"
    if not path.exists():
        return "Not scored on any real scan.\n"
    cases = json.loads(path.read_text())["cases"]
    names = [name for name in next(iter(cases.values()), {}) if any(case[name]["present"] for case in cases.values())]
    lines = [f"DSC on real scans:\n\n| organ | {' | '.join(cases)} |", "|---" * (len(cases) + 1) + "|"]
    for name in names:
        values = [f"{case[name]['dsc']:.3f}" if case[name]["present"] else "" for case in cases.values()]
        lines.append(f"| {name} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"
