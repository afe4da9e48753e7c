"""DICOM files for the tests: a NIfTI volume written as a CT series, and a DICOM SEG read by the standard's formulas."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def rotation(degrees: float, axis: str) -> np.ndarray:
    """(4, 4) rotation about an axis of the world."""
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    turn = np.eye(4)
    angle = np.radians(degrees)
    turn[first, first] = turn[second, second] = np.cos(angle)
    turn[second, first], turn[first, second] = np.sin(angle), -np.sin(angle)
    return turn


def grid(x, y, z) -> np.ndarray:
    """(4, 4) RAS affine with these columns."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([x, y, z], dtype=float).T
    affine[:3, 3] = (12.5, -30.25, 101.75)
    return affine


# Array axes (column, row, slice) of axial series, anisotropic; the names say where the axes run.
GRIDS = {
    "LPS": grid((-0.75, 0, 0), (0, -0.8, 0), (0, 0, 2.5)),
    "LPI, feet first": grid((-0.75, 0, 0), (0, -0.8, 0), (0, 0, -2.5)),
    "RAS": grid((0.75, 0, 0), (0, 0.8, 0), (0, 0, 1.25)),
    "RPI": grid((0.75, 0, 0), (0, -0.8, 0), (0, 0, -3)),
    "LAS, flipped": grid((-0.75, 0, 0), (0, 0.8, 0), (0, 0, 5)),
    "PLS, rows and columns exchanged": grid((0, -0.8, 0), (-0.75, 0, 0), (0, 0, 2)),
    "oblique": rotation(17, "x") @ rotation(-9, "z") @ grid((-0.75, 0, 0), (0, -0.8, 0), (0, 0, 2.5)),
    "oblique and reversed": rotation(-12, "y") @ rotation(20, "x") @ grid((-0.7, 0, 0), (0, -0.9, 0), (0, 0, -4)),
}


def hounsfield(shape=(13, 11, 7), seed: int = 0) -> np.ndarray:
    """Whole HU of a CT, without any symmetry."""
    return np.random.default_rng(seed).integers(-1024, 3072, shape).astype(np.int16)


def volume(name: str = "LPS", shape=(13, 11, 7), seed: int = 0) -> nib.Nifti1Image:
    """A volume on one of the `GRIDS`."""
    return nib.Nifti1Image(hounsfield(shape, seed), GRIDS[name])


def write_series(
    image: nib.Nifti1Image,
    folder: Path,
    slopes=1.0,
    intercepts=-1024.0,
    places=None,
    positions=None,
    study: str | None = None,
    each=lambda dataset, index: None,
    **attributes,
) -> list[Path]:
    """Write (x, y, z) as one file a slice; neither the files' names nor InstanceNumber follow the positions.

    Parameters
    ----------
    slopes, intercepts : for all slices, or one for each.
    places : third coordinates, in slices, where they are not 0, 1, 2, ...
    positions : (slices, 3) in DICOM's axes, instead of those of the affine.
    each : changes a slice's dataset before it is written.
    attributes : DICOM attributes of all slices; None leaves one out.

    Returns
    -------
    The paths, in the order of the third axis.
    """
    folder.mkdir(parents=True, exist_ok=True)
    affine = RAS_TO_LPS @ image.affine
    values = np.asarray(image.dataobj)
    count = values.shape[2]
    places = np.arange(count) if places is None else places
    if positions is None:
        positions = np.array([(affine @ [0, 0, place, 1])[:3] for place in places])
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :2] / spacing[:2]
    slopes, intercepts = np.broadcast_to(slopes, count), np.broadcast_to(intercepts, count)
    names = np.random.default_rng(5).permutation(count)
    common = {
        "PatientID": "p1",
        "PatientName": "Phantom^Anna",
        "PatientBirthDate": "19700101",
        "PatientSex": "F",
        "StudyInstanceUID": study or generate_uid(),
        "StudyID": "s1",
        "StudyDate": "20240102",
        "StudyTime": "101112",
        "AccessionNumber": "a1",
        "ReferringPhysicianName": "Doctor^Otto",
        "SeriesInstanceUID": generate_uid(),
        "SeriesNumber": 3,
        "SeriesDescription": "Abdomen",
        "FrameOfReferenceUID": generate_uid(),
        "PositionReferenceIndicator": "",
        "Manufacturer": "none",
        "Modality": "CT",
        "SOPClassUID": CTImageStorage,
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "PatientPosition": "HFS",
        "SliceThickness": 3,
        **attributes,
    }
    paths = []
    for index in range(count):
        dataset = Dataset()
        for keyword, value in common.items():
            if value is not None:
                setattr(dataset, keyword, value)
        dataset.SOPInstanceUID = generate_uid()
        dataset.InstanceNumber = int(count - index)
        dataset.PixelSpacing = decimals([spacing[1], spacing[0]])
        dataset.ImageOrientationPatient = decimals(directions.T.ravel())
        dataset.ImagePositionPatient = decimals(positions[index])
        dataset.RescaleSlope, dataset.RescaleIntercept = float(slopes[index]), float(intercepts[index])
        dataset.RescaleType = "HU"
        stored = np.round((values[..., index].T - intercepts[index]) / slopes[index])
        put_pixels(dataset, stored.astype(np.int16 if stored.min() < 0 else np.uint16))
        each(dataset, index)
        paths.append(folder / f"IM{names[index]:04}")
        save(dataset, paths[-1])
    return paths


def decimals(values) -> list[DSfloat]:
    return [DSfloat(float(value), auto_format=True) for value in values]


def put_pixels(dataset: Dataset, stored: np.ndarray) -> None:
    """Store (rows, columns) 16-bit values."""
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = int(stored.dtype == np.int16)
    dataset.PixelData = np.ascontiguousarray(stored).tobytes()


def save(dataset: Dataset, path: Path) -> None:
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)


def change(path: Path, **attributes) -> None:
    """Change attributes of a file that stands already; None deletes one."""
    dataset = pydicom.dcmread(path)
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    save(dataset, path)


def read_segmentation(path: Path, like: nib.Nifti1Image) -> np.ndarray:
    """Ids of a DICOM SEG on the grid of a volume, by PS3.3's equation C.7.6.2.1-1 from each frame's own attributes.

    Every voxel of the segmentation must hit the center of a voxel of the volume, and each one only one.
    """
    dataset = pydicom.dcmread(path)
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    to_voxel = np.linalg.inv(RAS_TO_LPS @ like.affine)
    labels = np.zeros(like.shape, np.uint8)
    for frame, groups in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        row, column = np.nonzero(frame)
        world = (
            position
            + np.outer(column * between_columns, orientation[:3])
            + np.outer(row * between_rows, orientation[3:])
        )
        voxel = world @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        nearest = np.round(voxel).astype(int)
        assert np.abs(voxel - nearest).max(initial=0) < 1e-3
        assert not labels[tuple(nearest.T)].any()
        labels[tuple(nearest.T)] = number
    return labels


def same_in_place(found: nib.Nifti1Image, wanted: nib.Nifti1Image, away: float = 1e-4) -> None:
    """Assert that two volumes have the same voxel values at the same places, whichever way they are stored.

    Elements of their affines may differ by ``away``.
    """
    found, wanted = nib.as_closest_canonical(found), nib.as_closest_canonical(wanted)
    np.testing.assert_allclose(found.affine, wanted.affine, rtol=0, atol=away)
    np.testing.assert_array_equal(np.asarray(found.dataobj), np.asarray(wanted.dataobj))
