"""Turn a trained nnU-Net into the teacher, so that it can label scans without a training."""

from pathlib import Path

from abdoseg.files import CaseError

FORMATS = ("nnunet",)


def import_(
    format: str,  # noqa: A002 - what the command line calls it
    model: str,
    output: str,
    fold: str | None = None,
    checkpoint: str = "checkpoint_final.pth",
    class_map: str | None = None,
    orientation: str | None = None,
) -> dict:
    """Turn a trained nnU-Net v2 model into weights of bundles/teacher_nnunet.

    `python -m tools import nnunet nnUNet_results/Dataset007_CT/nnUNetTrainer__nnUNetPlans__3d_fullres --output W`
    writes W/model.pt and W/architecture.json; `python -m tools predict bundles/teacher_nnunet SCANS LABELS --weights W`
    labels with them as nnU-Net itself would, on its own spacing and with its own resampling. `python -m tools run
    two_stage --teacher_model MODEL ...` is paper A's chain with such a teacher in place of a training.

    One fold of a 3d_fullres or 3d_lowres model of one CT channel is taken. The checkpoint is read without running any
    code in it.

    Args:
        format: "nnunet".
        model: Folder with plans.json, dataset.json and fold_X/.
        output: Folder for model.pt and architecture.json.
        fold: Which fold, for example 0 or all; needed where there are several.
        checkpoint: Name of the file in the fold's folder, or fold_X/NAME.
        class_map: YAML or JSON file, names or ids of the model's classes to ours, for example "kidney_right: right
            kidney"; what it does not name becomes background. Without it the names decide, in any order of words
            (kidney_right, adrenal_gland_left, oesophagus, postcava, ...).
        orientation: How the training scans were stored, for example LPS, RAS or LAS; needed where nnU-Net read them
            with a reader that does not turn them (RAS for models of TotalSegmentator).
    """
    if format not in FORMATS:
        raise CaseError(f"Unknown format {format!r}. Use {' or '.join(map(repr, FORMATS))}.")
    from abdoseg.networks import ARCHITECTURE_FILE, write_architecture, write_state  # imports torch: seconds
    from abdoseg.nnunet.importing import describe, import_model

    imported = import_model(model, fold, checkpoint, class_map, orientation)
    target = Path(output)
    write_architecture(target / ARCHITECTURE_FILE, imported.architecture)
    write_state(target / "model.pt", imported.state)
    print(*describe(imported), f"weights: {target / 'model.pt'}", sep="\n")
    return {"weights": str(target), "classes": imported.classes}
