"""A data set with planted faults among healthy scans: small phantoms, each damaged in one way or in none."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from abdoseg.labels import ORGAN_IDS
from abdoseg.phantom import PhantomSettings, make_case

WEAK = (1, 2, 3, 4, 13)
FLARE, DECLARED = "flare", "declared"
LABEL_FOLDERS = {
    f"{FLARE}/imagesTr2200": f"{FLARE}/labelsTr2200",
    f"{FLARE}/unlabelTr1800": f"{FLARE}/none",
    f"{FLARE}/validation": f"{FLARE}/truth",
    f"{DECLARED}/images": f"{DECLARED}/labels",
}
TRAINING, UNLABELED, TESTING, PLAIN = LABEL_FOLDERS
SETTINGS = PhantomSettings(tumors=False, missing=frozenset(), complete=True, orientation="RAS", cut_rate=0)


@dataclass
class Pair:
    """A scan with its label as they will be written: arrays, affines, and what else a header can say."""

    image: np.ndarray
    label: np.ndarray
    affine: np.ndarray
    label_affine: np.ndarray
    image_qform: np.ndarray | None = None
    label_qform: np.ndarray | None = None
    codes: int = 1
    image_zooms: tuple[float, float, float] | None = None


def phantoms() -> list[Pair]:
    """Two phantoms of about 45 x 45 x 30 voxels of 8 mm, RAS, with 13 organs."""
    pairs = []
    for seed in range(2):
        case = make_case([seed, 77], SETTINGS)
        affine = case.affine @ np.diag([2, 2, 2, 1])
        pairs.append(Pair(case.image[::2, ::2, ::2], case.truth[::2, ::2, ::2], affine, affine.copy()))
    return pairs


class Planter:
    """Writes cases in the FLARE23 layout and in a plain pair of folders; each has its own noise: no scan occurs twice.

    The first data set leaves the annotated classes to the strong rule, the second one declares them.
    """

    def __init__(self, root: Path, pairs: list[Pair]) -> None:
        self.root, self.pairs, self.number = root, pairs, 0
        self.expected: dict[str, tuple[set[str], str]] = {}  # id -> kinds of faults, ending of the named file's name
        self.healthy: list[str] = []

    def pair(self, classes=ORGAN_IDS) -> Pair:
        """A new healthy case in memory."""
        self.number += 1
        base = self.pairs[self.number % len(self.pairs)]
        noise = np.random.default_rng(self.number).normal(0, 10, base.image.shape)
        image = np.clip(base.image + noise, -1024, 3000).astype(np.int16)
        label = np.where(np.isin(base.label, classes), base.label, 0).astype(np.uint8)
        return Pair(image, label, base.affine.copy(), base.affine.copy())

    def paths(self, name: str, folder: str = TRAINING, ending: str = ".nii.gz") -> tuple[Path, Path]:
        labels = LABEL_FOLDERS[folder]
        return self.root / folder / f"{name}_0000{ending}", self.root / labels / f"{name}.nii.gz"

    def write(self, name: str, pair: Pair, folder: str = TRAINING, ending: str = ".nii.gz", label=True) -> None:
        image_path, label_path = self.paths(name, folder, ending)
        save(image_path, pair.image, pair.affine, pair.image_qform, pair.codes, pair.image_zooms)
        if label and folder != UNLABELED:
            save(label_path, pair.label, pair.label_affine, pair.label_qform, pair.codes)

    def add_healthy(self, name: str, change: Callable[[Pair], None] | None = None, classes=ORGAN_IDS, **where) -> None:
        pair = self.pair(classes)
        if change:
            change(pair)
        self.write(name, pair, **where)
        self.healthy.append(name)

    def plant(
        self, name: str, kinds: str, part: str, change: Callable[[Pair], None], classes=ORGAN_IDS, **where
    ) -> None:
        """Write a case that is changed in memory; ``kinds`` are separated by spaces, ``part`` is the file at fault."""
        pair = self.pair(classes)
        change(pair)
        self.write(name, pair, **where)
        self._expect(name, kinds, part, **where)

    def damage(self, name: str, kinds: str, part: str, change: Callable[[Path], None]) -> None:
        """Write a healthy case and change one of its files."""
        self.write(name, self.pair())
        change(self.paths(name)[part == "label"])
        self._expect(name, kinds, part)

    def repeat(self, name: str, original: str, change: Callable[[Pair], None], folders: tuple[str, str]) -> None:
        """Write one scan as two cases, in two folders; the fault is that of ``name``."""
        pair = self.pair()
        self.write(original, pair, folders[0])
        change(pair)
        self.write(name, pair, folders[1])
        self.healthy.append(original)
        self._expect(name, "duplicate", "image", folders[1])

    def _expect(self, name: str, kinds: str, part: str, folder: str = TRAINING) -> None:
        self.expected[name] = set(kinds.split()), self.paths(name, folder)[part == "label"].name


def save(
    path: Path,
    values: np.ndarray,
    affine: np.ndarray,
    qform: np.ndarray | None = None,
    codes: int = 1,
    zooms: tuple[float, float, float] | None = None,
) -> None:
    """Write a file; without a qform of its own it has the sform's, where a qform can hold that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(values, None)  # nibabel does not take every affine that it reads
    image.header.set_xyzt_units("mm")
    if zooms is None:
        zooms = np.linalg.norm(affine if qform is None else qform, axis=0)[:3]
    image.header.set_zooms([*zooms, *[1] * values.ndim][: values.ndim])
    image.header.set_sform(affine, codes)
    if qform is not None or (is_rigid(affine) and tuple(zooms) == tuple(np.linalg.norm(affine, axis=0)[:3])):
        image.header.set_qform(affine if qform is None else qform, codes)
    nib.save(image, path)


