"""One phantom patient, scanned: image, complete truth, tissue map, affine and what a reader should know about them."""

from dataclasses import dataclass, field

import numpy as np

from abdoseg.labels import ORGAN_IDS, TUMOR_ID
from abdoseg.phantom import organs as anatomy
from abdoseg.phantom.contrast import PHASES, random_contrast
from abdoseg.phantom.grid import Grid, random_pose
from abdoseg.phantom.paint import Canvas
from abdoseg.phantom.scanner import acquire, paint_table, random_scan
from abdoseg.phantom.shapes import Difference, Ellipsoid
from abdoseg.phantom.structures import FAT, LUNG, TABLE, VESSEL, Structure
from abdoseg.phantom.trunk import CENTER_Y, paint_trunk, random_trunk, regions
from abdoseg.phantom.tumors import draw_tumors

SIZES = ("demo", "full")
ATTEMPTS = 12
SLAB_VOXELS = 2_000_000  # bounds the memory at full size: about 0.4 GB of temporaries


PAINTED_FIRST = (
    "liver",
    "portal vein trunk",
    "portal vein",
    "portal branch",
    "right hepatic vein",
    "middle hepatic vein",
    "left hepatic vein",
    "spleen",
    "stomach",
    "right kidney",
    "right kidney sinus",
    "left kidney",
    "left kidney sinus",
    "duodenum",
    "pancreas",
    "gallbladder",
    "right adrenal gland",
    "left adrenal gland",
)


class PhantomError(ValueError):
    """Settings that no phantom can be made with; the message names the setting and the allowed values."""


@dataclass(frozen=True)
class PhantomSettings:
    """What to make.

    Parameters
    ----------
    size : ``"demo"`` (80-104 voxels in-plane of about 3.5-4.5 mm, 48-72 slices) or ``"full"`` (512 x 512, slices of
        1-5 mm).
    difficulty : 0..1; scales noise, variation of shapes and overlap of the organs' HU.
    tumors : True (at least one), False (none) or None (by chance, half of the scans).
    missing : organ ids that this patient lacks, or None to draw them (gallbladder 10%, one kidney 2%).
    complete : the scan must show every organ that the patient has, and a voxel count of each that is worth labelling.
    phase : ``"plain"``, ``"arterial"``, ``"portal"`` or None to draw it.
    orientation : axis codes such as ``"LPS"`` in which the scan is stored, or None to draw them.
    cut_rate : share of the scans that start or end within the abdomen (never for ``complete``).
    """

    size: str = "demo"
    difficulty: float = 0.5
    tumors: bool | None = None
    missing: frozenset[int] | None = None
    complete: bool = False
    phase: str | None = None
    orientation: str | None = None
    cut_rate: float = 0.15

    def __post_init__(self):
        if self.size not in SIZES:
            raise PhantomError(f"Unknown phantom size '{self.size}'. Use 'demo' or 'full'.")
        if not 0 <= self.difficulty <= 1:
            raise PhantomError(f"The difficulty is {self.difficulty}; it must lie in 0..1.")
        if self.phase is not None and self.phase not in PHASES:
            raise PhantomError(f"Unknown contrast phase '{self.phase}'. Use {', '.join(PHASES)}.")
        if self.orientation is not None and sorted(map("RLAPSI".index, self.orientation)) not in _AXIS_CHOICES:
            raise PhantomError(f"Unknown orientation '{self.orientation}'. Use three axis codes, as in 'LPS'.")
        if self.missing is not None and not set(self.missing) <= set(ORGAN_IDS):
            raise PhantomError(f"The missing organs are {sorted(self.missing)}; they must be among 1..13.")


_AXIS_CHOICES = [[x, y, z] for x in (0, 1) for y in (2, 3) for z in (4, 5)]


