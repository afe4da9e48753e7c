"""A DICOM SEG as a label map: in place to the voxel, whoever wrote it, and what is refused."""

from copy import deepcopy
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.sr import CodedConcept

from abdoseg.dicom import find_series, grid_of, read_segmentation, read_volume, write_segmentation
from abdoseg.files import CaseError
from tests.dicom.written import GRIDS, RAS_TO_LPS, change, volume, write_series

REAL = Path(__file__).parents[3] / "shared" / "data" / "geometry" / "dcmqi_ct3slice"
SHAPE = (13, 11, 7)
ORGAN = CodedConcept("91723000", "SCT", "Anatomical Structure")
KIDNEY = CodedConcept("64033007", "SCT", "Kidney")
OLD_LIVER = CodedConcept("T-62000", "SRT", "Liver")
LEFT = CodedConcept("7771000", "SCT", "Left")
TUMOR = CodedConcept("108369006", "SCT", "Neoplasm")


def random_labels() -> np.ndarray:
    labels = np.random.default_rng(0).integers(0, 15, SHAPE).astype(np.uint8)
    labels[..., [0, 4]] = 0
    return labels


def only(folder):
    (series,) = find_series(folder)
    return series


@pytest.mark.parametrize("name", GRIDS)
def test_what_we_write_comes_back_to_the_voxel(name, tmp_path):
    write_series(volume(name), tmp_path / "ct")
    series, labels = only(tmp_path / "ct"), random_labels()
    write_segmentation(tmp_path / "seg.dcm", labels, series, "fine_seg")
    found, referenced = read_segmentation(tmp_path / "seg.dcm", find_series(tmp_path))
    assert referenced == series
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, labels)
    assert grid_of(series).shape == found.shape
    np.testing.assert_array_equal(grid_of(series).affine, read_volume(series).affine)


def test_an_empty_one_comes_back_empty(tmp_path):
    write_series(volume(), tmp_path / "ct")
    write_segmentation(tmp_path / "seg.dcm", np.zeros(SHAPE, np.uint8), only(tmp_path / "ct"), "fine_seg")
    assert not read_segmentation(tmp_path / "seg.dcm", find_series(tmp_path / "ct"))[0].any()


def segment(number: int, label: str, kind: CodedConcept, side: CodedConcept | None = None):
    described = highdicom.seg.SegmentDescription(number, label, ORGAN, deepcopy(kind), "MANUAL")
    if side is not None:
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    return described


def write_foreign(path: Path, folder: Path, masks, segments, turn=lambda mask: mask, kind: str = "BINARY") -> None:
    """A segmentation by highdicom alone: (x, y, z, segments) masks on the grid of a series, its axes turned."""
    headers = [pydicom.dcmread(file) for file in sorted(folder.iterdir())]
    affine = RAS_TO_LPS @ read_volume(only(folder)).affine
    uid = headers[0].FrameOfReferenceUID
    whole = highdicom.Volume(
        masks, affine, "PATIENT", uid, channels={"SegmentNumber": [s.SegmentNumber for s in segments]}
    )
    highdicom.seg.Segmentation(
        source_images=headers,
        pixel_array=turn(whole),
        segmentation_type=kind,
        segment_descriptions=segments,
        series_instance_uid=highdicom.UID(),
        series_number=7,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="other",
        manufacturer_model_name="other",
        software_versions="1",
        device_serial_number="1",
    ).save_as(path)


