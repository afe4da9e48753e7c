"""Tissue maps on disk: found in a folder, read as anatomies, and written of phantoms."""

from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from monai.transforms import Compose, Orientationd

from abdoseg.datalist import case_id
from abdoseg.files import CaseError, write_label_map
from abdoseg.label_maps import HIGHEST_ID, open_volume, read_voxels
from abdoseg.synthesis import Anatomy, PrepareAnatomyd, check_tissues, head_tissues, phantom_tissues
from abdoseg.transforms import LoadScand
from tools.scans import is_scan

PHANTOM, HEAD = "phantom", "head"  # kinds of maps that are made here
PHANTOM_MM = 2.5


def find_tissue_maps(source: Path, leave_out: Sequence[str] = ()) -> dict[str, Path]:
    """Tissue maps of a folder, or one file: name -> path, in order of the names.

    Raises
    ------
    CaseError
        If there is none, a name to leave out is not there, or a file is no tissue map.
    """
    if not source.exists():
        raise CaseError(f"{source} does not exist; give a tissue map (.nii or .nii.gz), or a folder of them.")
    paths = sorted(path for path in source.iterdir() if is_scan(path)) if source.is_dir() else [source]
    found = {case_id(path): path for path in paths}
    if strange := set(leave_out) - set(found):
        raise CaseError(f"{source} holds no {', '.join(sorted(strange))} to leave out; it holds {', '.join(found)}.")
    found = {name: path for name, path in found.items() if name not in leave_out}
    if not found:
        raise CaseError(f"{source} holds no tissue map (.nii or .nii.gz).")
    for path in found.values():
        check_tissue_map(path)
    return found


def check_tissue_map(path: Path) -> None:
    """Raise a CaseError unless a file is a tissue map: organs, and what is around them."""
    values = read_voxels(open_volume(path), path)
    check_tissues(values, str(path))
    if values.max() <= HIGHEST_ID:
        raise CaseError(
            f"{path}: is a label map of organs, and nothing tells what is around them; give a tissue map, whose ids "
            f"above {HIGHEST_ID} are the other tissues, or its scans with `synthesize --scans`."
        )


def load_anatomy(path: Path, spacing: float) -> Anatomy:
    """Read a tissue map in any orientation, resampled to ``spacing`` mm."""
    load = Compose(
        [
            LoadScand("label", dtype=None, image_only=True, ensure_channel_first=True),
            Orientationd("label", axcodes="RAS", labels=None),
            PrepareAnatomyd("label", spacing),
        ]
    )
    return load({"label": str(path)})["anatomy"]


def write_phantom_maps(folder: Path, count: int, seed: int) -> dict[str, Path]:
    """Write the tissue maps of ``count`` phantoms that are not there yet: name -> path."""
    return _write_maps(folder, PHANTOM, phantom_tissues, count, seed)


def write_head_maps(folder: Path, count: int, seed: int) -> dict[str, Path]:
    """Write the tissue maps of ``count`` heads, which have no organs, that are not there yet: name -> path."""
    return _write_maps(folder, HEAD, head_tissues, count, seed)


def _write_maps(folder: Path, kind: str, make: Callable, count: int, seed: int) -> dict[str, Path]:
    paths = {f"{kind}_{seed}_{number}": folder / f"{kind}_{seed}_{number}.nii.gz" for number in range(1, count + 1)}
    for number, path in enumerate(paths.values(), 1):
        if not path.exists():
            tissues, affine = make([seed, number], PHANTOM_MM)
            write_label_map(path, tissues, nib.Nifti1Image(np.broadcast_to(np.uint8(0), tissues.shape), affine))
    return paths
