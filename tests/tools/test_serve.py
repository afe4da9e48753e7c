"""What the label server is given: copies of packed bundles, which keep what was trained into them."""

import os
import py_compile
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import pytest

from abdoseg.files import CaseError
from tests.bundles.tiny import REPOSITORY
from tests.dicom.written import same_in_place, volume, write_series
from tests.zoo.packing import rewritten, with_entry
from tools.archive import write_archive
from tools.pack import write_manifest
from tools.serve import find_archives, readable_scans, serve, unpack_copies
from tools.trust import foreign_code


def packed(folder: Path, name: str, version: str = "0.1.0", code: str = "", network: bool = True) -> Path:
    """Zip of a bundle in name only; ``code`` is its abdoseg."""
    root = folder / "made" / version / name
    contents = {"abdoseg/__init__.py": code, "models/model.pt": "weights"}
    if network:
        contents["configs/inference.yaml"] = "network_def: none"
    for path, content in contents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    write_manifest(root, version)
    target = folder / f"{name}_v{version}.zip"
    write_archive(root, target)
    return target


def refusal(function, *arguments) -> str:
    with pytest.raises(CaseError) as error:
        function(*arguments)
    return str(error.value)


def test_zips_are_found_in_a_work_folder_and_by_name(tmp_path):
    fine = packed(tmp_path / "packed", "fine_seg")
    coarse = packed(tmp_path, "coarse_seg")
    (tmp_path / ".tmp-1-coarse_seg_v0.1.0.zip").touch()  # of a process that was killed while it packed
    assert find_archives(str(tmp_path)) == {"coarse_seg": coarse, "fine_seg": fine}
    assert find_archives(f"{fine}, {coarse}") == {"coarse_seg": coarse, "fine_seg": fine}
    newer = packed(tmp_path, "fine_seg", "0.2.0")
    assert refusal(find_archives, str(tmp_path)) == (
        f"{newer} and {fine} hold the same bundle; name one of them by --bundles."
    )


def test_a_folder_without_packed_bundles_is_told_how_to_get_some(tmp_path):
    (tmp_path / "scans.zip").touch()
    told = refusal(find_archives, str(tmp_path))
    assert told.startswith(f"{tmp_path} holds no packed bundle; write one by `python -m tools pack fine_seg ")
    assert refusal(find_archives, "runs/nowhere").startswith("runs/nowhere holds no packed bundle; ")
    told = refusal(unpack_copies, {"fine_seg": tmp_path / "fine_seg_v0.1.0.zip"}, tmp_path)
    assert told == f"{tmp_path / 'fine_seg_v0.1.0.zip'} does not exist; write it with `python -m tools pack`."


def test_what_was_trained_into_a_copy_stays_and_the_zip_is_not_touched(tmp_path):
    archives = {"fine_seg": packed(tmp_path, "fine_seg")}
    before = archives["fine_seg"].read_bytes()
    work = tmp_path / "label"
    assert unpack_copies(archives, work) == ["fine_seg"]
    weights = work / "app" / "model" / "fine_seg" / "models" / "model.pt"
    weights.write_text("trained")
    assert unpack_copies(archives, work) == ["fine_seg"]
    assert weights.read_text() == "trained"
    assert archives["fine_seg"].read_bytes() == before

    other = {"fine_seg": packed(tmp_path / "other", "fine_seg", code="other = True")}
    told = refusal(unpack_copies, other, work)
    assert told.startswith(f"{weights.parents[1]} was not unpacked from {other['fine_seg']} as it is now, and may ")
    assert weights.read_text() == "trained"


def test_what_the_server_has_compiled_is_no_foreign_code_when_it_starts_again(tmp_path):
    archives, work = {"fine_seg": packed(tmp_path, "fine_seg")}, tmp_path / "label"
    unpack_copies(archives, work)
    copy = work / "app" / "model" / "fine_seg"
    before = foreign_code(copy)
    compiled = py_compile.compile(str(copy / "abdoseg" / "__init__.py"))
    assert len(foreign_code(copy)) == len(before) + 1
    unpack_copies(archives, work)
    assert foreign_code(copy) == before
    assert not Path(compiled).exists()


def test_bundles_of_two_versions_of_abdoseg_are_not_served_together(tmp_path):
    fine, coarse = packed(tmp_path, "fine_seg"), packed(tmp_path, "coarse_seg", code="other = True")
    told = refusal(unpack_copies, {"coarse_seg": coarse, "fine_seg": fine}, tmp_path / "label")
    assert told.startswith(f"{coarse} and {fine} were packed with different versions of abdoseg")


def test_a_bundle_without_a_network_is_passed_over(tmp_path, capsys):
    merge = packed(tmp_path, "pseudo_label_merge", network=False)
    told = refusal(unpack_copies, {"pseudo_label_merge": merge}, tmp_path / "label")
    assert told == f"{merge} has no network to serve; pack one that labels."
    archives = {"pseudo_label_merge": merge, "fine_seg": packed(tmp_path, "fine_seg")}
    assert unpack_copies(archives, tmp_path / "label") == ["fine_seg"]
    assert "pseudo_label_merge has no network; it is not served." in capsys.readouterr().out


