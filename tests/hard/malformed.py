"""Malformed files from a seed: what disks, converters, people and attackers leave where a NIfTI file should be."""

import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

HEADER = nib.nifti1.header_dtype
HEADER_BYTES = HEADER.itemsize
NUMBERS = (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e-30, 1e30, 3.4e38, -7.5)
MIB = 1 << 20
BOMB_MIB = 640  # more than a case may take: the child's limit lies at 512 MiB above what it has

NAMES = (
    "scan_{}",
    "1e{}",
    "a b  c{}",
    "zwölf-肝臓-{}",
    "\u202egnirts\u0301-\U0001f9e0{}",
    "<img src=x onerror=alert({})>",
    "<script>alert({})<&>",
    "quote\"'`{}",
    "%s%n{{0}}$HOME{}",
    "--output={}",
    "line\nbreak\ttab{}",
    "star*[a]?,;{}",
    "back\\slash{}",
    os.fsdecode(b"latin-\xe4\xff-{}"),
    "long-{}-" + "x" * 220,
    "lang-{}-" + "ü" * 110,
)


def random_name(rng: np.random.Generator) -> str:
    """An id that a file system takes, whether or not a person would."""
    return NAMES[rng.integers(len(NAMES))].replace("{}", str(rng.integers(1000)), 1)


def raw_bytes(path: Path) -> bytes:
    """Bytes of a NIfTI file, unpacked."""
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def write_raw(path: Path, raw: bytes) -> None:
    """Write the bytes of a NIfTI file, packed where its name says so."""
    path.write_bytes(gzip.compress(raw, 1) if path.suffix == ".gz" else raw)


def with_header(path: Path, **fields) -> None:
    """Replace fields of a NIfTI file's header, by whatever they hold."""
    raw = raw_bytes(path)
    header = np.frombuffer(raw[:HEADER_BYTES], HEADER).copy()
    with np.errstate(all="ignore"):
        for name, value in fields.items():
            header[name] = value
    write_raw(path, header.tobytes() + raw[HEADER_BYTES:])


def header_of(path: Path) -> np.ndarray:
    return np.frombuffer(raw_bytes(path)[:HEADER_BYTES], HEADER)[0]


def flip_bits(content: bytes, rng: np.random.Generator, start: int = 0, stop: int | None = None) -> bytes:
    """Flip one to eight bits between two bytes."""
    changed = bytearray(content)
    for place in rng.integers(start, min(stop or len(content), len(content)), rng.integers(1, 9)):
        changed[place] ^= 1 << rng.integers(8)
    return bytes(changed)


def truncated(path: Path, rng: np.random.Generator) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.integers(len(content))])


def truncated_inside(path: Path, rng: np.random.Generator) -> None:
    raw = raw_bytes(path)
    write_raw(path, raw[: rng.integers(len(raw))])