@dataclass
class PhantomCase:
    """A scan in its stored orientation.

    Parameters
    ----------
    image : (x, y, z) int16 HU.
    truth : (x, y, z) uint8, complete truth: 0 background, 1..13 organs, 14 tumor.
    organs : (x, y, z) uint8, the same without tumor: a tumor's voxels carry its host organ, 0 outside organs.
    tissues : (x, y, z) uint8, `abdoseg.phantom.TISSUES`; the organs as in ``truth``.
    affine : (4, 4) voxel indices -> world mm, RAS+.
    info : plain data: phase, orientation, spacing, shape, missing organs, organs outside the scan, tumors.
    """

    image: np.ndarray
    truth: np.ndarray
    organs: np.ndarray
    tissues: np.ndarray
    affine: np.ndarray
    info: dict = field(default_factory=dict)


def make_case(seed, settings: PhantomSettings | None = None) -> PhantomCase:
    """Make one phantom scan.

    Parameters
    ----------
    seed : int, sequence of ints, or `numpy.random.Generator`; the same seed and settings give the same arrays.
    settings : `PhantomSettings`; None for the defaults.

    Returns
    -------
    PhantomCase in its stored orientation; two settings that differ only in ``orientation`` give the same world content.

    Raises
    ------
    PhantomError
        If a wanted tumor or organ is not seen in any of ``ATTEMPTS`` patients.
    """
    settings = settings or PhantomSettings()
    if isinstance(seed, np.random.Generator):
        seed = seed.integers(0, 2**32, 4)
    for attempt in range(ATTEMPTS):
        case = _attempt(np.random.SeedSequence([*np.atleast_1d(seed).tolist(), attempt]), settings)
        if case is not None:
            return case
    raise PhantomError(f"Seed {seed}: no patient in {ATTEMPTS} shows what {settings} asks for; allow more.")


def _attempt(sequence: np.random.SeedSequence, settings: PhantomSettings) -> PhantomCase | None:
    body_rng, look_rng, scan_rng, tumor_rng, noise_rng = (np.random.default_rng(s) for s in sequence.spawn(5))
    variation = 0.4 + 1.2 * settings.difficulty
    missing = _missing(body_rng, settings)
    pose, trunk = random_pose(body_rng, variation), random_trunk(body_rng)
    contrast = random_contrast(look_rng, settings.phase, settings.difficulty)
    jitter = anatomy.Jitter(body_rng, variation)
    solid = anatomy.solid_organs(jitter, contrast, missing)
    pipes = anatomy.vessels(jitter, contrast)
    gut = anatomy.gut(jitter, contrast)
    bowel = anatomy.bowel(jitter, contrast)
    width = 2 * (trunk.half_width + trunk.muscle + 0.75 * trunk.fat) * pose.scale[0]
    depth = 2 * (trunk.half_depth + trunk.muscle + 6 + 0.8 * trunk.fat) * pose.scale[1]
    scan = random_scan(scan_rng, settings, width, depth, pose.scale[2])
    z_axis = scan.axes()[2] / pose.scale[2]
    everything = {**solid, **pipes, **gut, **{item.name: item for item in bowel}}
    everything = {name: item for name, item in everything.items() if item.organ not in missing or item.organ == 0}
    hosts = {name: item.shape for name, item in everything.items()} | {"lung": None}
    hosts["colon"] = everything[
        str(tumor_rng.choice(["colon ascending", "colon transverse", "colon descending"]))
    ].shape
    tumors = draw_tumors(
        tumor_rng, settings.tumors, hosts, trunk, contrast, (z_axis[0], z_axis[-1]), settings.difficulty
    )
    order = _order(everything, bowel, tumors)
    ras = _paint(order, scan, pose, trunk, contrast, depth)
    organs, tissues, hu, tumor = ras
    truth = np.where(tumor > 0, np.uint8(TUMOR_ID), organs)
    counts = np.bincount(truth.ravel(), minlength=15)
    if (settings.tumors and counts[TUMOR_ID] < 8) or (settings.complete and not _complete(counts, truth, missing)):
        return None
    image = acquire(hu, scan, noise_rng)
    stored = [scan.stored(volume)[0] for volume in (image, truth, organs, tissues)]
    affine = scan.stored(image)[1]
    voxel = float(np.prod(scan.spacing))
    sizes = np.bincount(tumor.ravel(), minlength=len(tumors) + 1)
    info = {
        "phase": contrast.phase,
        "orientation": scan.orientation,
        "shape": list(stored[0].shape),
        "spacing": [round(float(s), 4) for s in np.linalg.norm(affine[:3, :3], axis=0)],
        "missing": sorted(missing),
        "not_in_view": [organ for organ in ORGAN_IDS if counts[organ] == 0 and organ not in missing],
        "tumors": [
            {"host": t.host, "volume_mm3": round(float(sizes[i + 1]) * voxel, 1)}
            for i, t in enumerate(tumors)
            if sizes[i + 1]
        ],
    }
    return PhantomCase(*stored, affine, info)


