"""The planted faults: one of each kind, several twice, and healthy scans that look odd and must not be accused."""

from pathlib import Path

import nibabel as nib
import numpy as np
import yaml

from tests.tools.planted import (
    DECLARED,
    FLARE,
    PLAIN,
    TESTING,
    TRAINING,
    UNLABELED,
    WEAK,
    Pair,
    Planter,
    both,
    cut_off,
    fill,
    phantoms,
    rotation,
    set_values,
    short_inside,
    swap,
    tilted,
    turn,
    with_voxel,
)

MIRROR = np.diag([-1.0, 1, 1, 1])


def plant_all(root: Path) -> Planter:
    """Write two data sets and their datasets.yaml: healthy cases by name, faults by number from 1001 on."""
    planter = Planter(root, phantoms())
    plant_healthy(planter)
    plant_headers(planter)
    plant_values(planter)
    plant_labels(planter)
    plant_repeated(planter)
    plant_declared(planter)
    return planter


def plant_healthy(planter: Planter) -> None:
    add = planter.add_healthy
    for number in range(1, 4):
        add(f"strong{number}")
        add(f"weak{number}", classes=WEAK)
    for codes in ("LAS", "LPS", "RPI", "IPL", "PIR", "ASR"):
        add(codes, lambda pair, codes=codes: turn(pair, codes))
    add("oblique", lambda pair: both(pair, rotation(12)))
    add("oblique_LPS", lambda pair: (both(pair, rotation(-8)), turn(pair, "LPS")))
    add("far_away", lambda pair: both(pair, translation(800, -900, 1500)))
    add("thick_slices", lambda pair: thin_out(pair, (1, 1, 2)))
    add("wide_pixels", lambda pair: thin_out(pair, (2, 1, 1)))
    add("int32", set_values(image=lambda pair: pair.image.astype(np.int32)))
    add("float32", set_values(image=lambda pair: pair.image.astype(np.float32) + 0.25))
    add("big_endian", set_values(image=lambda pair: pair.image.astype(">i2"), label=lambda p: p.label.astype(">i2")))
    add("int16_label", set_values(label=lambda pair: pair.label.astype(np.int16)))
    add("padded", set_values(image=lambda pair: padded(pair.image, -2000)))
    add("metal", set_values(image=lambda pair: np.where(pair.image > 150, 15000, pair.image).astype(np.int16)))
    add("sform_only", set_values(codes=lambda pair: 2))
    add("rounded_a_little", set_values(label_affine=lambda pair: pair.affine + 1e-5))
    add("plain", ending=".nii")
    add("tumor_only", one_small_tumor)
    add("no_gallbladder", classes=[c for c in range(1, 14) if c != 9])
    # The edge of the scan cuts the liver down to a rim; its volume accuses nobody.
    add("cut_liver", lambda pair: keep_slices(pair, rim_of_liver(pair)))
    add("unlabeled", folder=UNLABELED)
    add("test", folder=TESTING)
    add("test_without_truth", folder=TESTING, label=False)
    scaled = planter.pair()
    planter.write("scaled", scaled)
    planter.healthy.append("scaled")
    image = nib.Nifti1Image((scaled.image + 1024).astype(np.uint16), scaled.affine)
    image.header.set_slope_inter(1, -1024)
    nib.save(image, planter.paths("scaled")[0])


def plant_headers(planter: Planter) -> None:
    plant, damage = planter.plant, planter.damage
    damage("1001", "unreadable", "image", cut_off)
    damage("1002", "unreadable", "label", cut_off)
    damage("1003", "unreadable", "image", short_inside)
    damage("1004", "unreadable", "label", lambda path: path.write_bytes(b""))
    damage("1005", "unreadable", "image", lambda path: path.write_text("no scan"))
    damage("1006", "layout", "image", lambda path: planter.paths("1006")[1].unlink())
    damage("1007", "layout", "label", lambda path: planter.paths("1007")[0].unlink())
    plant("1011", "dimensions", "image", set_values(image=lambda pair: np.stack([pair.image] * 2, -1)))
    plant("1012", "dimensions", "label", set_values(label=lambda pair: pair.label[..., None].repeat(3, -1)))
    plant("1013", "dimensions", "image", set_values(image=lambda pair: pair.image[:, :, 9]))
    plant("1014", "trailing_axis", "image", set_values(image=lambda pair: pair.image[..., None]))
    plant("1015", "trailing_axis", "label", set_values(label=lambda pair: pair.label[..., None]))
    plant("1016", "one_slice", "image", lambda pair: keep_slices(pair, slice(12, 13)))
    plant("1021", "affine", "image", lambda pair: both(pair, np.diag([1.0, 1, 0, 1])))
    plant("1021b", "too_long organ_volume", "image", lambda pair: both(pair, np.diag([1.0, 1, 1000, 1])))
    plant("1022", "sheared", "image", lambda pair: tilted(pair, 18.5))
    plant("1023", "sheared", "image", lambda pair: tilted(pair, 2))
    plant("1024", "sform_qform", "image", set_values(image_qform=lambda pair: MIRROR @ pair.affine))
    plant("1025", "sform_qform", "image", set_values(image_qform=lambda pair: pair.affine @ np.diag([1.0, 1, 0.5, 1])))
    plant("1026", "origin", "image", set_values(image_qform=lambda pair: translation(40, 0, 0) @ pair.affine))
    plant("1027", "no_orientation", "image", without_orientation)
    plant("1028", "spacing organ_volume", "image", lambda pair: both(pair, np.diag([0.001, 0.001, 0.001, 1])))
    plant("1029", "pixdim", "image", set_values(image_zooms=lambda pair: (1, 1, 1)))
    plant("1030", "pixdim label_header", "image", rounded_sform)
    plant("1031", "label_grid", "label", set_values(label=lambda pair: pair.label[:, :, :-3]))
    plant("1032", "label_grid", "label", set_values(label_affine=lambda pair: translation(0, 0, 30) @ pair.affine))
    plant("1033", "label_header", "label", set_values(label_affine=lambda pair: pair.affine @ translation(0.2, 0.2, 0)))
    plant("1034", "label_header", "label", rounded_label_affine)
    plant("1035", "label_header", "label", set_values(label_qform=lambda pair: MIRROR @ pair.affine))
    plant("1036", "label_turned", "label", lambda pair: turn(pair, "LPS", label=False))