def flipped_file(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(flip_bits(path.read_bytes(), rng))


def flipped_header(path: Path, rng: np.random.Generator) -> None:
    write_raw(path, flip_bits(raw_bytes(path), rng, 0, HEADER_BYTES + 4))


def flipped_voxels(path: Path, rng: np.random.Generator) -> None:
    write_raw(path, flip_bits(raw_bytes(path), rng, HEADER_BYTES + 4))


def dimensions(path: Path, rng: np.random.Generator) -> None:
    dim = header_of(path)["dim"].copy()
    for axis in rng.choice(8, rng.integers(1, 4), replace=False):
        dim[axis] = rng.choice([-32768, -1, 0, 1, 2, 3, 4, 5, 7, 8, 255, 256, 32767])
    with_header(path, dim=dim)


def other_rank(path: Path, rng: np.random.Generator) -> None:
    x, y, z = header_of(path)["dim"][1:4]
    dims = [[1, x * y, 1, 1], [2, x, y, z], [3, x, y, 1], [4, x, y, z, 1], [4, x, y, z // 2, 2], [5, x, y, z, 1, 1]]
    chosen = dims[rng.integers(len(dims))]
    with_header(path, dim=[*chosen, *[1] * (8 - len(chosen))])


def huge(path: Path, rng: np.random.Generator) -> None:
    sizes = [30000, 30000, 30000] if rng.random() < 0.5 else [32767, 32767, int(rng.integers(1, 40))]
    with_header(path, dim=[3, *sizes, 1, 1, 1, 1])


def no_voxels(path: Path, rng: np.random.Generator) -> None:
    dim = header_of(path)["dim"].copy()
    dim[1 + rng.integers(3)] = 0
    with_header(path, dim=dim)


def affine(path: Path, rng: np.random.Generator) -> None:
    rows = {name: header_of(path)[name].copy() for name in ("srow_x", "srow_y", "srow_z")}
    for _ in range(rng.integers(1, 5)):
        rows[rng.choice(list(rows))][rng.integers(4)] = rng.choice(NUMBERS)
    with_header(path, **rows, sform_code=rng.integers(0, 6), qform_code=rng.integers(0, 3))


def quaternion(path: Path, rng: np.random.Generator) -> None:
    fields = {name: rng.choice([*NUMBERS, 0.5, 1.0]) for name in ("quatern_b", "quatern_c", "quatern_d", "qoffset_x")}
    with_header(path, **fields, sform_code=rng.choice([0, 0, 1]), qform_code=rng.choice([1, 2, -3, 30000]))


def spacing(path: Path, rng: np.random.Generator) -> None:
    pixdim = header_of(path)["pixdim"].copy()
    for axis in rng.choice(4, rng.integers(1, 4), replace=False):
        pixdim[axis] = rng.choice(NUMBERS)
    with_header(path, pixdim=pixdim, sform_code=rng.choice([0, 0, 1]), qform_code=rng.choice([0, 1]))


def scaling(path: Path, rng: np.random.Generator) -> None:
    with_header(path, scl_slope=rng.choice(NUMBERS), scl_inter=rng.choice(NUMBERS))


def datatype(path: Path, rng: np.random.Generator) -> None:
    codes = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 77, -5]
    with_header(path, datatype=rng.choice(codes), bitpix=rng.choice([0, 1, 8, 16, 32, 64, 128, 255]))


def offset(path: Path, rng: np.random.Generator) -> None:
    with_header(path, vox_offset=rng.choice([*NUMBERS, 16, 348, 353, 1e6, 2147483648]))


def magic(path: Path, rng: np.random.Generator) -> None:
    text = rng.choice([b"n+1", b"n+2", b"ni1", b"n+9", b"", b"\xff\xff\xff\xff"])
    with_header(path, magic=text, sizeof_hdr=rng.choice([348, 540, 0, -1, 1543569408]))


def extension(path: Path, rng: np.random.Generator) -> None:
    raw = bytearray(raw_bytes(path))
    size = int(rng.choice([-16, 0, 7, 16, 1 << 20, 2147483632]))
    raw[HEADER_BYTES : HEADER_BYTES + 12] = bytes([1, 0, 0, 0]) + size.to_bytes(4, "little", signed=True) + bytes(4)
    write_raw(path, bytes(raw))
    if rng.random() < 0.5:
        with_header(path, vox_offset=HEADER_BYTES + 4 + 16)


def values(path: Path, rng: np.random.Generator) -> None:
    """Another type of number, with extreme values in some voxels."""
    image = nib.load(path, mmap=False)
    kind = np.dtype(rng.choice(["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">f4", "c8"]))
    with np.errstate(all="ignore"):
        array = np.asanyarray(image.dataobj).astype(kind)
        if kind.kind in "iu":
            extremes = [np.iinfo(kind).min, np.iinfo(kind).max, 15, 0]
        else:
            extremes = [np.nan, np.inf, -np.inf, np.finfo(kind).max, 2.5, -0.0]
        share = rng.choice([1e-3, 0.5, 1.0])
        array[rng.random(array.shape) < share] = rng.choice(np.array(extremes, kind))
    nib.save(nib.Nifti1Image(array, image.affine, dtype=array.dtype), path)


def nifti2(path: Path, rng: np.random.Generator) -> None:
    image = nib.load(path, mmap=False)
    nib.save(nib.Nifti2Image(np.asanyarray(image.dataobj), image.affine), path)
    if rng.random() < 0.5:
        flipped_header(path, rng)


def other_packing(path: Path, rng: np.random.Generator) -> None:
    """Packed where the name says plain, plain where it says packed, packed twice, or with something behind it."""
    content = path.read_bytes()
    kinds = [raw_bytes(path), gzip.compress(content), zlib.compress(content), content + b"\0" * 100, content * 2]
    path.write_bytes([*kinds, content + rng.bytes(100)][rng.integers(len(kinds) + 1)])


def other_content(path: Path, rng: np.random.Generator) -> None:
    contents = [b"", b"\0", b"\x1f\x8b", b"\x1f\x8b\x08", b"no scan", b"\x89PNG\r\n\x1a\n" + bytes(500)]
    contents += [b"PK\x03\x04" + bytes(100), b"<html>" * 100, rng.bytes(1000), bytes(2000), b"\x80\x04cos\nsystem\n."]
    path.write_bytes(contents[rng.integers(len(contents))])


def directory(path: Path, rng: np.random.Generator) -> None:
    path.unlink()
    path.mkdir()
    if rng.random() < 0.5:
        (path / "inside.nii.gz").write_bytes(b"x")


def symlink_loop(path: Path, rng: np.random.Generator) -> None:
    path.unlink()
    other = path.with_name("loop") if rng.random() < 0.5 else path
    path.symlink_to(other)
    if other != path:
        other.symlink_to(path)


def link_to_nowhere(path: Path, rng: np.random.Generator) -> None:
    path.unlink()
    path.symlink_to(rng.choice(["gone.nii.gz", "/dev/null", "/dev/zero", "..", "/proc/self/mem"]))


def pipe(path: Path, rng: np.random.Generator) -> None:
    """Nobody ever writes into it: who opens it waits."""
    path.unlink()
    os.mkfifo(path)


def no_permission(path: Path, rng: np.random.Generator) -> None:
    path.chmod(0)


def bomb(path: Path, rng: np.random.Generator) -> None:
    """Small on the disk, and honestly as large as its header says: zeros, packed piece by piece."""
    slices = BOMB_MIB * MIB // (1024 * 1024 * 2)
    with_header(path, dim=[3, 1024, 1024, slices, 1, 1, 1, 1], datatype=4, bitpix=16, scl_slope=1, scl_inter=0)
    if path.suffix != ".gz":
        return  # then it is cut short
    head = raw_bytes(path)[: HEADER_BYTES + 4]
    path.write_bytes(gzip.compress(head) + gzip.compress(bytes(MIB)) * BOMB_MIB)


FILE_FAULTS: dict[str, tuple[Callable[[Path, np.random.Generator], None], float]] = {
    function.__name__: (function, weight)
    for function, weight in (
        (truncated, 2),
        (truncated_inside, 1),
        (flipped_file, 3),
        (flipped_header, 6),
        (flipped_voxels, 1),
        (dimensions, 3),
        (other_rank, 1),
        (huge, 1),
        (no_voxels, 1),
        (affine, 3),
        (quaternion, 2),
        (spacing, 2),
        (scaling, 2),
        (datatype, 2),
        (offset, 2),
        (magic, 1),
        (extension, 1),
        (values, 3),
        (nifti2, 1),
        (other_packing, 1),
        (other_content, 2),
        (directory, 1),
        (symlink_loop, 1),
        (link_to_nowhere, 1),
        (pipe, 1),
        (no_permission, 0.5),
        (bomb, 0.1),
    )
}


def spoil(path: Path, rng: np.random.Generator) -> str:
    """Do one thing to a healthy NIfTI file; give its name."""
    weights = np.array([weight for _, weight in FILE_FAULTS.values()])
    name = rng.choice(list(FILE_FAULTS), p=weights / weights.sum())
    FILE_FAULTS[name][0](path, rng)
    return str(name)
