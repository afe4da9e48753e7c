"""Train the starter weights on synthetic CT alone, score them on real scans, and put them into the bundles."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from abdoseg.datalist import load_cases, write_datalist
from abdoseg.files import CaseError
from abdoseg.labels import ORGAN_IDS
from tools.lock import sole_user
from tools.pipeline import load_pipeline
from tools.run import run_stages
from tools.trust import check_stages

CHAIN = Path(__file__).with_suffix(".yaml")


def starter(
    work_dir: str = "runs/starter",
    anatomies: str | None = None,
    leave_out: str | None = None,
    scans: str | None = None,
    outside: str | None = None,
    teacher_minutes: float = 60,
    coarse_minutes: float = 10,
    fine_minutes: float = 50,
    phantoms: int = 4,
    phantom_share: float = 0.2,
    heads: int = 3,
    head_share: float = 0.06,
    only: str | None = None,
    install: bool = False,
    trust: bool = False,
    **parameters,
) -> dict:
    """Train the teacher and the two students on synthetic CT, rendered while they train, without one patient image.

    Each network trains for the time given, in minutes of this machine, and its learning rate falls to 0 by then. Killed
    and started again, the command goes on from the last 50 steps. Afterwards the teacher and the students label the
    real scans and are scored: WORK_DIR/starter.md has the tables, WORK_DIR/scores/teacher.json, student.json and
    checks.json the figures. The weights in WORK_DIR/teacher/weights, coarse/weights and fine/weights serve `predict
    --weights`, `pack --weights` and further training.

    With --install nothing is trained: the weights of a finished WORK_DIR are stored in half precision in models/starter
    of their bundles, each with its architecture, its sha256 and a model card.

    Args:
        work_dir: Folder for all results.
        anatomies: Folder of tissue maps, see docs/synthesis.md; without it there are phantoms alone.
        leave_out: Names of tissue maps that take no part, separated by commas: those of patients whose scan is a test.
        scans: Real scans to score: a data list (.json) with a section "testing", or a folder of folders ID with
            ct.nii.gz or dicom.zip, and label_flare*.nii.gz (FLARE23's ids; what is not drawn there is not scored).
        outside: Scans outside the abdomen, in which nothing should be found: a NIfTI file, a zip of one DICOM series
            (uneven or tilted ones are resampled), or a folder of these.
        teacher_minutes: Time to train the teacher.
        coarse_minutes: Time to train the coarse student.
        fine_minutes: Time to train the fine student.
        phantoms: Number of procedural patients whose anatomies take part.
        phantom_share: Share of the scans that are rendered from phantoms, 0 to 1.
        heads: Number of procedural heads, in which there is nothing to find.
        head_share: Share of the scans that are rendered from heads.
        only: Do just these stages of tools/starter.yaml, separated by commas, for example "coarse,fine".
        install: Store the finished weights in the bundles.
        trust: Run config files that are not this project's own, see `run --help`.
        parameters: Replace parameters of tools/starter.yaml, for example --seed 1, --teacher_steps 200 or
            --fine_overlay my.yaml.
    """
    root = Path(work_dir).absolute()
    if install:
        from tools.starter_install import install_weights

        return install_weights(root)
    from tools.starter_scans import outside_list, scan_list

    with sole_user(root):  # the lists are also those of a run that may be at work in the folder
        maps = anatomy_list(
            root,
            None if anatomies is None else Path(anatomies),
            _names(leave_out),
            phantoms,
            phantom_share,
            heads,
            head_share,
        )
        tests = None if scans is None else str(scan_list(root, Path(scans)))
        empty = None if outside is None else str(outside_list(root, Path(outside)))
    given = {
        "work_dir": str(root),
        "anatomies": str(maps),
        "scans": tests,
        "outside": empty,
        "checked": bool(tests or empty),
        "teacher_seconds": 60.0 * teacher_minutes,
        "coarse_seconds": 60.0 * coarse_minutes,
        "fine_seconds": 60.0 * fine_minutes,
    }
    if clash := sorted(set(parameters) & set(given)):
        raise CaseError(f"{clash[0]} is no parameter to replace; the options of the command decide it.")
    stages = load_pipeline(str(CHAIN), None, {**parameters, **given})
    check_stages(stages, trust)
    return run_stages(stages, _signature(maps), root, only)


def _names(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def anatomy_list(
    root: Path,
    source: Path | None,
    leave_out: Sequence[str],
    phantoms: int,
    phantom_share: float,
    heads: int = 0,
    head_share: float = 0.0,
) -> Path:
    """Write the data list of the tissue maps, with phantoms and heads, and give its path.

    Each entry has a ``weight``, how often scans are rendered from it, and one that is made here its kind, in
    ``procedural``.
    """
    # torch and MONAI take seconds
    from tools.anatomies import HEAD, PHANTOM, find_tissue_maps, write_head_maps, write_phantom_maps

    for name, share in (("phantom_share", phantom_share), ("head_share", head_share)):
        if not 0 <= share <= 1:
            raise CaseError(f"{name} is {share}; it must be a number from 0 to 1.")
    if heads > 0 and head_share == 1:
        raise CaseError("With a head_share of 1 no scan has an organ; give less.")
    if phantoms < 0 or heads < 0:
        raise CaseError(f"phantoms is {phantoms}, heads {heads}; neither can be less than 0.")
    if source is None and not phantoms:
        raise CaseError("There is nothing to learn from; give --anatomies, a folder of tissue maps, or --phantoms.")
    real = {} if source is None else find_tissue_maps(source, leave_out)
    made = write_phantom_maps(root / "anatomies", phantoms, 0)
    empty = write_head_maps(root / "anatomies", heads, 0)
    if clash := sorted(set(real) & {*made, *empty}):
        raise CaseError(f"{real[clash[0]]} is called as one that is made here, {clash[0]}; give it another name.")
    nothing = head_share if empty else 0.0
    share = (phantom_share if real else 1.0) if made else 0.0
    shares = ((real, (1 - nothing) * (1 - share)), (made, (1 - nothing) * share), (empty, nothing))
    weights = {name: part / len(group) for group, part in shares for name in group}
    entries = [
        {
            "id": name,
            "image": str(path.absolute()),  # never read: images are rendered from the map
            "label": str(path.absolute()),
            "kind": "strong",
            "annotated_classes": list(ORGAN_IDS),
            "weight": round(weights[name], 6),
            **({"procedural": PHANTOM if name in made else HEAD} if name not in real else {}),
        }
        for name, path in {**real, **made, **empty}.items()
        if weights[name] > 0
    ]
    path = root / "anatomies.json"
    write_datalist(path, {"name": "tissue maps to render synthetic CT from", "training": entries})
    return path


def _signature(maps: Path) -> str:
    """Hash of the tissue maps that a data list names, and of their weights."""
    digest = hashlib.sha256()
    for entry in load_cases(maps):
        digest.update(f"{entry['id']} {entry['weight']} ".encode())
        digest.update(Path(entry["label"]).read_bytes())
    return digest.hexdigest()
