"""nnU-Net's raw data: imagesTr/ID_0000.nii.gz, labelsTr/ID.nii.gz, perhaps imagesTs and labelsTs, and dataset.json."""

from pathlib import Path

from abdoseg.datasets import LabelConvention, named_convention
from abdoseg.files import CaseError
from tools.layouts.common import files_by_id, pair, read_dataset_json, with_convention
from tools.scans import ENDINGS, is_scan

LOOKED_FOR = "dataset.json with file_ending, imagesTr/ID_0000.nii.gz and labelsTr/ID.nii.gz"


def matches(root: Path) -> bool:
    """Whether there is a dataset.json of nnU-Net version 2 beside images."""
    return (root / "imagesTr").is_dir() and "file_ending" in read_dataset_json(root)


def find(root: Path, convention: LabelConvention | None) -> tuple[list[dict], list[dict]]:
    """Pair images with labels; dataset.json tells what the values mean, and that all were looked for."""
    dataset = read_dataset_json(root)
    ending = dataset["file_ending"]
    if ending not in ENDINGS:
        raise CaseError(f"{root / 'dataset.json'}: the files end in {ending}; convert them to {' or '.join(ENDINGS)}.")
    channels = dataset.get("channel_names") or dataset.get("modality") or {}
    if len(channels) > 1:
        raise CaseError(f"{root / 'dataset.json'}: has {len(channels)} channels; a CT scan has one.")
    convention = convention or named_convention(_values(dataset, root), str(root / "dataset.json"))
    excluded: list[dict] = []
    candidates = []
    for section, part in (("training", "Tr"), ("testing", "Ts")):
        candidates += pair(
            section,
            files_by_id(_files(root / f"images{part}", ending), "image", excluded),
            files_by_id(_files(root / f"labels{part}", ending), "label", excluded),
            excluded,
        )
    return with_convention(candidates, convention), excluded


def _files(folder: Path, ending: str) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if is_scan(path) and path.name.endswith(ending))


def _values(dataset: dict, root: Path) -> dict[str, list[int]]:
    """Names of the classes with their values; a region has several."""
    path, labels = root / "dataset.json", dataset.get("labels")
    if not isinstance(labels, dict):
        raise CaseError(f'{path}: has no \'labels\', such as {{"background": 0, "liver": 1}}.')
    if "ignore" in labels:
        raise CaseError(
            f"{path}: the label 'ignore' marks voxels that nobody looked at, and here only whole classes can "
            "be unknown; give the data set's 'labels' and 'annotated' in a datasets.yaml (docs/datasets.md)."
        )
    try:
        values = {
            name: [int(v) for v in (value if isinstance(value, list) else [value])] for name, value in labels.items()
        }
    except (TypeError, ValueError) as error:
        raise CaseError(f"{path}: 'labels' maps names to whole numbers, for example \"liver\": 1.") from error
    return {name: numbers for name, numbers in values.items() if numbers != [0]}
