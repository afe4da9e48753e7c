"""A small data set in each layout that is known, written as its makers do: names, label values, orientation, extras."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np

ORGANS = list(range(1, 14))
SHAPE = (30, 18, 14)
AFFINE = np.array([[12.0, 0, 0, -174], [0, 12, 0, -100], [0, 0, 12, 900], [0, 0, 0, 1]])
# Corners of boxes of 12 mm voxels in RAS: the first axis grows to the person's right. Sizes that the audit believes.
PLACES = {
    1: (23, 12), 2: (23, 2), 3: (3, 12), 4: (13, 12), 5: (13, 2), 6: (13, 7), 7: (18, 2), 8: (8, 2), 9: (18, 12),
    10: (8, 7), 11: (8, 12), 12: (18, 7), 13: (3, 2),
}  # fmt: skip
SIZES = {1: (5, 8), 7: (2, 2), 8: (2, 2)}  # width and height in voxels; the others have 4 and 6
BOWEL = (slice(23, 27), slice(7, 11), slice(4, 10))  # an organ that is none of ours


def body(tumor_in: int | None = None, without: tuple[int, ...] = ()) -> np.ndarray:
    """All organs as boxes, in our ids, RAS; a tumor takes the upper half of one of them."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for organ, (x, y) in PLACES.items():
        side, height = SIZES.get(organ, (4, 6))
        labels[x : x + side, y : y + side, 4 : 4 + height] = organ
        if organ == tumor_in:
            labels[x : x + side, y : y + side, 7:10] = 14
    labels[np.isin(labels, without)] = 0
    return labels


def values_of(labels: np.ndarray, values: Mapping[int, int]) -> np.ndarray:
    """Labels in another data set's values: our id to its; what is not named is 0."""
    table = np.zeros(256, dtype=np.uint8)
    for ours, theirs in values.items():
        table[ours] = theirs
    return table[labels]


def save(path: Path, volume: np.ndarray, orientation: str = "RAS") -> Path:
    """Write a volume, given in RAS, in another orientation."""
    image = nib.Nifti1Image(volume, AFFINE)
    turn = nib.orientations.ornt_transform(nib.io_orientation(AFFINE), nib.orientations.axcodes2ornt(orientation))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image.as_reoriented(turn), path)
    return path


def save_scan(path: Path, orientation: str = "RAS", seeds=iter(range(10**6))) -> Path:  # noqa: B008 - no scan twice
    """Write a scan in HU: air about a body of fat, organs of 40 to 105 HU, noise."""
    labels = body()
    scan = np.full(SHAPE, -1000.0)
    scan[1:-1, 1:-1] = -100
    scan = np.where(labels > 0, 40 + 5.0 * labels, scan) + np.random.default_rng(next(seeds)).normal(0, 5, SHAPE)
    return save(path, scan.astype(np.int16), orientation)


def flare23(root: Path) -> None:
    """Strong by the count rule; weak; unlabeled; to be tested with truth."""
    for name, labels in {"0001": body(), "0002": body(1, without=(5, 6, 7, 8, 9, 10, 11, 12))}.items():
        save_scan(root / "imagesTr2200" / f"FLARE23_{name}_0000.nii.gz", "LPS")
        save(root / "labelsTr2200" / f"FLARE23_{name}.nii.gz", labels, "LPS")
    save_scan(root / "unlabelTr1800" / "FLARE23_2201_0000.nii.gz")
    save_scan(root / "validation" / "FLARE23Ts_0001_0000.nii.gz")
    save(root / "truth" / "FLARE23Ts_0001.nii.gz", body(4))


def flare22(root: Path) -> None:
    """The release's own folders: two levels for what is labeled."""
    labeled = root / "Training" / "FLARE22_LabeledCase50"
    save_scan(labeled / "images" / "FLARE22_Tr_0001_0000.nii.gz")
    save(labeled / "labels" / "FLARE22_Tr_0001.nii.gz", body())
    save_scan(root / "Training" / "FLARE22_UnlabeledCase1-1000" / "Case_00001_0000.nii.gz")
    save_scan(root / "Validation" / "FLARE22Ts_0001_0000.nii.gz")


def nnunet(root: Path) -> None:
    """One value for both kidneys, an organ that is none of ours, a tumor; another orientation for each case."""
    values = {1: 2, 2: 3, 13: 3, 3: 1, 14: 5}
    for name, orientation in (("ct_12", "LPS"), ("ct_120", "RPI")):
        labels = values_of(body(2), values)
        labels[BOWEL] = 4
        save_scan(root / "imagesTr" / f"{name}_0000.nii.gz", orientation)
        save(root / "labelsTr" / f"{name}.nii.gz", labels, orientation)
    save_scan(root / "imagesTs" / "ct_7_0000.nii.gz")
    save(root / "labelsTs" / "ct_7.nii.gz", values_of(body(), values))
    labels = {"background": 0, "Spleen": 1, "liver": 2, "kidney": [3, 5], "small bowel": 4, "tumour": 5}
    write_json(root, {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 2, "file_ending": ".nii.gz"})


