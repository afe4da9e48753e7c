"""The steps of the chains whose growth is measured, each on a folder of tiny scans that it makes itself."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import nibabel as nib
import numpy as np
import yaml

from abdoseg.files import atomic_path, write_json, write_label_map
from abdoseg.phantom import KINDS, PhantomSettings, allocate, make_case, partial_label

PHANTOMS = 4
THINNED = (4, 4, 2)  # every so many voxels of a demo phantom are kept along (x, y, z): about 25 x 25 x 30 stay
NOISE_HU = 10
NETWORK = {"kind": "residual_unet", "channels": [4, 8], "image_size": [16, 16, 16]}
# Laid over coarse_seg's train.yaml.
OVERLAY = {"num_workers": 0, "image_size": NETWORK["image_size"], "architecture": NETWORK}


@dataclass(frozen=True)
class Step:
    """Something that is measured.

    Parameters
    ----------
    work : called with the folder, in a process of its own.
    anew : files and folders in it that go before.
    """

    work: Callable[[Path], object]
    anew: tuple[str, ...] = ()


def make_cases(folder: Path, count: int) -> None:
    """Write a data set of so many training cases in FLARE23's layout, with its kinds of labels; what is there stays.

    The scans are four phantoms thinned out, each in noise of its own: the audit takes no two for the same. Label maps
    and pseudo labels are hard links to those of the four phantoms, and are opened and read under their own names.
    """
    made = folder / "made.json"
    if made.exists():
        return
    phantoms = [_thinned(seed) for seed in range(PHANTOMS)]
    kinds = chain.from_iterable([name] * number for name, number in allocate(count, max(2, count // 10)).items())
    for number, kind in enumerate(kinds):
        image, truth, organs, like = phantoms[number % PHANTOMS]
        name, template = f"G{number:06d}", f"{number % PHANTOMS}"
        path = folder / "data" / "imagesTr" / f"{name}_0000.nii.gz"
        if not path.exists():
            noise = np.random.default_rng(number).normal(0, NOISE_HU, image.shape)
            with atomic_path(path) as temporary:
                nib.save(nib.Nifti1Image((image + noise).astype(np.int16), like.affine), temporary)
        label = folder / "data" / "labelsTr" / f"{name}.nii.gz"
        _link(label, folder / f"templates/{template}_{kind}.nii.gz", partial_label(KINDS[kind], truth, organs), like)
        _link(folder / "pseudo" / f"{name}.nii.gz", folder / f"templates/{template}.nii.gz", organs, like)
    write_json(made, {"cases": count})


@cache
def _thinned(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, nib.Nifti1Image]:
    """Image, truth, organs and grid of a small phantom."""
    case = make_case(seed, PhantomSettings(tumors=True, missing=frozenset(), complete=True, orientation="RAS"))
    kept = tuple(slice(None, None, step) for step in THINNED)
    image, truth, organs = (np.ascontiguousarray(volume[kept]) for volume in (case.image, case.truth, case.organs))
    return image, truth, organs, nib.Nifti1Image(image, case.affine @ np.diag([*THINNED, 1.0]))


def _link(path: Path, template: Path, labels: np.ndarray, like: nib.Nifti1Image) -> None:
    if not template.exists():
        write_label_map(template, labels, like)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(template)


def _chain_start(folder: Path) -> None:
    from tools.chain import data_signature

    data_signature(folder / "data")


def _audit(folder: Path) -> None:
    from tools.audit import audit

    audit(str(folder / "data"), str(folder / "audit"), num_threads=1)


def _data_list(folder: Path) -> None:
    from abdoseg.datalist import load_cases

    load_cases(folder / "audit" / "datalist.json")


def _plan(folder: Path) -> None:
    from tools.plan import plan

    plan(str(folder / "audit" / "datalist.json"), str(folder / "plan.json"), kind="all", workers=1)


def _merge(folder: Path) -> None:
    from abdoseg.merging import MergeCases

    MergeCases(folder / "audit" / "datalist.json", folder / "pseudo", folder / "merged").run()


def _training(folder: Path):
    """Workflow of the coarse stage on the merged labels."""
    from tools.chain import Stage
    from tools.workflow import workflow_of

    overlay = folder / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(OVERLAY))
    arguments = {
        "datalist": str(folder / "merged" / "datalist.json"),
        "ckpt_dir": str(folder / "training" / "weights"),
        "output_dir": str(folder / "training"),
    }
    stage = Stage("coarse", None, "coarse_seg", "training", ("train.yaml", str(overlay)), arguments)
    workflow = workflow_of(stage)
    workflow.initialize()
    return workflow.parser.get_parsed_content


def _training_start(folder: Path) -> None:
    """All up to the first batch."""
    content = _training(folder)
    content("train#trainer")
    next(iter(content("train#dataloader")))


def _epoch(folder: Path) -> None:
    """Every batch of an epoch; no network runs."""
    for _ in _training(folder)("train#dataloader"):
        pass


def _predict(folder: Path) -> None:
    from tools.chain import BUNDLES
    from tools.predict import predict

    weights = folder / "weights"
    if not weights.exists():
        _write_weights(weights)
    data, output = folder / "data" / "imagesTr", folder / "predictions"
    predict(str(BUNDLES / "coarse_seg"), str(data), str(output), str(weights), device="cpu", engine="torch")


def _write_weights(folder: Path) -> None:
    import torch

    from abdoseg.networks import build_network, write_architecture, write_state

    torch.manual_seed(0)
    network = build_network(NETWORK)
    write_architecture(folder / "architecture.json", network.architecture)
    write_state(folder / "model.pt", network.state_dict())


def _evaluate(folder: Path) -> None:
    from tools.evaluate import evaluate

    evaluate(
        str(folder / "pseudo"),
        str(folder / "data" / "labelsTr"),
        str(folder / "scores.json"),
        strict=True,
        annotated=str(folder / "audit" / "datalist.json"),
        section="training",
        num_workers=0,
    )


# In the order in which they need each other. "again": what is done already is not done again; of the predictions one is
# missing.
STEPS = {
    "chain_start": Step(_chain_start),
    "audit": Step(_audit, ("audit",)),
    "audit_again": Step(_audit),
    "data_list": Step(_data_list),
    "plan": Step(_plan, ("plan.json",)),
    "merge": Step(_merge, ("merged",)),
    "merge_again": Step(_merge),
    "training_start": Step(_training_start, ("training",)),
    "first_epoch": Step(_epoch, ("training",)),
    "epoch": Step(_epoch),
    "predict": Step(_predict, ("predictions",)),
    "predict_again": Step(_predict, ("predictions/G000000.nii.gz",)),
    "evaluate": Step(_evaluate, ("scores.json",)),
}
