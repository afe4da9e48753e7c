"""Medical Segmentation Decathlon: dataset.json lists imagesTr/ID.nii.gz with labelsTr/ID.nii.gz, and imagesTs."""

from pathlib import Path

from abdoseg.datalist import case_id
from abdoseg.datasets import LabelConvention, named_convention
from abdoseg.files import CaseError
from tools.layouts.common import exclude, files_by_id, pair, read_dataset_json, with_convention

LOOKED_FOR = "dataset.json with a list 'training', imagesTr/ID.nii.gz and labelsTr/ID.nii.gz"


def matches(root: Path) -> bool:
    """Whether there is a dataset.json that lists the training cases."""
    return isinstance(read_dataset_json(root).get("training"), list)


def find(root: Path, convention: LabelConvention | None) -> tuple[list[dict], list[dict]]:
    """Take the listed pairs; dataset.json tells what the values mean, and that all were looked for.

    The pairs of a list "validation", which MONAI's own examples have, are for testing, with their labels as truth.
    """
    path, dataset = root / "dataset.json", read_dataset_json(root)
    modality = dataset.get("modality") or "CT"
    named = modality.values() if isinstance(modality, dict) else modality if isinstance(modality, list) else [modality]
    told = list(map(str, named))
    if [name.upper() for name in told] != ["CT"]:
        raise CaseError(f"{path}: the scans are {', '.join(told)}; only data sets of CT are of use here.")
    excluded: list[dict] = []
    try:
        listed = {
            part: [(case["image"], case["label"]) for case in dataset.get(part) or []]
            for part in ("training", "validation")
        }
        tests = [case["image"] if isinstance(case, dict) else str(case) for case in dataset.get("test", [])]
        names = dict(dataset["labels"])
    except (TypeError, KeyError, ValueError) as error:
        raise CaseError(
            f"{path}: needs 'labels' and, in 'training' and 'validation', an \"image\" and a \"label\" for each case."
        ) from error
    try:
        values: dict[str, list[int]] = {}
        for value, name in names.items():
            if int(value):
                values.setdefault(str(name), []).append(int(value))
    except ValueError as error:
        raise CaseError(f'{path}: \'labels\' maps whole numbers to names, for example "1": "liver".') from error
    convention = convention or named_convention(values, str(path))
    candidates = []
    for section, part in (("training", "training"), ("testing", "validation")):
        images = files_by_id(_present([image for image, _ in listed[part]], root, "image", excluded), "image", excluded)
        labels = files_by_id(_present([label for _, label in listed[part]], root, "label", excluded), "label", excluded)
        candidates += pair(section, images, labels, excluded)
    candidates += pair(
        "testing", files_by_id(_present(tests, root, "image", excluded), "image", excluded), {}, excluded
    )
    return with_convention(candidates, convention), excluded


def _present(listed: list[str], root: Path, key: str, excluded: list[dict]) -> list[Path]:
    """Paths of the listed files that are there; an image may have nnU-Net's suffix _0000, which the list leaves out."""
    paths = []
    for name in listed:
        path = root / name.replace("\\", "/")  # as Python on Windows writes paths
        suffixed = path.with_name(path.name.replace(".nii", "_0000.nii"))
        if found := next((file for file in (path, suffixed) if file.is_file()), None):
            paths.append(found)
        else:
            exclude(excluded, case_id(path), key, path, "is listed in dataset.json and missing.")
    return paths
