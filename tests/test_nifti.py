"""Voxels are read as nibabel reads them, whatever the file stores, and label maps written as nibabel writes them."""

import gzip
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from abdoseg.files import write_label_map
from abdoseg.nifti import READ_ERRORS, copy_planes, in_file_order, scan_voxels, stored_voxels, write_nifti

SHAPE = (7, 5, 70)  # more slices than one slab has
AFFINE = np.diag([0.8, 0.8, 2.5, 1.0])


def store(path, kind: str, slope=None, inter=None, shape=SHAPE, limits=None, extension=False):
    """Write a file with exactly this type, slope and intercept; its values fill the type's range, or ``limits``."""
    rng = np.random.default_rng(0)
    kind = np.dtype(kind)
    if kind.kind == "f":
        stored = rng.normal(0, 1000, shape).astype(kind)
    else:
        low, high = limits or (max(np.iinfo(kind).min, -(2**40)), min(np.iinfo(kind).max, 2**40))
        stored = rng.integers(low, high, shape, endpoint=True).astype(kind)
    image = nib.Nifti1Image(
        np.zeros(shape, kind), AFFINE, nib.Nifti1Header(endianness=">" if kind.str[0] == ">" else "<"), dtype=kind
    )
    if extension:
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"longer than a header" * 9))
    nib.save(image, path)
    offset = nib.load(path).dataobj.offset
    content = bytearray(content_of(path))
    content[offset:] = stored.tobytes(order="F")
    if slope is not None:  # scl_slope and scl_inter of the header
        content[112:120] = np.array([slope, inter], f"{image.header.endianness}f4").tobytes()
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return nib.load(path)


def content_of(path) -> bytes:
    """Content of a file, inflated by the standard library."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


# Type, slope, intercept -> type in memory.
STORED = [
    ("<i2", None, None, "i2"),
    (">i2", None, None, "i2"),
    ("<i2", 1, -1024, "f4"),  # the whole range of int16 less 1024 does not fit into int16
    ("|i1", 1, -1024, "i2"),
    ("<i2", 2, 10, "f4"),
    (">i2", 0.3, -7.7, "f4"),
    ("|u1", None, None, "u1"),
    ("<u2", None, None, "f4"),
    ("<u2", 1, -0.5, "f4"),
    ("<i4", None, None, "i4"),
    ("<i8", None, None, "f4"),
    ("<f4", None, None, "f4"),
    (">f4", 0.1, 3, "f4"),
    ("<f8", None, None, "f4"),
]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("kind", "slope", "inter", "kept"), STORED)
def test_values_are_nibabels_bit_for_bit(tmp_path, kind, slope, inter, kept, ending):
    path = tmp_path / f"scan{ending}"
    image = store(path, kind, slope, inter)
    expected = np.asanyarray(image.dataobj)
    assert len(np.unique(expected)) > 100
    found = scan_voxels(image, path)
    assert found.dtype == np.dtype(kept)
    assert found.flags.c_contiguous
    assert np.array_equal(found.astype(np.float32), expected.astype(np.float32))
    again = stored_voxels(image, path)
    assert again.dtype == expected.dtype
    assert np.array_equal(again, expected)


def test_a_ct_with_an_intercept_stays_int16(tmp_path):
    path = tmp_path / "scan.nii.gz"
    image = store(path, "<u2", 1, -1024, limits=(0, 4095))
    assert image.dataobj.inter == -1024
    found = scan_voxels(image, path)
    assert found.dtype == np.int16
    assert -1024 <= found.min() < 0
    assert np.array_equal(found, np.asanyarray(image.dataobj))


def test_one_late_value_that_does_not_fit_makes_all_float(tmp_path):
    path = tmp_path / "scan.nii"
    stored = np.random.default_rng(0).integers(0, 4096, SHAPE).astype(np.uint16)
    stored[-1, -1, -1] = 40000
    nib.save(nib.Nifti1Image(stored, AFFINE), path)
    found = scan_voxels(nib.load(path), path)
    assert found.dtype == np.float32
    assert np.array_equal(found, stored.astype(np.float32))


@pytest.mark.parametrize("shape", [(4, 5, 1), (1, 1, 1), (4, 5, 33, 1), (3, 2, 64, 1, 1)])
def test_any_shape_of_one_volume(tmp_path, shape):
    path = tmp_path / "scan.nii.gz"
    image = store(path, "<i2", shape=shape, extension=True)
    found = scan_voxels(image, path)
    assert found.shape == shape
    assert np.array_equal(found, np.asanyarray(image.dataobj))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("read", [scan_voxels, stored_voxels])
def test_a_file_that_ends_early(tmp_path, read, ending):
    path = tmp_path / f"scan{ending}"
    image = store(path, "<i2")
    path.write_bytes(path.read_bytes()[:-999])
    with pytest.raises((*READ_ERRORS, ValueError)):
        read(image, path)


def test_a_file_with_broken_compression(tmp_path):
    path = tmp_path / "scan.nii.gz"
    image = store(path, "<i2")
    content = bytearray(path.read_bytes())
    content[20:40] = b"\xff" * 20  # no valid block type
    path.write_bytes(content)
    with pytest.raises(READ_ERRORS):
        scan_voxels(image, path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("kind", "slope", "inter"), [("<i2", None, None), (">i2", 1, 0), ("|i1", 1, -1024)])
def test_no_second_copy_of_the_volume(tmp_path, kind, slope, inter, ending):
    path = tmp_path / f"scan{ending}"
    image = store(path, kind, slope, inter, shape=(96, 80, 400))
    tracemalloc.start()
    volume = scan_voxels(image, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert volume.nbytes == 96 * 80 * 400 * 2
    assert volume.nbytes < peak < 1.9 * volume.nbytes  # a slab of slices, float64 where there is an intercept


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_written_label_maps_are_nibabels(tmp_path, order, ending):
    labels = np.asarray(np.random.default_rng(0).integers(0, 15, SHAPE).astype(np.uint8), order=order)
    like = nib.Nifti1Image(np.zeros(SHAPE, np.int16), AFFINE)
    like.set_qform(AFFINE, code=2)
    write_label_map(tmp_path / f"ours{ending}", labels, like)
    write_label_map(tmp_path / f"again{ending}", labels, like)
    assert (tmp_path / f"ours{ending}").read_bytes() == (tmp_path / f"again{ending}").read_bytes()
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_xyzt_units("mm")
    image = nib.Nifti1Image(labels, AFFINE, header)
    image.set_sform(AFFINE, code=int(like.header["sform_code"]))
    image.set_qform(AFFINE, code=2)
    nib.save(image, tmp_path / f"nibabel{ending}")
    assert content_of(tmp_path / f"ours{ending}") == content_of(tmp_path / f"nibabel{ending}")


def test_images_of_any_type_are_written(tmp_path):
    volume = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    write_nifti(tmp_path / "a.nii.gz", nib.Nifti1Image(volume, AFFINE))
    assert np.array_equal(np.asanyarray(nib.load(tmp_path / "a.nii.gz").dataobj), volume)


def test_order_of_files():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    ordered = in_file_order(array)
    assert ordered.flags.f_contiguous
    assert np.array_equal(ordered, array)
    assert in_file_order(ordered) is ordered
    target = np.empty((2, 3, 4), np.uint8)
    copy_planes(target, ordered)
    assert target.ravel(order="K").tolist() == list(range(24))