def plant_values(planter: Planter) -> None:
    plant = planter.plant
    plant("1041", "not_finite", "image", set_values(image=fill(np.nan)))
    plant("1042", "not_finite", "image", set_values(image=fill(-np.inf)))
    plant("1040", "not_finite", "image", set_values(image=lambda pair: np.full(pair.image.shape, np.nan, np.float32)))
    plant("1043", "hu_offset", "image", set_values(image=lambda pair: pair.image + 1024))
    plant("1044", "hu_offset", "image", set_values(image=lambda pair: (pair.image + 1024).astype(np.uint16)))
    plant("1045", "hu_offset", "image", set_values(image=lambda pair: pair.image - 1024))
    plant("1046", "not_hu", "image", set_values(image=lambda pair: (255 * windowed(pair.image)).astype(np.uint8)))
    plant("1047", "not_hu", "image", set_values(image=lambda pair: windowed(pair.image).astype(np.float32)))
    plant("1048", "not_hu", "image", set_values(image=normalized))
    plant("1049", "not_hu", "image", set_values(image=like_mr))
    plant("1050", "not_hu", "image", set_values(image=lambda pair: np.zeros_like(pair.image)))
    plant("1051", "no_air", "image", set_values(image=lambda pair: pair.image.clip(-160, 240)))


def plant_labels(planter: Planter) -> None:
    plant = planter.plant
    plant("1061", "label_float", "label", set_values(label=lambda pair: pair.label.astype(np.float32)))
    plant("1062", "label_float", "label", set_values(label=lambda pair: pair.label.astype(np.float64) * (1 + 1e-7)))
    plant("1063", "label_fraction", "label", set_values(label=with_voxel(2.5, np.float32)))
    plant("1064", "label_fraction", "label", set_values(label=with_voxel(np.nan, np.float32)))
    plant("1065", "label_value", "label", set_values(label=with_voxel(15, np.uint8)))
    plant("1066", "label_value", "label", set_values(label=with_voxel(-1, np.int16)))
    plant("1067", "label_empty", "label", lambda pair: None, classes=())
    plant("1068", "sides_swapped", "label", lambda pair: swap(pair, (2, 13)))
    plant("1069", "sides_swapped", "label", lambda pair: swap(pair, (7, 8)))
    plant("1070", "sides_swapped", "label", lambda pair: swap(pair, (2, 13)), classes=(2, 13))
    plant("1071", "mirrored", "label", lambda pair: both(pair, MIRROR))
    plant("1072", "mirrored", "label", lambda pair: both(pair, MIRROR), classes=WEAK)
    plant("1075", "mirrored", "label", lambda pair: both(pair, np.diag([1.0, -1, 1, 1])), classes=WEAK)
    plant("1076", "mirrored", "label", lambda pair: both(pair, np.diag([1.0, 1, -1, 1])))
    plant("1077", "mirrored", "label", lambda pair: both(pair, np.diag([1.0, -1, -1, 1])))
    plant("1073", "organ_volume", "label", set_values(label=with_voxel(1, np.uint8)), classes=(3,))
    plant("1074", "organ_volume", "label", lambda pair: swap(pair, (1, 7)), classes=(1,))


