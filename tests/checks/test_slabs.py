"""Reading in slabs gives what nibabel gives, whatever the type; broken files are told."""

import gzip
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from abdoseg.checks import ImageTally, LabelTally, read_slabs
from abdoseg.files import CaseError

SHAPE = (5, 7, 11)
VALUES = np.random.default_rng(0).integers(-1000, 1000, SHAPE)


def save(path, values, scale=None):
    image = nib.Nifti1Image(values, np.diag([-1.0, 2, 3, 1]))
    if scale:
        image.header.set_slope_inter(*scale)
    nib.save(image, path)
    return nib.load(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["i2", ">i2", "i4", "f4", ">f8", "u1"])
@pytest.mark.parametrize("slab_voxels", [1, 80, 1 << 22])
def test_slabs_are_the_volume(tmp_path, ending, dtype, slab_voxels):
    values = (abs(VALUES) % 200 if dtype == "u1" else VALUES).astype(dtype)
    path = tmp_path / f"scan{ending}"
    image = save(path, values)
    found = list(read_slabs(path, image, slab_voxels))
    assert [start for start, _ in found] == list(range(0, 11, {1: 1, 80: 2}.get(slab_voxels, 11)))
    assert np.array_equal(np.concatenate([slab for _, slab in found], axis=2), values)
    assert all(slab.dtype == np.dtype(dtype).newbyteorder("=") for _, slab in found)


def test_the_header_scales_the_values(tmp_path):
    image = save(tmp_path / "scan.nii.gz", VALUES.astype(np.int16), scale=(0.5, -24))
    slabs = [slab for _, slab in read_slabs(tmp_path / "scan.nii.gz", image, 100)]
    assert np.array_equal(np.concatenate(slabs, axis=2), np.asarray(nib.load(tmp_path / "scan.nii.gz").dataobj))
    assert slabs[0].dtype.kind == "f"


def peak_of_a_pass(path, slices: int) -> int:
    """Most bytes at a time while a scan and its label are read and tallied in slabs of eight slices."""
    image = save(path, np.random.default_rng(0).integers(0, 14, (64, 64, slices)).astype(np.int16))
    scan, labels = ImageTally(image.shape), LabelTally(path, image.shape)
    tracemalloc.start()
    for start, slab in read_slabs(path, image, 8 * 64 * 64):
        scan.add(start, slab)
        labels.add(start, slab)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_a_scan_eight_times_as_long_takes_no_more_memory(tmp_path):
    assert peak_of_a_pass(tmp_path / "long.nii.gz", 512) < 1.2 * peak_of_a_pass(tmp_path / "short.nii.gz", 64)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[:-20], "cannot be read, the file is broken or cut short"),
        (lambda content: gzip.compress(gzip.decompress(content)[:-10]), "cut short, it holds 1112 of 1122 bytes"),
        (lambda content: content[:-8] + bytes(4) + content[-4:], "CRC check failed"),
    ],
)
def test_broken_files(tmp_path, damage, words):
    path = tmp_path / "scan.nii.gz"
    image = save(path, VALUES.astype(np.int16))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CaseError, match=words) as raised:
        list(read_slabs(path, image, 100))
    assert str(raised.value).startswith(f"{path}: ")
