"""The starter weights that bundles come with: where they are, what they were learned from, what they are not for."""

import json
from pathlib import Path

from abdoseg.files import CaseError
from tools.chain import BUNDLES

STARTER = "starter"  # abdoseg.networks.STARTER_FOLDER, which takes seconds to import
STARTER_FILE = "starter.json"
PURPOSE = "labels to look at and to correct, not for diagnosis or any other clinical use"


def starter_folder(bundle: str, bundles: Path = BUNDLES) -> Path:
    """Folder of a bundle's starter weights; CaseError if there are none."""
    folder = bundles / bundle / "models" / STARTER
    if not (folder / "model.pt").is_file():
        raise CaseError(
            f"{folder} holds no starter weights; train some by `python -m tools starter` and `starter --install`."
        )
    return folder


def read_starter(checkpoint: Path, sha256: str) -> dict | None:
    """What is known of a checkpoint of starter weights: ``bundle``, ``sha256``, ``anatomies``; None if it is none.

    Raises
    ------
    CaseError
        If the checkpoint is another file than the one that its ``starter.json`` tells of.
    """
    path = checkpoint.with_name(STARTER_FILE)
    if not path.is_file():
        return None
    told = json.loads(path.read_text())
    if told["sha256"] != sha256:
        raise CaseError(
            f"{checkpoint} is not the file that {path.name} beside it tells of; restore both, or delete {path.name}."
        )
    return told


def starter_notice(checkpoint: Path, sha256: str) -> str | None:
    """What to tell whoever labels with a checkpoint, None if it is no starter's; raises what `read_starter` does."""
    told = read_starter(checkpoint, sha256)
    if told is None:
        return None
    return f"Starter weights of {told['bundle']}, learned from synthetic CT of {told['anatomies']} alone: {PURPOSE}."