# Axes of the frames: highdicom stacks frames along the first array axis, rows are the second, columns the third.
TURNS = {
    "as the series": lambda mask: mask.permute_spatial_axes([2, 1, 0]),
    "slices backwards": lambda mask: mask.permute_spatial_axes([2, 1, 0]).flip_spatial(0),
    "rows and columns exchanged": lambda mask: mask.permute_spatial_axes([2, 0, 1]),
    "columns backwards": lambda mask: mask.permute_spatial_axes([2, 1, 0]).flip_spatial(2),
    "sagittal frames": lambda mask: mask.permute_spatial_axes([0, 2, 1]),
    "a part": lambda mask: mask.permute_spatial_axes([2, 1, 0])[1:4, 2:9],
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("name", ["LAS, flipped", "oblique and reversed"])
def test_other_programs_segments_are_known_by_names_and_codes(name, turn, tmp_path):
    write_series(volume(name), tmp_path / "ct")
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:7, 4:8, 1:3], labels[9:12, 2:6, 1:4], labels[4:6, 5:7, 2:4] = 1, 13, 14
    masks = np.stack([labels == 13, labels == 14, np.isin(labels, [1, 14])], axis=-1)  # the liver holds the tumor
    segments = [segment(1, "Segment_1", KIDNEY, LEFT), segment(2, "lesion", TUMOR), segment(3, "Leber", OLD_LIVER)]
    write_foreign(tmp_path / "seg.dcm", tmp_path / "ct", masks, segments, TURNS[turn])
    found, _ = read_segmentation(tmp_path / "seg.dcm", find_series(tmp_path / "ct"))
    np.testing.assert_array_equal(found, labels)


def test_a_name_of_ours_counts_more_than_a_code(tmp_path):
    write_series(volume(), tmp_path / "ct")
    mask = np.zeros((*SHAPE, 1), bool)
    mask[2, 3, 4] = True
    # MONAI Label gives every segment the spleen's code, and the name that the bundle gave it.
    spleen = CodedConcept("78961009", "SCT", "Pancreas")
    write_foreign(tmp_path / "seg.dcm", tmp_path / "ct", mask, [segment(1, "Pancreas", spleen)], TURNS["as the series"])
    found, _ = read_segmentation(tmp_path / "seg.dcm", find_series(tmp_path / "ct"))
    assert np.argwhere(found).tolist() == [[2, 3, 4]]
    assert found[2, 3, 4] == 4


def refusal(path: Path, folder: Path) -> str:
    with pytest.raises(CaseError) as error:
        read_segmentation(path, find_series(folder))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_segments_that_are_no_class_or_overlap_are_refused(tmp_path):
    write_series(volume(), tmp_path / "ct")
    masks = np.zeros((*SHAPE, 2), bool)
    masks[2:4, 3, 4, 0] = masks[3, 3, 4, 1] = True
    segments = [segment(1, "liver", OLD_LIVER), segment(2, "Rib", CodedConcept("113197003", "SCT", "Rib"))]
    turn = TURNS["as the series"]
    write_foreign(tmp_path / "seg.dcm", tmp_path / "ct", masks, segments, turn)
    told = refusal(tmp_path / "seg.dcm", tmp_path / "ct")
    assert "segment 2 'Rib' (Rib) is none of the classes; name it as one of liver, right kidney, " in told
    segments[1] = segment(2, "kidney without a side", KIDNEY)
    write_foreign(tmp_path / "seg.dcm", tmp_path / "ct", masks, segments, turn)
    assert "(Kidney) is none of the classes" in refusal(tmp_path / "seg.dcm", tmp_path / "ct")
    segments[1] = segment(2, "Spleen", KIDNEY)
    write_foreign(tmp_path / "seg.dcm", tmp_path / "ct", masks, segments, turn)
    told = refusal(tmp_path / "seg.dcm", tmp_path / "ct")
    assert "segments liver and spleen overlap in 1 pixels of a slice" in told


def test_another_grid_than_that_of_the_series_is_refused(tmp_path):
    write_series(volume(), tmp_path / "ct")
    series = only(tmp_path / "ct")
    write_segmentation(tmp_path / "seg.dcm", random_labels(), series, "fine_seg")
    between = "its pixels are not the voxels of its series but lie between them"
    for keyword, value, words in (
        ("PlanePositionSequence", lambda frame: move(frame, 0.4), between),  # rows and columns are 0.75 and 0.8 mm
        ("PlanePositionSequence", lambda frame: move(frame, 75), "reaches beyond series 3 'Abdomen'"),
        ("PixelMeasuresSequence", lambda shared: scale(shared, 2), between),
        ("PixelMeasuresSequence", lambda shared: scale(shared, 1.05), between),
    ):
        dataset = pydicom.dcmread(tmp_path / "seg.dcm")
        own = keyword == "PlanePositionSequence"
        for groups in dataset.PerFrameFunctionalGroupsSequence if own else dataset.SharedFunctionalGroupsSequence:
            value(groups[keyword].value[0])
        dataset.save_as(tmp_path / "moved.dcm")
        assert words in refusal(tmp_path / "moved.dcm", tmp_path / "ct")


