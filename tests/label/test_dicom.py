"""DICOM through the whole house: predict, MONAI Label, a correction, DICOM SEG and back, in place to the voxel."""

import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import requests

from abdoseg.dicom import choose_series, find_series, read_volume
from tests.bundles.tiny import NETWORK_BUNDLES
from tests.dicom.written import GRIDS, read_segmentation, same_in_place, write_series
from tests.label.server import Server
from tests.tools.small_data import labels_of
from tests.zoo.packing import pack_tiny
from tools.dicom import dicom
from tools.predict import predict
from tools.verify import verify

pytestmark = pytest.mark.slow
REAL = Path(__file__).parents[3] / "shared" / "data"
(BUNDLE,) = (bundle for bundle in NETWORK_BUNDLES if bundle.name == "fine_seg")
# Of 0.3 degrees, as rounding leaves it: ITK, on which 3D Slicer stands, knows right angles alone.
BENT = GRIDS["LPS"] + np.outer([0, 1, 0, 0], [0, 0, 0.015, 0])
SYNTHETIC = {name: GRIDS[name] for name in ("LPI, feet first", "LAS, flipped", "oblique and reversed", "RAS")}
SYNTHETIC = {"bent": BENT, **SYNTHETIC}
# The first is a NIfTI file, made a DICOM series here; the second came as one, compressed.
REAL_FILES = {"ct_example_3mm": "ct.nii.gz", "ct_example_dicom20": "dicom.zip"}


def name_of(grid: str) -> str:
    return grid.replace(", ", "-").replace(" ", "-")


CASES = [*(name_of(grid) for grid in SYNTHETIC if grid != "RAS"), *REAL_FILES]


def write_studies(folder: Path) -> None:
    """Series of all cases, each in the folder of its name; of the real ones those that are there."""
    for number, (grid, affine) in enumerate(SYNTHETIC.items()):
        affine = affine @ np.diag([16, 16, 6, 1])
        noise = np.random.default_rng(number).normal(0, 10, (24, 20, 18))
        image = (40.0 * labels_of(range(1, 15), number) - 100 + noise).astype(np.int16)
        write_series(nib.Nifti1Image(image, affine), folder / name_of(grid), PatientID=grid)
    for name, file in REAL_FILES.items():
        if not (REAL / name).is_dir():
            continue
        if file.endswith(".zip"):
            with zipfile.ZipFile(REAL / name / file) as archive:
                archive.extractall(folder / name)
        else:
            write_series(nib.load(REAL / name / file), folder / name, intercepts=-2048)


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> Iterator[tuple[Path, Server]]:
    """A folder with studies, their predictions in out/, and a server of the same bundle and the same studies."""
    folder = tmp_path_factory.mktemp("hospital")
    write_studies(folder / "studies")
    archive = pack_tiny(BUNDLE, folder / "zips")
    verify(str(archive), unpack_to=str(folder))
    result = predict(str(folder / "fine_seg"), str(folder / "studies"), str(folder / "out"))
    assert result["failed"] == {}
    server = Server(folder / "zips", folder / "studies", folder / "work")
    yield folder, server
    server.close()


@pytest.mark.parametrize("name", CASES)
def test_a_series_goes_through_and_every_voxel_stays_in_its_place(name, house, tmp_path):
    folder, server = house
    if not (folder / "studies" / name).is_dir():
        pytest.skip(f"{REAL / name} is not there")
    (case,) = (path.name.removesuffix(".dcm") for path in (folder / "out").glob(f"{name}*.dcm"))
    series, _ = choose_series(find_series(folder / "studies" / name))
    scan = read_volume(series)

    # The same labels by predict, in its NIfTI and in its DICOM SEG, and by the server.
    predicted = nib.load(folder / "out" / f"{case}.nii.gz")
    labels = np.asarray(predicted.dataobj)
    assert len(np.unique(labels)) > 2
    np.testing.assert_array_equal(read_segmentation(folder / "out" / f"{case}.dcm", scan), labels)
    answer = server.infer("fine_seg", case, tmp_path / "answer.nii.gz", result_dtype="uint8")
    away = 1.0 if name == "bent" else 1e-4  # in mm, of voxels of 12 mm
    same_in_place(answer, predicted, away)

    # A person corrects a corner of it, in a program that stores other axes.
    corrected = np.asarray(answer.dataobj).copy()
    corrected[1:4, 2:9, 3:5] = 14
    corrected[5:9, 1:3, 3:4] = 4
    wanted = nib.as_closest_canonical(nib.Nifti1Image(corrected, answer.affine))
    nib.save(wanted, tmp_path / "corrected.nii.gz")
    server.save_label(case, tmp_path / "corrected.nii.gz")

    # What the server keeps becomes a DICOM SEG of the series, and comes back.
    kept = folder / "work" / "studies" / "labels" / "final" / f"{case}.nii.gz"
    assert dicom(str(kept), str(folder / "studies"), str(tmp_path / "seg")) == {"written": [case], "failed": {}}
    same_in_place(nib.Nifti1Image(read_segmentation(tmp_path / "seg" / f"{case}.dcm", scan), scan.affine), wanted, away)
    assert dicom(str(tmp_path / "seg"), str(folder / "studies"), str(tmp_path / "back"))["written"] == [case]
    back = nib.load(tmp_path / "back" / f"{case}.nii.gz")
    same_in_place(back, wanted, away)
    assert (np.asarray(back.dataobj) != labels).any()

    # Read back, it is again a label that the server takes.
    server.save_label(case, tmp_path / "back" / f"{case}.nii.gz")
    answer = server.ask("GET", "/datastore/label", params={"label": case, "tag": "final"})
    (tmp_path / "again.nii.gz").write_bytes(answer.content)
    same_in_place(nib.load(tmp_path / "again.nii.gz"), wanted, away)


def test_a_segmentation_becomes_a_label_of_the_running_server(house, tmp_path):
    folder, server = house
    final = folder / "work" / "studies" / "labels" / "final"
    assert not (final / "RAS.nii.gz").exists()
    dicom(str(folder / "out" / "RAS.dcm"), str(folder / "studies"), str(tmp_path))
    shutil.copy(tmp_path / "RAS.nii.gz", final)
    deadline = time.monotonic() + 30
    while not requests.get(f"{server.address}/datastore/label?label=RAS&tag=final", timeout=60).ok:
        assert time.monotonic() < deadline, server.told()
        time.sleep(0.5)
    answer = server.ask("GET", "/datastore/label", params={"label": "RAS", "tag": "final"})
    (tmp_path / "label.nii.gz").write_bytes(answer.content)
    same_in_place(nib.load(tmp_path / "label.nii.gz"), nib.load(folder / "out" / "RAS.nii.gz"))