def decathlon(root: Path) -> None:
    """Task03_Liver: a tumor, none; float labels; what macOS leaves behind; one image that is listed and missing."""
    for number, labels in enumerate((body(1), body())):
        save_scan(root / "imagesTr" / f"liver_{number}.nii.gz", "LAS")
        save(root / "labelsTr" / f"liver_{number}.nii.gz", values_of(labels, {1: 1, 14: 2}).astype(np.float32), "LAS")
    (root / "imagesTr" / "._liver_0.nii.gz").write_bytes(b"Mac OS X")
    save_scan(root / "imagesTs" / "liver_132.nii.gz")
    pairs = [{"image": f"./imagesTr/liver_{n}.nii.gz", "label": f"./labelsTr/liver_{n}.nii.gz"} for n in (0, 1)]
    write_json(
        root,
        {
            "name": "Liver",
            "tensorImageSize": "3D",
            "modality": {"0": "CT"},
            "labels": {"0": "background", "1": "liver", "2": "cancer"},
            "training": pairs,
            "test": ["./imagesTs/liver_132.nii.gz"],
        },
    )


AMOS = {3: 1, 2: 2, 13: 3, 9: 4, 10: 5, 1: 6, 11: 7, 5: 8, 6: 9, 4: 10, 7: 11, 8: 12, 12: 13}


def amos(root: Path) -> None:
    """A case of each part, the gallbladder removed in one; an MR scan, which is left alone."""
    labels = values_of(body(without=(9,)), AMOS)
    labels[BOWEL] = 14
    save_scan(root / "imagesTr" / "amos_0001.nii.gz", "LAS")
    save(root / "labelsTr" / "amos_0001.nii.gz", labels, "LAS")
    save_scan(root / "imagesVa" / "amos_0008.nii.gz")
    save(root / "labelsVa" / "amos_0008.nii.gz", values_of(body(), AMOS))
    save_scan(root / "imagesTs" / "amos_0500.nii.gz")
    save_scan(root / "imagesTr" / "amos_0507.nii.gz")
    save(root / "labelsTr" / "amos_0507.nii.gz", labels)
    listed = {"image": "./imagesTr/amos_0001.nii.gz", "label": "./labelsTr/amos_0001.nii.gz"}
    write_json(root, {"modality": {"0": "CT"}, "labels": {"0": "background", "8": "arota"}, "training": [listed]})


MASKS = {
    "liver": 1, "kidney_right": 2, "spleen": 3, "pancreas": 4, "aorta": 5, "inferior_vena_cava": 6,
    "adrenal_gland_right": 7, "adrenal_gland_left": 8, "gallbladder": 9, "esophagus": 10, "stomach": 11,
    "duodenum": 12, "kidney_left": 13,
}  # fmt: skip


def totalsegmentator(root: Path) -> None:
    """Masks one by one, an empty one; a case without the gallbladder's file; a cyst; a case for testing."""
    for name in ("s0000", "s0001", "s0002"):
        masks = {stem: body(without=(9,)) == value for stem, value in MASKS.items()}
        masks["lung_upper_lobe_left"] = masks["liver"]
        if name == "s0001":
            del masks["gallbladder"]
            masks["kidney_cyst_left"] = masks["kidney_left"].copy()
            masks["kidney_cyst_left"][:, :, :7] = False
            masks["kidney_left"] = masks["kidney_left"] & ~masks["kidney_cyst_left"]
        save_scan(root / name / "ct.nii.gz", "LPS")
        for stem, mask in masks.items():
            save(root / name / "segmentations" / f"{stem}.nii.gz", mask.astype(np.uint8), "LPS")
    rows = ["image_id;age;gender;institute;study_type;split", "s0000;60;m;A;ct abdomen;train", "s0001;;;;;val"]
    (root / "meta.csv").write_text("\n".join([*rows, "s0002;70;f;B;ct thorax;test", ""]), encoding="utf-8-sig")


BTCV = {3: 1, 2: 2, 13: 3, 9: 4, 10: 5, 1: 6, 11: 7, 5: 8, 6: 9, 4: 11, 7: 12, 8: 13}


def btcv(root: Path) -> None:
    """No duodenum, but the portal vein, under the data set's own folder RawData."""
    labels = values_of(body(), BTCV)
    labels[BOWEL] = 10
    save_scan(root / "RawData" / "Training" / "img" / "img0001.nii.gz", "LAS")
    save(root / "RawData" / "Training" / "label" / "label0001.nii.gz", labels, "LAS")
    save_scan(root / "RawData" / "Testing" / "img" / "img0061.nii.gz", "LAS")


