"""The teacher beside nnunetv2's predictor, same weights, same scan: time, memory and agreement."""

import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from abdoseg.files import CaseError
from abdoseg.label_maps import read_label_map
from abdoseg.networks import ARCHITECTURE_FILE, read_architecture
from tools.benchmark_scans import scans_of_lengths
from tools.chain import BUNDLES
from tools.import_ import import_
from tools.nnunet_peer import NnunetPeer, write_nnunet_model
from tools.turns import compare_by_turns
from tools.warm_process import WarmProcess, predictor_for

PEER = "nnunetv2"


def benchmark_teacher(
    weights: str,
    scan: str,
    repeats: int = 3,
    slices: Sequence[int] | None = None,
    pause: float = 0.1,
    gpu: int = 0,
) -> dict:
    """Label one scan by turns with nnunetv2's predictor and with the teacher, each in a warm process of its own.

    Without test-time augmentation, from file to file, the first scan of each not counted. The teacher follows nnU-Net
    to the letter: its resampling, its windows, its precision, no components.

    Parameters
    ----------
    weights : folder with ``model.pt`` and ``architecture.json`` of a teacher of this project's own training, which is
        written as an nnU-Net model for the purpose; or the folder of a model that nnU-Net has trained (plans.json), of
        which fold 0 is taken.
    scan : NIfTI file.
    repeats : rounds.
    slices : lengths that the scan is brought to, see `scans_of_lengths`; None takes it as it is.
    pause, gpu : see `WarmProcess`.

    Returns
    -------
    ``{"weights", "scan", "threads", "pause_s", "lengths": {slices: see `compare_by_turns`}}``

    Raises
    ------
    CaseError
        If nnunetv2 is not installed, the weights are of another kind, or an arm fails.
    """
    if find_spec(PEER) is None:
        raise CaseError(f"benchmark teacher needs {PEER}; install it by: pip install -e '.[test]'")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        root = Path(folder)
        model = Path(weights).absolute()
        if not (model / "plans.json").is_file():
            model = root / "model"
            write_nnunet_model(Path(weights), model)
        imported = str(root / "weights")
        import_("nnunet", str(model), imported, fold="0")
        # nnU-Net runs in half precision on a GPU alone.
        settings = {"mirror_axes": [], "components": None, "amp": device == "cuda"}
        makers = {
            PEER: partial(NnunetPeer, str(model), device),
            "teacher": partial(predictor_for, str(BUNDLES / "teacher_nnunet"), imported, settings),
        }
        scans = scans_of_lengths(Path(scan), slices, root)
        processes = {
            name: stack.enter_context(WarmProcess(partial(make, str(root / name)), pause, gpu))
            for name, make in makers.items()
        }
        ids = _class_ids(model, Path(imported))

        def labels_of(arm: str, file: str) -> np.ndarray:
            labels = read_label_map(root / arm / file)[0]
            return ids[labels] if arm == PEER else labels

        lengths = {
            length: compare_by_turns(processes, path, repeats, PEER, partial(labels_of, file=Path(path).name))
            for length, path in scans.items()
        }
    return {
        "weights": str(Path(weights).absolute()),
        "scan": str(scan),
        "threads": torch.get_num_threads(),
        "pause_s": pause,
        "lengths": lengths,
    }


def _class_ids(model: Path, imported: Path) -> np.ndarray:
    """Give our class id of each label of an nnU-Net model."""
    recipe = read_architecture(imported / ARCHITECTURE_FILE, None)["plan"]["imported"]
    ours = dict(zip(recipe["class_names"], recipe["class_ids"], strict=True))
    labels = json.loads((model / "dataset.json").read_text())["labels"]
    ids = np.zeros(256, dtype=np.uint8)
    for name, value in labels.items():
        ids[int(value)] = ours.get(name, 0)
    return ids