def test_an_incomplete_segmentation_is_refused(tmp_path):
    write_series(volume(), tmp_path / "ct")
    path = tmp_path / "seg.dcm"
    write_segmentation(path, random_labels(), only(tmp_path / "ct"), "fine_seg")
    for keyword in ("SegmentSequence", "PerFrameFunctionalGroupsSequence", "NumberOfFrames", "Rows", "PixelData"):
        dataset = pydicom.dcmread(path)
        del dataset[keyword]
        dataset.save_as(tmp_path / "less.dcm")
        told = refusal(tmp_path / "less.dcm", tmp_path / "ct")
        assert told == f"{tmp_path / 'less.dcm'}: lacks {keyword}; export the segmentation anew."


def move(plane, millimeters: float) -> None:
    plane.ImagePositionPatient = [plane.ImagePositionPatient[0] + millimeters, *plane.ImagePositionPatient[1:]]


def scale(measures, factor: float) -> None:
    measures.PixelSpacing = [float(value) * factor for value in measures.PixelSpacing]


def test_what_is_no_binary_segmentation_of_a_series_that_is_there_is_refused(tmp_path):
    (first, *_) = write_series(volume(), tmp_path / "ct")
    write_series(volume(), tmp_path / "other")
    series = only(tmp_path / "ct")
    path = tmp_path / "seg.dcm"
    write_segmentation(path, random_labels(), series, "fine_seg")
    told = refusal(path, tmp_path / "other")
    assert told == f"{path}: the series {series.uid}, which it refers to, is not there; put it there."
    assert refusal(first, tmp_path / "ct") == f"{first}: modality CT; a DICOM segmentation is needed."
    change(path, ReferencedSeriesSequence=None)
    assert "does not tell which series it was drawn on" in refusal(path, tmp_path / "ct")
    masks = np.zeros((*SHAPE, 1), np.float32)
    masks[2, 3, 4] = 0.5
    turn = TURNS["as the series"]
    write_foreign(path, tmp_path / "ct", masks, [segment(1, "liver", OLD_LIVER)], turn, "FRACTIONAL")
    assert "a segmentation of type FRACTIONAL; export it as BINARY" in refusal(path, tmp_path / "ct")
    write_segmentation(path, random_labels(), series, "fine_seg")
    change(path, PixelData=pydicom.dcmread(path).PixelData[:-200])
    assert refusal(path, tmp_path / "ct") == f"{path}: the DICOM file is cut short; send it anew."
    path.write_bytes(b"no DICOM")
    assert refusal(path, tmp_path / "ct").startswith(f"{path}: not a readable DICOM file (")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real segmentation is not there")
def test_a_real_segmentation_is_what_its_maker_gave_beside_it():
    import SimpleITK

    (series,) = (one for one in find_series(REAL) if one.modality == "CT")
    found, _ = read_segmentation(REAL / "liver.dcm", [series])
    theirs = SimpleITK.ReadImage(str(REAL / "liver_seg.nrrd"))
    where = np.argwhere(SimpleITK.GetArrayFromImage(theirs).transpose(2, 1, 0))
    assert len(where) == (found == 1).sum() == (found > 0).sum() > 1000
    voxels = np.array([theirs.TransformIndexToPhysicalPoint(voxel.tolist()) for voxel in where])
    world = RAS_TO_LPS[:3, :3] @ voxels.T
    affine = grid_of(series).affine
    index = np.linalg.solve(affine[:3, :3], world - affine[:3, 3:])
    assert np.abs(index - np.round(index)).max() < 0.01
    assert (found[tuple(np.round(index).astype(int))] == 1).all()
