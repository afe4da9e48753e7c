"""Weights that take the teacher's place in a chain, or that its training starts from."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from abdoseg.files import CaseError, atomic_path, write_json
from tools.starter_weights import STARTER, starter_folder

FILES = ("model.pt", "architecture.json")
PLANNED = ("plan_patch_size", "plan_spacing", "plan_batch_size")  # what weights have decided already


def with_teacher(parameters: Mapping) -> dict:
    """Parameters of a chain in which ``teacher``, a word or a folder, has become the folder ``teacher_weights``.

    Raises
    ------
    CaseError
        If there are no such weights, a trained nnU-Net is to be the teacher too, or a plan is asked for.
    """
    teacher = parameters.get("teacher")
    if not isinstance(teacher, str):  # paper B's chain has a parameter of this name, true or false
        return dict(parameters)
    if parameters.get("teacher_model") is not None:
        raise CaseError(f"--teacher {teacher} and --teacher_model both name the teacher; give one of them.")
    if planned := [name for name in PLANNED if parameters.get(name) is not None]:
        raise CaseError(
            f"--{planned[0]} is for a teacher trained from scratch; --teacher {teacher} keeps the plan of its weights. "
            "Leave one of them out."
        )
    folder = starter_folder("teacher_nnunet") if teacher == STARTER else Path(teacher).absolute()
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise CaseError(
            f"{folder / missing[0]} does not exist; --teacher takes {STARTER!r}, or a folder that teacher_nnunet was "
            "trained into."
        )
    return {name: value for name, value in parameters.items() if name != "teacher"} | {"teacher_weights": str(folder)}


def start_teacher(weights: str, plan: str | None = None, output: str | None = None) -> dict:
    """Take weights for the teacher of a chain.

    Args:
        weights: Folder with model.pt and architecture.json, as bundles/teacher_nnunet is trained into.
        plan: Plan to write (.json) for a training that goes on from the weights, which mirrors scans.
        output: Folder to copy the weights into, where they are the teacher as they are.
    """
    from abdoseg.networks import ARCHITECTURE_FILE, read_architecture  # imports torch and MONAI, which takes seconds

    source = Path(weights)
    architecture = read_architecture(source / ARCHITECTURE_FILE, {})
    content = architecture.get("plan")
    if architecture["kind"] != "nnunet" or "imported" in content or content["classes"] != 14:
        raise CaseError(
            f"{source} holds no weights that teacher_nnunet was trained into, of 13 organs; --teacher_model takes an "
            "nnU-Net of others."
        )
    if plan is not None:
        write_json(Path(plan), {name: value for name, value in content.items() if name != "mirror_axes"})
    if output is not None:
        for name in FILES:
            with atomic_path(Path(output) / name) as temporary:
                shutil.copyfile(source / name, temporary)
    return {}
