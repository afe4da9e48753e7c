"""Make synthetic CT scans with their labels from tissue maps, or give real scans another contrast phase."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from tqdm import tqdm

from abdoseg.files import CaseError, atomic_path, is_of_the_disk, write_json, write_label_map
from abdoseg.nifti import in_file_order, write_nifti
from tools.faults import reason_of

VERSION = 2  # counts changes that change the bytes
SETTINGS_FILE = "synthetic.json"
MOST_IN_PICTURE = 12


def synthesize(
    output_dir: str,
    input: str | None = None,  # noqa: A002 - the name that all commands have
    cases: int = 8,
    seed: int = 0,
    spacing: float | tuple = 2.0,
    phase: str | None = None,
    tumor_share: float = 0.6,
    phantoms: int = 0,
    scans: str | None = None,
) -> dict:
    """Render CT scans from tissue maps: random shape, contrast phase, look, tumors, missing organs and scanner.

    OUTPUT_DIR gets images/synthetic_0001_0000.nii.gz with labels/synthetic_0001.nii.gz and so on (13 organs and tumor),
    a data set that `audit` and `run` take; overview.png, a picture of the first twelve; and synthetic.json with what
    was drawn for each. The same options give the same bytes. A second call makes what is missing.

    With --scans, INPUT holds label maps of real scans: these scans are taken, and the drawn organs get the HU of
    another phase (as the training transform RandRecontrastd does); the rest of each scan and the labels stay.

    docs/synthesis.md tells what a tissue map is.

    Args:
        output_dir: Folder to write to.
        input: Tissue map (.nii or .nii.gz), or a folder of them, in any orientation and spacing. With --scans, label
            maps ID.nii.gz.
        cases: Number of scans to make; the tissue maps take turns.
        seed: Any whole number from 0.
        spacing: Voxel size of the scans in mm, one number or three as x,y,z. Not for --scans.
        phase: "plain", "arterial", "portal" or "late"; by default it varies.
        tumor_share: Share of the scans that have tumors, 0 to 1. Not for --scans.
        phantoms: Take so many procedural patients beside INPUT, or instead of it.
        scans: Folder of the scans of the label maps, ID_0000.nii.gz or ID.nii.gz.

    Returns:
        {"images": paths of the scans, "failed": {id: reason} of those that could not be made}.
    """
    from abdoseg.synthesis.contrast import PHASES

    if phase is not None and phase not in PHASES:
        raise CaseError(f"Unknown phase {phase!r}. Use one of: {', '.join(PHASES)}.")
    if not cases > 0 or seed < 0 or phantoms < 0:
        raise CaseError(f"cases is {cases}, seed {seed}, phantoms {phantoms}; they must be at least 1, 0 and 0.")
    if not 0 <= tumor_share <= 1:
        raise CaseError(f"tumor_share is {tumor_share}; it must be a number from 0 to 1.")
    size = tuple(spacing) if isinstance(spacing, tuple | list) else (spacing,) * 3
    if len(size) != 3 or not all(isinstance(edge, int | float) and edge > 0 for edge in size):
        raise CaseError(f"spacing is {spacing}; give one number above 0, or three as x,y,z, in mm.")
    if scans is not None:
        if input is None:
            raise CaseError("--scans needs --input, the folder of the label maps of these scans.")
        sources = _pairs(Path(input), Path(scans))
        make = partial(_recontrast, phase=phase)
    else:
        sources = _anatomies(None if input is None else Path(input), Path(output_dir), phantoms, seed)
        make = _Renderer(tuple(map(float, size)), phase, tumor_share)
    settings = {
        "version": VERSION,
        "sources": sorted(sources),
        "seed": seed,
        "spacing": None if scans else list(map(float, size)),
        "phase": phase,
        "tumor_share": None if scans else tumor_share,
    }
    return _make(Path(output_dir), sources, make, settings, cases)


def _pairs(labels: Path, scans: Path) -> dict:
    """Label maps with their scans: id -> (label map, scan)."""
    from tools.scans import find_scans

    images = find_scans(scans)
    found = {name: (path, images[name]) for name, path in find_scans(labels).items() if name in images}
    if not found:
        raise CaseError(f"{labels} and {scans} have no id in common; a label map ID.nii.gz belongs to ID_0000.nii.gz.")
    return found


def _anatomies(source: Path | None, output: Path, phantoms: int, seed: int) -> dict:
    """Tissue maps by name, those of phantoms written beside the output."""
    from tools.anatomies import find_tissue_maps, write_phantom_maps

    if source is None and not phantoms:
        raise CaseError("There is nothing to render; give --input, tissue maps, or --phantoms, a number of patients.")
    found = {} if source is None else find_tissue_maps(source)
    return found | write_phantom_maps(output / "phantoms", phantoms, seed)


class _Renderer:
    """Renders one scan from a tissue map; keeps the last anatomy, which the next case may share."""

    def __init__(self, spacing, phase: str | None, tumor_share: float) -> None:
        self.spacing, self.phase, self.tumor_share = spacing, phase, tumor_share
        self.anatomies: dict = {}

    def __call__(self, path: Path, rng: np.random.Generator):
        from abdoseg.synthesis import apply, draw, told
        from tools.anatomies import load_anatomy

        if path not in self.anatomies:
            self.anatomies[path] = load_anatomy(path, max(1.5, min(2.0, *self.spacing)))
        anatomy = self.anatomies[path]
        parameters = draw(rng, anatomy, "scan", None, self.spacing, phase=self.phase, tumor_share=self.tumor_share)
        case = apply(anatomy, parameters)
        affine = np.diag([*parameters.frame.spacing, 1.0])
        affine[:3, 3] = [axis[0] for axis in parameters.frame.axes()]
        return case.image, case.label, affine, told(case, parameters)


def _recontrast(pair: tuple[str, str], rng: np.random.Generator, phase: str | None):
    """Give a real scan another phase, on its own grid."""
    from abdoseg.label_maps import grid_difference, open_volume, read_label_map
    from abdoseg.nifti import scan_voxels
    from abdoseg.synthesis import draw_contrast, recontrast

    label, like = read_label_map(pair[0])
    scan = open_volume(pair[1])
    if difference := grid_difference(like, scan):
        raise CaseError(f"{pair[0]}: {difference}; a label map must lie on the grid of its scan {pair[1]}.")
    contrast = draw_contrast(rng, phase)
    image = recontrast(scan_voxels(scan, pair[1]), label, contrast)
    return image, label, scan.affine, {"phase": contrast.phase, "classes": sorted(set(np.unique(label).tolist()) - {0})}


def _make(root: Path, sources: dict, make: Callable, settings: dict, cases: int) -> dict:
    told = _earlier(root / SETTINGS_FILE, settings)
    names = sorted(sources)
    paths, failed = {}, {}
    for number in tqdm(range(1, cases + 1), desc="synthesize", unit="scan"):
        name = f"synthetic_{number:04d}"
        image_path, label_path = root / "images" / f"{name}_0000.nii.gz", root / "labels" / f"{name}.nii.gz"
        if not (name in told and image_path.is_file() and label_path.is_file()):
            source = names[(number - 1) % len(names)]
            try:
                image, label, affine, what = make(sources[source], np.random.default_rng([settings["seed"], number]))
            except Exception as error:  # any fault of one scan must not cost the others theirs
                if is_of_the_disk(error):
                    raise
                failed[name] = reason_of(error, source)
                tqdm.write(f"set aside: {failed[name]}")
                continue
            _write(image_path, label_path, image, label, affine)
            told[name] = {"source": source, **what}
            write_json(root / SETTINGS_FILE, {"settings": settings, "cases": dict(sorted(told.items()))})
        paths[name] = (str(image_path), str(label_path))
    if not paths:
        raise CaseError(f"Not one scan could be made; the first reason: {next(iter(failed.values()))}")
    from tools.contact_sheet import contact_sheet

    picture = contact_sheet(list(paths.values())[:MOST_IN_PICTURE])
    with atomic_path(root / "overview.png") as temporary:
        temporary.write_bytes(picture)
    print(f"{len(paths)} scans with labels in {root}; look at {root / 'overview.png'}")
    return {"images": [image for image, _ in paths.values()], "failed": failed}


def _earlier(path: Path, settings: dict) -> dict:
    """What an earlier call with the same settings has told of its scans."""
    if not path.is_file():
        return {}
    content = json.loads(path.read_text())
    if content["settings"] != settings:
        raise CaseError(f"{path.parent} holds scans that were made with other options; give another folder.")
    return content["cases"]


def _write(image_path: Path, label_path: Path, image: np.ndarray, label: np.ndarray, affine: np.ndarray) -> None:
    header = nib.Nifti1Header()
    header.set_xyzt_units("mm")
    header.set_data_dtype(np.int16)
    voxels = np.clip(np.rint(image), -1024, 3071).astype(np.int16)
    stored = nib.Nifti1Image(in_file_order(voxels), affine, header)
    stored.set_sform(affine, code=1)
    stored.set_qform(affine, code=1)
    write_label_map(label_path, label, stored)
    with atomic_path(image_path) as temporary:
        write_nifti(temporary, stored)