def plant_repeated(planter: Planter) -> None:
    planter.repeat("1081", "0901", lambda pair: None, (TRAINING, TRAINING))
    planter.repeat("1082", "0902", lambda pair: turn(pair, "LPS"), (TRAINING, UNLABELED))
    planter.repeat("1083", "0903", lambda pair: turn(pair, "PIR"), (TESTING, TRAINING))
    planter.repeat("1084", "0904", lambda pair: both(pair, translation(10, 20, 30)), (TRAINING, TRAINING))
    planter.repeat("1085", "0905", set_values(image=lambda pair: pair.image.astype(np.float32)), (TRAINING, TRAINING))
    # A flip of the voxels that the header does not tell of.
    planter.repeat("1086", "0906", set_values(image=lambda pair: pair.image[::-1]), (TRAINING, UNLABELED))


def plant_declared(planter: Planter) -> None:
    """A data set whose declaration says that somebody looked for liver and spleen, and for nothing else."""
    planter.add_healthy("declared1", classes=(1, 3), folder=PLAIN)
    planter.add_healthy("declared2", classes=(1,), folder=PLAIN)
    planter.add_healthy("declared3", classes=(), folder=PLAIN)
    planter.plant("1091", "unannotated_class", "label", lambda pair: None, classes=(1, 2, 3), folder=PLAIN)
    # A scan of the first data set, with other organs drawn; that of the first one has more of them.
    planter.repeat("1092", "0907", lambda pair: keep_classes(pair, (1, 3)), (TRAINING, PLAIN))
    data_sets = [
        {"name": FLARE, "path": FLARE},
        {"name": DECLARED, "path": DECLARED, "annotated": ["liver", "spleen"]},
    ]
    (planter.root / "datasets.yaml").write_text(yaml.safe_dump(data_sets))


def keep_classes(pair: Pair, classes: tuple[int, ...]) -> None:
    pair.label = np.where(np.isin(pair.label, classes), pair.label, 0).astype(np.uint8)


def translation(x: float, y: float, z: float) -> np.ndarray:
    moved = np.eye(4)
    moved[:3, 3] = x, y, z
    return moved


def thin_out(pair: Pair, steps: tuple[int, int, int]) -> None:
    parts = tuple(slice(None, None, step) for step in steps)
    pair.image, pair.label = pair.image[parts], pair.label[parts]
    pair.affine = pair.affine @ np.diag([*steps, 1.0])
    pair.label_affine = pair.affine.copy()


def padded(image: np.ndarray, value: int) -> np.ndarray:
    """Outside of the circle that the scanner reconstructs."""
    x, y = (np.arange(size) - (size - 1) / 2 for size in image.shape[:2])
    outside = x[:, None] ** 2 + y[None] ** 2 > (min(image.shape[:2]) / 2) ** 2
    return np.where(outside[..., None], value, image).astype(np.int16)


def one_small_tumor(pair: Pair) -> None:
    liver = np.argwhere(pair.label == 1)
    middle = liver[len(liver) // 2]
    pair.label = np.zeros_like(pair.label)
    pair.label[tuple(middle)] = 14


def rim_of_liver(pair: Pair) -> slice:
    """All slices below the one at which the liver begins, and this one."""
    return slice(0, int(np.argwhere((pair.label == 1).any((0, 1)))[0, 0]) + 1)


def keep_slices(pair: Pair, part: slice) -> None:
    pair.image, pair.label = pair.image[:, :, part], pair.label[:, :, part]
    pair.affine = pair.affine @ translation(0, 0, part.start)
    pair.label_affine = pair.affine.copy()


def without_orientation(pair: Pair) -> None:
    """The header tells voxel sizes alone; where the label's affine is, a reader has to guess."""
    pair.codes = 0
    sides = np.linalg.norm(pair.affine[:3, :3], axis=0)
    guessed = np.diag([-sides[0], sides[1], sides[2], 1.0])
    pair.image, pair.label = pair.image[::-1], pair.label[::-1]
    pair.affine, pair.label_affine = guessed, guessed.copy()


def rounded_label_affine(pair: Pair) -> None:
    """The image has odd voxel sizes, and its label's header has two decimals."""
    both(pair, np.diag([0.98765, 0.98765, 1.01234, 1]))
    pair.label_affine = pair.affine.round(2)


def rounded_sform(pair: Pair) -> None:
    both(pair, np.diag([0.98765, 0.98765, 1.01234, 1]))
    pair.image_qform = pair.affine
    pair.affine = pair.affine.round(2)


def windowed(image: np.ndarray) -> np.ndarray:
    return (image.clip(-160, 240) + 160) / 400


def normalized(pair: Pair) -> np.ndarray:
    values = pair.image.astype(np.float32)
    return (values - values.mean()) / values.std()


def like_mr(pair: Pair) -> np.ndarray:
    """No signal from air, much from fat, values without a unit."""
    return np.interp(pair.image, [-1000, -300, -100, 60, 300], [0, 30, 900, 350, 20]).astype(np.int16)
