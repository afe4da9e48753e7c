"""Faults that a scan's voxels show: values that are not finite, or not Hounsfield units."""

import hashlib
import os

import numpy as np

from abdoseg.checks.faults import Fault, fault

LOWEST_HU, HIGHEST_HU = -4096, 4095  # the histogram's ends; what lies beyond is counted there
STEP = 2  # the histogram takes every second voxel along the first two axes
FEWEST_BELOW_FAT = 0.001  # share of voxels below -50 HU: fat and air are a tenth of any scan of a body
FEWEST_TISSUE = 0.01  # share from -200 to 200 HU: a child in the middle of a wide field of view has 0.03
FEWEST_AIR = 0.0005  # share from -1100 to -900 HU
PROFILE_HU = 1000  # copies of a scan may differ in what is clipped or padded beyond -1000..1000 HU


class ImageTally:
    """What the checks need of a scan, added up slab by slab.

    Parameters
    ----------
    shape : (x, y, z) of the whole volume.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.histogram = np.zeros(HIGHEST_HU - LOWEST_HU + 1, np.int64)
        self.voxels = self.not_finite = 0
        self.lowest, self.highest = np.inf, -np.inf
        self._profiles = [np.zeros(size, np.int64) for size in shape]

    def add(self, start: int, slab: np.ndarray) -> None:
        """Add the slices from ``start`` on: (x, y, n) numbers of any real type."""
        self.voxels += slab.size
        if slab.dtype.kind == "f":
            finite = np.isfinite(slab)
            wrong = slab.size - int(np.count_nonzero(finite))
            if wrong:
                self.not_finite += wrong
                slab = np.where(finite, slab, 0)
        self.lowest, self.highest = min(self.lowest, float(slab.min())), max(self.highest, float(slab.max()))
        whole = np.rint(slab) if slab.dtype.kind == "f" else slab
        sample = np.clip(whole[::STEP, ::STEP], LOWEST_HU, HIGHEST_HU).astype(np.int64) - LOWEST_HU
        self.histogram += np.bincount(sample.ravel(order="K"), minlength=self.histogram.size)
        clipped = np.clip(whole, -PROFILE_HU, PROFILE_HU).astype(np.int16)
        over_x = clipped.sum(axis=0, dtype=np.int64)
        self._profiles[0] += clipped.sum(axis=(1, 2), dtype=np.int64)
        self._profiles[1] += over_x.sum(axis=1)
        self._profiles[2][start : start + slab.shape[2]] += over_x.sum(axis=0)

    def fingerprint(self) -> str:
        """Give a text that is the same for the same voxels, whatever the header, compression or orientation.

        It is a hash of the sums over each slice along the three axes, in whole HU clipped to -1000..1000: turning or
        mirroring a volume only reverses or exchanges these. Two scans that differ in one voxel have different texts,
        as far as the difference survives rounding and clipping; resampled or cropped copies are not recognized.
        """
        sums = (min(profile.tobytes(), profile[::-1].tobytes()) for profile in self._profiles)
        digest = hashlib.sha256()
        for content in sorted(sums, key=lambda content: (len(content), content)):
            digest.update(len(content).to_bytes(8, "little") + content)
        return digest.hexdigest()[:32]


def image_faults(path: str | os.PathLike, tally: ImageTally) -> list[Fault]:
    """Give the faults of a scan whose voxels have been added up."""
    faults = []
    if tally.not_finite:
        what = f"holds NaN or infinite values (voxels: {tally.not_finite})"
        faults.append(fault("not_finite", path, what, "fill them with -1024 (air) or convert the scan anew"))
    if tally.not_finite < tally.voxels:
        faults += hu_faults(path, tally.histogram, tally.lowest, tally.highest)
    return faults


def hu_faults(path: str | os.PathLike, histogram: np.ndarray, lowest: float, highest: float) -> list[Fault]:
    """Tell whether values are Hounsfield units: air at -1000, fat at -100, soft tissue at 0 to 100.

    Parameters
    ----------
    path : what the sentences name.
    histogram : voxels (or a sample of them) at each whole HU from `LOWEST_HU` to `HIGHEST_HU`.
    lowest, highest : least and largest value of the scan.
    """
    total = max(int(histogram.sum()), 1)

    def share(start: int, stop: int) -> float:
        """Voxels from ``start`` up to ``stop``, both counted."""
        return histogram[start - LOWEST_HU : stop - LOWEST_HU + 1].sum() / total

    convert = "convert the scan from its DICOM files"
    if lowest == highest:
        return [fault("not_hu", path, f"all voxels have the value {lowest:g}", convert)]
    found = f"values from {lowest:g} to {highest:g}"
    # Stored CT numbers lie 1024 (or 1000) above HU: fat and soft tissue at 900 to 1150, where a CT has next to nothing.
    if share(900, 1150) > max(0.1, share(100, 800)):
        remedy = "subtract the offset, or apply the rescale intercept of the DICOM files"
        return [fault("hu_offset", path, f"soft tissue lies at about 1024 instead of 0 HU ({found})", remedy)]
    if share(LOWEST_HU, -50) < FEWEST_BELOW_FAT:
        kind = "a scan cut to a window or normalized" if highest <= 255 else "another modality such as MR"
        return [fault("not_hu", path, f"no voxel lies at air or fat ({found}); it looks like {kind}", convert)]
    if share(-200, 200) < FEWEST_TISSUE:
        if share(-1250, -850) > 0.1 and share(LOWEST_HU, -1500) > 0.05:
            remedy = "add it back: the rescale intercept was applied twice"
            return [fault("hu_offset", path, f"soft tissue lies at about -1024 instead of 0 HU ({found})", remedy)]
        return [fault("not_hu", path, f"no soft tissue at 0 HU ({found})", convert)]
    if share(-1100, -900) < FEWEST_AIR:
        remedy = "use the scan before it was cut to a window or to the body"
        return [fault("no_air", path, f"no air at -1000 HU in or around the body ({found})", remedy)]
    return []
