"""What the starter weights reach on real scans: scores, sides, and what they find where nothing is, in tables."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np

from abdoseg.datalist import load_cases
from abdoseg.files import atomic_path, write_json
from abdoseg.label_maps import count_voxels, read_label_map
from abdoseg.labels import CLASS_IDS, NAMES
from abdoseg.metrics import to_ras
from abdoseg.metrics.sides import SIDES, side_shares, spine_line
from abdoseg.metrics.summary import ORGANS
from tools.results import case_mean
from tools.study_table import markdown_table

ARMS = ("teacher", "student")
# Stage of the chain -> the arm whose figures its model card holds.
CARD_TABLES = {"teacher": "teacher", "coarse": None, "fine": "student"}
LEAST_OWN_SIDE, MOST_OUTSIDE_ML = 0.995, 5.0
SCORED = """

By the rules of FLARE23's evaluation, which score a vessel in the reference's slices alone (docs/scores.md of the
project). Organs without a row are drawn in none of these scans. The scans are few, and the recipe was chosen while
looking at such scans: expect less on others."""
OUTSIDE_NOTES = {
    "teacher": "",
    "student": "Where its coarse network finds less than `abdomen_min_ml` (configs/inference.yaml), nothing is "
    "labeled; that limit was chosen on few scans, and other heads may pass it.",
}


def starter_checks(work_dir: str, scans: str | None = None, outside: str | None = None) -> dict:
    """Measure sides and false findings of the starter, and put them with its scores into tables.

    WORK_DIR/scores/checks.json holds, for each arm and scan, the share of each kidney and adrenal gland on its own side
    of the plane through the spine, which is found in the image alone, and mL of what was found outside the abdomen;
    WORK_DIR/starter.md holds these and the DSC of each organ.

    Args:
        work_dir: Work folder of `starter`, with predictions/ARM and predictions/outside_ARM.
        scans: Data list of the real scans.
        outside: Data list of scans in which there is nothing to find.
    """
    root = Path(work_dir)
    checks = {"sides": _sides(root, scans) if scans else {}, "outside": _outside(root, outside) if outside else {}}
    write_json(root / "scores" / "checks.json", checks)
    parts = [f"# {arm.capitalize()}\n\n{card_figures(root, arm)}" for arm in ARMS]
    parts += [f"Student less teacher, mean DSC of the organs of {scan}: {gap:+.3f}\n" for scan, gap in _gaps(root)]
    with atomic_path(root / "starter.md") as temporary:
        temporary.write_text("\n".join(parts))
    print("\n".join(parts))
    return {}


def _sides(root: Path, scans: str) -> dict:
    """Shares by arm and scan; "reference" are those of the drawn labels, which judge the plane itself."""
    found: dict[str, dict] = {"reference": {}, **{arm: {} for arm in ARMS}}
    for case in load_cases(scans, section="testing"):
        image = nib.load(case["image"])
        volume, spacing = to_ras(np.asarray(image.dataobj, dtype=np.float32), image.affine)
        line = spine_line(volume, spacing)
        if line is None:
            continue
        paths = {arm: root / "predictions" / arm / f"{case['id']}.nii.gz" for arm in ARMS}
        if case.get("label"):
            paths["reference"] = Path(case["label"])
        for arm, path in paths.items():
            if path.is_file():
                labels, grid = read_label_map(path)
                found[arm][case["id"]] = side_shares(to_ras(labels, grid.affine)[0], line)
    return found


def _outside(root: Path, outside: str) -> dict:
    """mL of each class, and of all together, by arm and scan."""
    found: dict[str, dict] = {arm: {} for arm in ARMS}
    for case in load_cases(outside, section="testing"):
        for arm in ARMS:
            path = root / "predictions" / f"outside_{arm}" / f"{case['id']}.nii.gz"
            if path.is_file():
                labels, grid = read_label_map(path)
                milliliters = count_voxels(labels) * float(np.abs(np.linalg.det(grid.affine[:3, :3]))) / 1000
                classes = {NAMES[number]: round(float(milliliters[number]), 3) for number in CLASS_IDS}
                found[arm][case["id"]] = {"ml": round(float(milliliters[list(CLASS_IDS)].sum()), 3), "classes": classes}
    return found


def card_figures(root: Path, arm: str | None) -> str:
    """Figures of an arm in Markdown: DSC of each organ on each real scan, sides, what it finds outside the abdomen."""
    if arm is None:
        return (
            "Not scored alone: it finds the region of interest of fine_seg, whose card has the figures of both. Its "
            "own labels, of coarse voxels, are far rougher.\n"
        )
    scores, checks = (_read(root / "scores" / f"{name}.json") for name in (arm, "checks"))
    parts = [_dsc_table(scores["cases"])] if scores.get("cases") else ["Not scored on any real scan."]
    if sides := checks.get("sides", {}).get(arm):
        parts.append(_sides_table(sides, checks["sides"].get("reference", {})))
    for name, found in checks.get("outside", {}).get(arm, {}).items():
        what = ", ".join(f"{organ} {ml:.1f}" for organ, ml in found["classes"].items() if ml > 0) or "nothing"
        told = "as" if found["ml"] < MOST_OUTSIDE_ML else "**not** as"
        parts.append(
            f"In {name}, outside the abdomen, it finds {found['ml']:.1f} mL ({what}); "
            f"{told} asked, less than {MOST_OUTSIDE_ML:g} mL. {OUTSIDE_NOTES[arm]}".rstrip()
        )
    return "\n\n".join(parts) + "\n"


def _gaps(root: Path) -> Iterator[tuple[str, float]]:
    """Mean DSC of the student's organs less that of the teacher's, scan by scan."""
    teacher, student = (_read(root / "scores" / f"{arm}.json").get("cases", {}) for arm in ARMS)
    for scan in (scan for scan in teacher if scan in student):
        means = [case_mean(cases[scan], ORGANS) for cases in (student, teacher)]
        if None not in means:
            yield scan, means[0] - means[1]


def _read(path: Path) -> dict:
    return json.loads(path.read_text()) if path.is_file() else {}


def _dsc_table(cases: Mapping[str, Mapping]) -> str:
    names = [name for name in NAMES.values() if any(case.get(name, {}).get("present") for case in cases.values())]
    rows = [
        [name, *(f"{case[name]['dsc']:.3f}" if case.get(name, {}).get("present") else "" for case in cases.values())]
        for name in names
    ]
    means = (case_mean(case, ORGANS) for case in cases.values())
    rows.append(["**mean of the organs**", *("" if mean is None else f"**{mean:.3f}**" for mean in means)])
    return f"DSC on real scans:\n\n{markdown_table(['organ', *cases], rows)}{SCORED}"


def _sides_table(sides: Mapping[str, Mapping], references: Mapping[str, Mapping]) -> str:
    def cell(scan: str, name: str) -> str:
        share, drawn = (found.get(scan, {}).get(name, {}).get("own_side") for found in (sides, references))
        own = "not found" if share is None else _percent(share)
        if share is not None and share < LEAST_OWN_SIDE:
            own = f"**{own}**"
        return own + ("" if drawn is None else f" ({_percent(drawn)})")

    rows = [[name, *(cell(scan, name) for scan in sides)] for name in SIDES]
    return (
        f"Share of the voxels on their own side of the plane through the spine, {_percent(LEAST_OWN_SIDE)} asked, "
        f"less is bold (in brackets that of the drawn labels):\n\n{markdown_table(['organ', *sides], rows)}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