def is_rigid(affine: np.ndarray) -> bool:
    """Whether a qform can hold it: voxel axes of some length at right angles."""
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if not sides.all():
        return False
    axes = affine[:3, :3] / sides
    return bool(np.allclose(axes.T @ axes, np.eye(3), atol=1e-4))


def turn(pair: Pair, codes: str, label: bool = True) -> None:
    """Store image and label in another orientation; the world stays as it was."""
    wanted = nib.orientations.axcodes2ornt(codes)
    transform = nib.orientations.ornt_transform(nib.orientations.io_orientation(pair.affine), wanted)
    inverse = nib.orientations.inv_ornt_aff(transform, pair.image.shape)
    pair.image, pair.affine = nib.orientations.apply_orientation(pair.image, transform), pair.affine @ inverse
    if label:
        pair.label = nib.orientations.apply_orientation(pair.label, transform)
        pair.label_affine = pair.affine.copy()


def both(pair: Pair, matrix: np.ndarray) -> None:
    """Multiply both affines from the left: another place in the world."""
    pair.affine = matrix @ pair.affine
    pair.label_affine = matrix @ pair.label_affine


def rotation(degrees: float) -> np.ndarray:
    """About the z axis, then a little about x."""
    turned = np.eye(4)
    for first, second, angle in ((0, 1, np.radians(degrees)), (1, 2, np.radians(degrees / 3))):
        step = np.eye(4)
        step[[first, second], [first, second]] = np.cos(angle)
        step[first, second], step[second, first] = -np.sin(angle), np.sin(angle)
        turned = step @ turned
    return turned


def swap(pair: Pair, *pairs: tuple[int, int]) -> None:
    table = np.arange(256, dtype=np.uint8)
    for first, second in pairs:
        table[[first, second]] = second, first
    pair.label = table[pair.label]


def set_values(**changes) -> Callable[[Pair], None]:
    """Replace attributes of a pair by what the functions give for it."""

    def change(pair: Pair) -> None:
        for name, function in changes.items():
            setattr(pair, name, function(pair))

    return change


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def short_inside(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-100]))


def fill(value: float) -> Callable[[Pair], np.ndarray]:
    """Image as floating-point numbers with one voxel of the value."""

    def filled(pair: Pair) -> np.ndarray:
        image = pair.image.astype(np.float32)
        image[5, 6, 7] = value
        return image

    return filled


def with_voxel(value: float, dtype) -> Callable[[Pair], np.ndarray]:
    """Label with one voxel of the value."""

    def changed(pair: Pair) -> np.ndarray:
        label = pair.label.astype(dtype)
        label[5, 6, 7] = value
        return label

    return changed


def tilted(pair: Pair, degrees: float) -> None:
    shear = np.eye(4)
    shear[1, 2] = np.tan(np.radians(degrees))
    both(pair, shear)