def kits(root: Path) -> None:
    """Stored slice by slice; a tumor on the right, a cyst on the left; KiTS21's name; a scan to be tested."""
    labels = values_of(body(2), {2: 1, 13: 1, 14: 2})
    labels[4:6, 2:4, 4:6] = 3
    for name, file in (("case_00000", "segmentation.nii.gz"), ("case_00004", "aggregated_MAJ_seg.nii.gz")):
        save_scan(root / "dataset" / name / "imaging.nii.gz", "IPL")
        save(root / "dataset" / name / file, labels, "IPL")
    save_scan(root / "dataset" / "case_00210" / "imaging.nii.gz", "IPL")


def folders(root: Path) -> None:
    """images and labels, with nnU-Net's suffix and without; one strong, one weak by the count rule."""
    save_scan(root / "images" / "a_0000.nii.gz")
    save(root / "labels" / "a.nii.gz", body())
    save_scan(root / "images" / "b.nii")
    save(root / "labels" / "b.nii.gz", body(1, without=(5, 6)))


def write_json(root: Path, content: dict) -> None:
    (root / "dataset.json").write_text(json.dumps(content))


def kidneys_and_tumor() -> np.ndarray:
    return values_of(body(2), {2: 2, 13: 13, 14: 14})


def liver_and(tumor_in: int | None) -> np.ndarray:
    return values_of(body(tumor_in), {1: 1, 14: 14})


LIVER_AND_MORE = {1: 1, 2: 2, 3: 3, 13: 13, 14: 14}
NO_GALLBLADDER = body(without=(9,))
# Layout: what writes it, and id -> (section, kind, annotated classes or None, label in our ids and RAS or None).
EXAMPLES: dict[str, tuple[Callable[[Path], None], dict[str, tuple]]] = {
    "flare23": (
        flare23,
        {
            "FLARE23_0001": ("training", "strong", ORGANS, body()),
            "FLARE23_0002": ("training", "weak", [1, 2, 3, 4, 13, 14], body(1, without=(5, 6, 7, 8, 9, 10, 11, 12))),
            "FLARE23_2201": ("unlabeled", "unlabeled", [], None),
            "FLARE23Ts_0001": ("testing", "test", None, body(4)),
        },
    ),
    "flare22": (
        flare22,
        {
            "FLARE22_Tr_0001": ("training", "strong", ORGANS, body()),
            "Case_00001": ("unlabeled", "unlabeled", [], None),
            "FLARE22Ts_0001": ("testing", "test", None, None),
        },
    ),
    "nnunet": (
        nnunet,
        {
            "ct_12": ("training", "weak", [1, 2, 3, 13, 14], values_of(body(2), LIVER_AND_MORE)),
            "ct_120": ("training", "weak", [1, 2, 3, 13, 14], values_of(body(2), LIVER_AND_MORE)),
            "ct_7": ("testing", "test", [1, 2, 3, 13, 14], values_of(body(), LIVER_AND_MORE)),
        },
    ),
    "decathlon": (
        decathlon,
        {
            "liver_0": ("training", "weak", [1, 14], liver_and(1)),
            "liver_1": ("training", "weak", [1, 14], liver_and(None)),
            "liver_132": ("testing", "test", None, None),
        },
    ),
    "amos": (
        amos,
        {
            "amos_0001": ("training", "strong", ORGANS, NO_GALLBLADDER),
            "amos_0008": ("testing", "test", ORGANS, body()),
            "amos_0500": ("testing", "test", None, None),
        },
    ),
    "totalsegmentator": (
        totalsegmentator,
        {
            "s0000": ("training", "strong", ORGANS, NO_GALLBLADDER),
            "s0001": ("training", "weak", [c for c in ORGANS if c != 9], NO_GALLBLADDER),
            "s0002": ("testing", "test", ORGANS, NO_GALLBLADDER),
        },
    ),
    "btcv": (
        btcv,
        {
            "0001": ("training", "weak", [c for c in ORGANS if c != 12], body(without=(12,))),
            "0061": ("testing", "test", None, None),
        },
    ),
    "kits": (
        kits,
        {
            "case_00000": ("training", "weak", [2, 13, 14], kidneys_and_tumor()),
            "case_00004": ("training", "weak", [2, 13, 14], kidneys_and_tumor()),
            "case_00210": ("testing", "test", None, None),
        },
    ),
    "folders": (
        folders,
        {
            "a": ("training", "strong", ORGANS, body()),
            "b": ("training", "weak", [c for c in range(1, 15) if c not in (5, 6)], body(1, without=(5, 6))),
        },
    ),
}