def test_an_altered_or_renamed_zip_is_refused_and_leaves_nothing(tmp_path):
    archive = packed(tmp_path, "fine_seg")
    altered = rewritten(archive, tmp_path / "altered", lambda root: (root / "models" / "model.pt").write_text("x"))
    models = tmp_path / "label" / "app" / "model"
    told = refusal(unpack_copies, {"fine_seg": altered}, tmp_path / "label")
    assert told == f"{altered} is refused: models/model.pt is not the file that was packed: its sha256 differs."
    outside = with_entry(archive, tmp_path / "fine_seg_v0.1.1.zip", "../evil.py")
    told = refusal(unpack_copies, {"fine_seg": outside}, tmp_path / "label")
    assert told == f"{outside} is refused: '../evil.py' lies outside the bundle."
    assert not list(tmp_path.rglob("evil.py"))
    renamed = archive.rename(tmp_path / "mine_v0.1.0.zip")
    told = refusal(unpack_copies, {"mine": renamed}, tmp_path / "label")
    assert told == f"{renamed} holds the bundle fine_seg; call it fine_seg_v and its version."
    assert not list(models.iterdir())


def test_without_the_servers_environment_or_scans_nothing_is_started(tmp_path):
    told = refusal(serve, str(tmp_path), str(tmp_path), str(tmp_path / "label"), 8000, "127.0.0.1", str(tmp_path))
    assert told == f"{tmp_path} holds no MONAI Label; make it by `make label-env`."
    environment = tmp_path / "environment"
    (environment / "monailabel" / "sample-apps" / "monaibundle").mkdir(parents=True)
    missing = str(tmp_path / "missing")
    told = refusal(serve, str(tmp_path), missing, str(tmp_path / "label"), 8000, "127.0.0.1", str(environment))
    assert told.startswith(f"{missing} is no folder; --studies takes a folder of scans")
    ward = tmp_path / "ward #3"
    told = refusal(serve, str(tmp_path), str(tmp_path), str(ward), 8000, "127.0.0.1", str(environment))
    assert told == f"{ward}: MONAI's configs take # in a path for ::; give a folder without it."
    assert {path.name for path in tmp_path.iterdir()} == {"environment"}


def test_bundles_that_run_other_code_are_not_served_until_they_are_trusted(tmp_path, capsys):
    archive = packed(tmp_path, "fine_seg", code="print('it ran')")
    environment, studies = tmp_path / "environment", tmp_path / "studies"
    (environment / "monailabel" / "sample-apps" / "monaibundle").mkdir(parents=True)
    studies.mkdir()
    told = refusal(serve, str(archive), str(studies), str(tmp_path / "l"), 8000, "127.0.0.1", str(environment))
    assert told.endswith("if you trust it, add --trust.")
    assert "  abdoseg/__init__.py: Python of its own" in capsys.readouterr().out


def test_the_server_gets_scans_that_it_can_read(tmp_path, capsys):
    studies, copies = tmp_path / "studies", tmp_path / "label" / "studies"
    studies.mkdir()
    assert readable_scans(studies, copies) == studies  # scans may come by REST
    told = capsys.readouterr().out
    assert told == f"{studies} holds no scan yet; NIfTI files are looked for in the folder itself alone.\n"
    write_series(volume("oblique"), studies / "anna" / "ct")
    write_series(volume(), studies / "otto" / "ct", places=[0, 1, 2, 3, 4, 5, 8])
    assert readable_scans(studies, copies) == copies
    same_in_place(nib.load(copies / "anna_ct.nii.gz"), volume("oblique"))
    told = capsys.readouterr().out
    assert f"set aside: {studies / 'otto' / 'ct'} (series 3 'Abdomen'): 2 slices are missing" in told
    assert f"1 of 2 DICOM series are served as NIfTI: {copies}" in told
    told = refusal(readable_scans, studies / "otto", tmp_path / "none")
    assert told == f"{studies / 'otto'} holds no series that can be served; the reasons are listed above."
    nib.save(volume(), studies / "scan.nii.gz")
    assert readable_scans(studies, copies) == studies


def test_a_folder_that_cannot_keep_labels_is_refused_before_the_server_starts(tmp_path):
    (tmp_path / "scan.nii.gz").touch()
    tmp_path.chmod(0o555)
    code = (
        "import os; from pathlib import Path; from tools.serve import readable_scans; import tools.dicom_scans\n"
        "os.chdir(os.environ['STUDIES'])\n"
        "if os.geteuid() == 0: os.setuid(65534)  # root may write all\n"
        "readable_scans(Path('.'), Path('copies'))"
    )
    environment = {**os.environ, "STUDIES": str(tmp_path)}
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    tmp_path.chmod(0o755)
    assert told.stderr.strip().endswith(
        "CaseError: . cannot be written, and the server keeps its labels there; give it a copy."
    )
