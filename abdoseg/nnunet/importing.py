"""From a trained nnU-Net v2 model folder to the teacher's architecture and weights."""

import os
from dataclasses import dataclass

from torch import Tensor

from abdoseg.files import CaseError
from abdoseg.labels import NAMES, ORGAN_IDS, TUMOR_ID
from abdoseg.manifest import file_hash
from abdoseg.networks import build_network, complete_architecture
from abdoseg.nnunet.class_map import labels_of, read_class_map
from abdoseg.nnunet.model_folder import axes_of, find_model, plan_of
from abdoseg.nnunet.weights import convert_weights, read_nnunet_checkpoint


@dataclass(frozen=True)
class ImportedModel:
    """A teacher made of a trained nnU-Net.

    Parameters
    ----------
    architecture : complete plain data of kind "nnunet".
    state : weights of that network.
    classes : the model's name of each class, and our id; 0 for what becomes background.
    """

    architecture: dict
    state: dict[str, Tensor]
    classes: dict[str, int]

    def missing(self) -> list[str]:
        """Give the names of our organs that the model does not know."""
        return [NAMES[value] for value in ORGAN_IDS if value not in self.classes.values()]


def import_model(
    folder: str | os.PathLike,
    fold: str | None = None,
    checkpoint: str = "checkpoint_final.pth",
    class_map: str | os.PathLike | None = None,
    orientation: str | None = None,
) -> ImportedModel:
    """Turn a trained nnU-Net v2 model into the teacher.

    The order of the axes goes into the weights and the order of the classes into the last layers; the rest of what
    nnU-Net does before and after its network stands in the plan under "imported", where the inferer reads it.

    Parameters
    ----------
    folder : with plans.json, dataset.json and fold_X/.
    fold, checkpoint : see ``find_model``.
    class_map : see ``read_class_map``.
    orientation : how the training scans were stored, for example "LPS"; None where nnU-Net's reader turned them to RAS.

    Raises
    ------
    CaseError
        If the model is incomplete, or has what the teacher cannot do the same way; the message names it.
    """
    model = find_model(folder, fold, checkpoint)
    labels = labels_of(model.dataset, model.path)
    ids = read_class_map(class_map, labels)
    content = read_nnunet_checkpoint(model.checkpoint)
    try:
        plan = plan_of(model, content["configuration"], orientation, content["mirrored"])
    except KeyError as error:
        raise CaseError(f"{model.path}: plans.json lacks the key {error}; it was not written by nnU-Net v2.") from error
    # Background first, our classes in the order of their ids, then what becomes background too.
    channels = sorted(range(len(ids)), key=lambda channel: (channel > 0 and ids[channel] == 0, ids[channel], channel))
    plan["classes"] = max(len(ORGAN_IDS), *ids) + 1
    plan["imported"] |= {
        "class_ids": [ids[channel] for channel in channels],
        "class_names": [labels[channel] for channel in channels],
        "source": {
            "dataset": model.plans.get("dataset_name"),
            "trainer": content["trainer"],
            "plans": model.plans.get("plans_name"),
            "configuration": content["configuration"],
            "fold": model.fold,
            "epoch": None if content["epoch"] is None else int(content["epoch"]),
            "checkpoint": model.checkpoint.name,
            "sha256": file_hash(model.checkpoint),
        },
    }
    try:
        architecture = complete_architecture({"kind": "nnunet", "plan": plan, "out_channels": len(ids)})
        network = build_network(architecture)
    except ValueError as error:
        raise CaseError(f"{model.path}: the teacher cannot be built like it: {error}") from error
    axes = axes_of(model.plans["transpose_forward"], plan["imported"]["orientation"])
    state = convert_weights(content["network_weights"], network.state_dict(), axes, channels, str(model.checkpoint))
    return ImportedModel(architecture, state, dict(zip(labels[1:], ids[1:], strict=True)))


def describe(model: ImportedModel) -> list[str]:
    """Say in a few lines what was imported."""
    plan, classes = model.architecture["plan"], model.classes
    source, recipe = plan["imported"]["source"], plan["imported"]
    found = [f"{name} -> {value} {NAMES[value]}" for name, value in classes.items() if value]
    dropped = [name for name, value in classes.items() if not value]
    lines = [
        f"model:    {source['dataset']}, {source['trainer']}, {source['configuration']}, fold {source['fold']}, "
        f"epoch {source['epoch']}",
        f"scans:    {' x '.join(f'{edge:.4g}' for edge in plan['spacing'])} mm (x, y, z), {recipe['orientation']}; "
        f"mirrored: {', '.join(recipe['mirror_axes']) or 'no'}",
        f"classes:  {'; '.join(found)}",
    ]
    if dropped:
        lines.append(
            f"becomes background: {len(dropped)} classes ({', '.join(dropped[:8])}{', ...' * (len(dropped) > 8)})"
        )
    if missing := model.missing():
        lines.append(f"not known to this model: {', '.join(missing)}; its labels will have none of these")
    if TUMOR_ID in classes.values():
        lines.append("a merge takes no tumor from a teacher")
    return lines
