"""One scan at several lengths, so that a benchmark shows how cost grows with slices."""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import zoom

from abdoseg.files import CaseError
from abdoseg.label_maps import open_volume

# Slices of the case at which the project states its times; one of paper A's Table 6 has as many.
SLICES = 129


def scans_of_lengths(scan: Path, lengths: Sequence[int] | None, folder: Path) -> dict[int, str]:
    """Write a scan with several numbers of slices.

    It is resampled along z to 129 slices (linearly, same extent in mm). Shorter scans are the middle of that, longer
    ones that and its mirror images by turns, of the same spacing.

    Parameters
    ----------
    scan : NIfTI file of one volume whose third axis goes along the body.
    lengths : wanted slices; None: the scan as it is, compressed.
    folder : for the files.

    Returns
    -------
    slices -> file, in the order of ``lengths``.

    Raises
    ------
    CaseError
        If a length is under 2, or the scan is no volume or lies on its side.
    """
    image = open_volume(scan)
    if lengths is None:
        path = folder / "scan.nii.gz"
        if scan.name.endswith(".gz"):
            path.symlink_to(scan.absolute())
        else:
            nib.save(image, path)
        return {image.shape[2]: str(path)}
    if min(lengths) < 2:
        raise CaseError(f"--slices is {','.join(map(str, lengths))}; use numbers of 2 and more.")
    if nib.aff2axcodes(image.affine)[2] not in "SI":
        raise CaseError(f"{scan}: its third axis does not go along the body; give one stored in axial slices.")
    files = {length: folder / f"slices{length}.nii.gz" for length in lengths}
    volume = np.asanyarray(image.dataobj)
    factor = SLICES / volume.shape[2]
    volume = zoom(volume.astype(np.float32), (1, 1, factor), order=1, grid_mode=True, mode="nearest")
    volume = np.round(volume).astype(np.int16)
    affine = image.affine.copy()
    affine[:3, 2] /= factor
    for length, path in files.items():
        nib.save(nib.Nifti1Image(volume[:, :, slices_of(length)], affine), path)
    return {length: str(path) for length, path in files.items()}


def slices_of(length: int) -> np.ndarray:
    """Indices of the middle ``length`` of 129 slices, or, where that is more, there and back as often as it takes."""
    if length <= SLICES:
        return np.arange(length) + (SLICES - length) // 2
    there_and_back = np.concatenate([np.arange(SLICES), np.arange(SLICES)[::-1]])
    return np.resize(there_and_back, length)