def _missing(rng: np.random.Generator, settings: PhantomSettings) -> set[int]:
    chance, side = rng.random(2), int(rng.choice([2, 13]))
    if settings.missing is not None:
        return set(settings.missing)
    return ({9} if chance[0] < 0.10 else set()) | ({side} if chance[1] < 0.02 else set())


def _complete(counts: np.ndarray, truth: np.ndarray, missing: set[int]) -> bool:
    """Every organ that the patient has is seen, and none of the solid ones is cut at the ends of the scan."""
    seen = all(counts[organ] >= 12 for organ in ORGAN_IDS if organ not in missing)
    ends = np.isin(truth[:, :, [0, -1]], (2, 3, 4, 7, 8, 9, 13)).any()
    return bool(seen and not ends)


def _order(items: dict[str, Structure], bowel: list[Structure], tumors) -> list[tuple[Structure, int]]:
    """Painting order: later ones replace earlier ones; every tumor comes right after its host."""
    named = [item.name for item in bowel]
    sequence = [*dict.fromkeys(named), *PAINTED_FIRST]
    by_name: dict[str, list[Structure]] = {name: [items[name]] for name in sequence if name in items}
    for name in dict.fromkeys(named):
        by_name[name] = [item for item in bowel if item.name == name]
    rest = [name for name in items if name not in by_name]
    order = []
    for name in [*by_name, *rest]:
        order += [(item, 0) for item in by_name.get(name, [items.get(name)])]
        hosts = {"colon descending": ("colon", "lung", "lymph node")}.get(name, (name,))
        order += [(t.structure, i + 1) for i, t in enumerate(tumors) if t.host in hosts]
    return order


def _paint(order, scan, pose, trunk, contrast, depth):
    axes = scan.axes()
    volumes = [np.empty(scan.shape, kind) for kind in (np.uint8, np.uint8, np.float32, np.uint8)]
    slab = max(1, SLAB_VOXELS // (scan.shape[0] * scan.shape[1]))
    heart = _heart()
    table_y = (CENTER_Y - 11 + 0.12 * trunk.fat) * pose.scale[1] - depth / 2 - 3
    for start in range(0, scan.shape[2], slab):
        here = [axes[0], axes[1], axes[2][start : start + slab]]
        grid = Grid.of(pose, here)
        canvas = Canvas(grid, regions(trunk, grid), edge=max(1.2, 0.8 * scan.spacing[0]), fat=contrast.hu["fat"])
        paint_trunk(canvas, trunk, contrast)
        for shape, value in heart:
            canvas.paint(
                Structure("mediastinum", shape, contrast.hu[value], 0, VESSEL, within="trunk", over=(LUNG, FAT, VESSEL))
            )
        for item, number in order:
            canvas.paint(item, number)
        paint_table(canvas.hu, canvas.tissues, here, table_y, TABLE)
        for volume, part in zip(volumes, (canvas.organs, canvas.tissues, canvas.hu, canvas.tumor), strict=True):
            volume[:, :, start : start + slab] = part
    return volumes


def _heart():
    return [
        (Difference(Ellipsoid((-6, 30, 150), (36, 44, 90)), []), "fat"),
        (Ellipsoid((-24, 82, 146), (60, 42, 50), (0, 12, 20)), "heart"),
    ]
