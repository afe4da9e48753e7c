"""Serve packed bundles by MONAI Label, so that 3D Slicer and OHIF can label, correct and train with them."""

import json
import os
import shutil
import sys
from pathlib import Path

from abdoseg.files import CaseError, glob, write_json
from abdoseg.manifest import file_hash, read_manifest
from tools.archive import unpack
from tools.scans import is_scan
from tools.trust import check_trusted

LABEL = Path(__file__).with_name("label")
APP = Path("monailabel", "sample-apps", "monaibundle")
RECORD = "served.json"


def serve(
    bundles: str,
    studies: str,
    work_dir: str,
    port: int = 8000,
    host: str = "127.0.0.1",
    environment: str = ".venv-label",
    trust: bool = False,
) -> None:
    """Serve packed bundles by MONAI Label until it is interrupted.

    The server works on copies in WORK_DIR/app/model, as a training overwrites the weights of its bundle. Started again,
    it goes on with these copies and what has been trained into them.

    Args:
        bundles: Zips that `pack` wrote: one or more with commas, or a folder that holds some, also one level down.
        studies: Folder of scans (NIfTI), to which the server adds datastore_v2.json and labels/, or the address of a
            DICOMweb server. A folder without NIfTI files is searched for DICOM at any depth, as `predict` does; the
            server gets copies as NIfTI, in WORK_DIR/studies, and `python -m tools dicom` makes DICOM SEG of its labels.
        work_dir: Folder for the copies and the server's log.
        port: Port of the server.
        host: Address that it listens on. Nothing asks for a password: leave it at this machine's own, or guard it.
        environment: Virtual environment with MONAI Label, as `make label-env` makes it.
        trust: Serve bundles that run other code than this repository's. Without it they are refused, and what they
            would run is listed.
    """
    python = Path(environment).absolute() / "bin" / "python"
    app = python.parents[1] / APP
    if not app.is_dir():
        raise CaseError(f"{environment} holds no MONAI Label; make it by `make label-env`.")
    if "://" not in studies and not Path(studies).is_dir():
        raise CaseError(f"{studies} is no folder; --studies takes a folder of scans or the address of a server.")
    work = Path(work_dir).resolve()
    for folder in (work, *([] if "://" in studies else [Path(studies).resolve()])):
        if "#" in str(folder):
            raise CaseError(f"{folder}: MONAI's configs take # in a path for ::; give a folder without it.")
    names = unpack_copies(find_archives(bundles), work)
    for name in names:
        check_trusted(work / "app" / "model" / name, trust)
    shutil.copytree(app, work / "app", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    if "://" not in studies:
        studies = str(readable_scans(Path(studies).resolve(), work / "studies"))
    print(f"MONAI Label with {', '.join(names)}: http://{host}:{port}", flush=True)
    # "local" is what MONAI Label takes for a source of bundles that it need not ask; SAM 2 would be downloaded.
    settings = {"models": ",".join(names), "zoo_source": "local", "sam2": "false"}
    command = [str(python), "-m", "monailabel.main", "start_server", "--app", str(work / "app"), "--studies", studies]
    command += ["--host", host, "--port", str(port)]
    command += [text for name, value in settings.items() for text in ("--conf", name, value)]
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", "")])
    os.chdir(work)  # Python also looks for modules in the current folder, where the repository may be
    sys.stdout.flush()
    os.execve(python, command, {**os.environ, "PATH": path, "PYTHONPATH": str(LABEL)})


def readable_scans(studies: Path, copies: Path) -> Path:
    """Folder that MONAI Label can serve: the one with scans itself, or ``copies`` of its DICOM series as NIfTI.

    Raises
    ------
    CaseError
        If no series can be read, or the labels cannot be kept beside the scans.
    """
    from tools.dicom_scans import find_dicom_scans, write_scans

    has_nifti = any(is_scan(path) for path in studies.iterdir())
    scans = {} if has_nifti else find_dicom_scans(studies)
    if not scans:
        if not os.access(studies, os.W_OK):
            raise CaseError(f"{studies} cannot be written, and the server keeps its labels there; give it a copy.")
        if not has_nifti:  # scans may come by REST
            print(f"{studies} holds no scan yet; NIfTI files are looked for in the folder itself alone.")
        return studies
    failed = write_scans(scans, copies)
    print(*(f"set aside: {reason}" for reason in failed.values()), sep="\n", end="\n" * bool(failed))
    if len(failed) == len(scans):
        raise CaseError(f"{studies} holds no series that can be served; the reasons are listed above.")
    print(f"{len(scans) - len(failed)} of {len(scans)} DICOM series are served as NIfTI: {copies}")
    return copies


def find_archives(bundles: str) -> dict[str, Path]:
    """Packed bundles of an option: bundle name -> zip.

    Raises
    ------
    CaseError
        If there is none, or there are two of one bundle.
    """
    folder = Path(bundles)
    if folder.is_dir():
        paths = [*glob(folder, "*_v*.zip"), *glob(folder, "*/*_v*.zip")]
    else:
        paths = [Path(name.strip()) for name in bundles.split(",") if name.strip().endswith(".zip")]
    if not paths:
        raise CaseError(
            f"{bundles} holds no packed bundle; write one by `python -m tools pack fine_seg --weights WEIGHTS "
            f"--output {bundles}`."
        )
    archives: dict[str, Path] = {}
    for path in paths:
        name = path.name.rsplit("_v", 1)[0]
        if name in archives:
            raise CaseError(f"{archives[name]} and {path} hold the same bundle; name one of them by --bundles.")
        archives[name] = path
    return archives


def unpack_copies(archives: dict[str, Path], work: Path) -> list[str]:
    """Unpack the zips that are not unpacked yet into ``work``/app/model; give the names of the bundles with a network.

    Raises
    ------
    CaseError
        If a zip is not sound, its copy was made from another zip, two bundles bring different versions of abdoseg, or
        none has a network.
    """
    models, record = work / "app" / "model", work / RECORD
    served = json.loads(record.read_text()) if record.exists() else {}
    names, code = [], {}
    for name, path in archives.items():
        if not path.is_file():
            raise CaseError(f"{path} does not exist; write it with `python -m tools pack`.")
        target, sha256 = models / name, file_hash(path)
        if target.exists() and served.get(name) != sha256:
            raise CaseError(
                f"{target} was not unpacked from {path} as it is now, and may hold trained weights; move it away, or "
                "give another --work_dir."
            )
        if not target.exists():
            _unpack_into(path, target)
            served[name] = sha256
            write_json(record, served)
        # What an earlier server has compiled would run in place of the sources, which alone can be looked at.
        for compiled in sorted(target.rglob("__pycache__")):
            shutil.rmtree(compiled)
        if not (target / "configs" / "inference.yaml").exists():
            print(f"{name} has no network; it is not served.")
            continue
        names.append(name)
        code[name] = read_manifest(target)["abdoseg"]
    if not names:
        raise CaseError(f"{', '.join(map(str, archives.values()))} has no network to serve; pack one that labels.")
    if other := [name for name in names if code[name]["sha256"] != code[names[0]]["sha256"]]:
        raise CaseError(
            f"{archives[names[0]]} and {archives[other[0]]} were packed with different versions of abdoseg, which one "
            "server cannot hold; serve them apart, or pack both anew."
        )
    return names


def _unpack_into(path: Path, target: Path) -> None:
    """Unpack a zip beside ``target`` and put it in its place when it is whole."""
    aside = target.parent / f".{target.name}"
    shutil.rmtree(aside, ignore_errors=True)
    root, faults = unpack(path, aside)
    if root is None:
        shutil.rmtree(aside, ignore_errors=True)
        raise CaseError(f"{path} is refused: {faults[0]}")
    if root.name != target.name:
        shutil.rmtree(aside)
        raise CaseError(f"{path} holds the bundle {root.name}; call it {root.name}_v and its version.")
    root.rename(target)
    aside.rmdir()
