"""A label map as DICOM SEG: in place to the voxel, of the same patient and study, with names and codes."""

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from abdoseg.dicom import CODES, find_series, read_volume, write_segmentation
from abdoseg.files import CaseError
from abdoseg.labels import LABELS, MIRROR_PAIRS
from tests.dicom.written import GRIDS, change, read_segmentation, same_in_place, volume, write_series


def random_labels(shape) -> np.ndarray:
    """Every id somewhere, without any symmetry; the first slice and the last are empty."""
    labels = np.random.default_rng(0).integers(0, 15, shape).astype(np.uint8)
    labels[..., [0, -1]] = 0
    return labels


def written(tmp_path, image=None, labels=None, **attributes):
    """Write a series and a segmentation of it; give the series' grid, the labels on it and the segmentation."""
    image = image or volume()
    write_series(image, tmp_path / "ct", **attributes)
    (series,) = find_series(tmp_path / "ct")
    like = read_volume(series)
    labels = random_labels(like.shape) if labels is None else labels
    write_segmentation(tmp_path / "seg.dcm", labels, series, "fine_seg", "0123abcd")
    return like, labels, pydicom.dcmread(tmp_path / "seg.dcm")


@pytest.mark.parametrize("name", GRIDS)
def test_every_voxel_comes_back_in_its_place(name, tmp_path):
    like, labels, _ = written(tmp_path, volume(name))
    np.testing.assert_array_equal(read_segmentation(tmp_path / "seg.dcm", like), labels)


@pytest.mark.parametrize("name", ["LAS, flipped", "oblique and reversed"])
def test_highdicom_reads_the_same_labels_at_the_same_places(name, tmp_path):
    import highdicom

    labels = random_labels((13, 11, 7))
    labels[0, 0, [0, -1]] = 1  # nothing to crop
    like, labels, _ = written(tmp_path, volume(name), labels)
    theirs = highdicom.seg.segread(tmp_path / "seg.dcm").get_volume(combine_segments=True)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ theirs.affine
    same_in_place(nib.Nifti1Image(theirs.array, affine), nib.Nifti1Image(labels, like.affine))


def test_patient_and_study_are_kept_and_the_series_is_a_new_one(tmp_path):
    _, _, seg = written(
        tmp_path, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg", StudyDescription="Bauch"
    )
    source = pydicom.dcmread(next((tmp_path / "ct").iterdir()))
    for keyword in (
        *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "SpecificCharacterSet", "StudyDescription"),
        *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"),
        "FrameOfReferenceUID",
    ):
        assert seg[keyword].value == source[keyword].value, keyword
    assert str(seg.PatientName) == "Müller^Jörg"
    assert seg.Modality == "SEG"
    assert seg.SOPClassUID == pydicom.uid.SegmentationStorage
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    assert (seg.Manufacturer, seg.ManufacturerModelName, seg.DeviceSerialNumber) == ("abdoseg", "fine_seg", "0123abcd")
    # The slice thickness of the series is 3 mm, its slices lie 2.5 mm apart.
    assert seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices == 2.5


def test_every_frame_refers_to_the_slice_that_it_lies_on(tmp_path):
    _, _, seg = written(tmp_path, volume("oblique and reversed"))
    sources = {dataset.SOPInstanceUID: dataset for dataset in map(pydicom.dcmread, (tmp_path / "ct").iterdir())}
    referenced = seg.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == next(iter(sources.values())).SeriesInstanceUID
    assert {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence} <= set(sources)
    for groups in seg.PerFrameFunctionalGroupsSequence:
        (origin,) = groups.DerivationImageSequence[0].SourceImageSequence
        source = sources[origin.ReferencedSOPInstanceUID]
        assert groups.PlanePositionSequence[0].ImagePositionPatient == source.ImagePositionPatient
    # 5 of 7 slices hold labels, and each of them all 14.
    assert seg.NumberOfFrames == 5 * 14


def test_segments_have_the_classes_names_and_snomed_codes(tmp_path):
    seg = written(tmp_path)[2]
    assert [(part.SegmentNumber, part.SegmentLabel) for part in seg.SegmentSequence] == [
        (label.id, label.name) for label in LABELS
    ]
    names = {"tumor": "neoplasm"}
    sides = {codes.SCT.Right.value: "right ", codes.SCT.Left.value: "left ", None: ""}
    for part in seg.SegmentSequence:
        kind = part.SegmentedPropertyTypeCodeSequence[0]
        side = kind.get("SegmentedPropertyTypeModifierCodeSequence", [None])[0]
        told = sides[side and side.CodeValue] + kind.CodeMeaning.lower()
        assert told == names.get(part.SegmentLabel, part.SegmentLabel)
        assert kind.CodingSchemeDesignator == "SCT"
        assert part.SegmentAlgorithmType == "AUTOMATIC"
        assert len(part.RecommendedDisplayCIELabValue) == 3


def test_the_codes_are_those_of_dicoms_own_table():
    table = codes.SCT
    wanted = [table.Liver, table.Kidney, table.Spleen, table.Pancreas, table.Aorta, table.InferiorVenaCava]
    wanted += [table.AdrenalGland, table.AdrenalGland, table.Gallbladder, table.Esophagus, table.Stomach]
    wanted += [table.Duodenum, table.Kidney, table.Neoplasm]
    assert [code.type.value for code in CODES.values()] == [code.value for code in wanted]
    assert [code.type.meaning for code in CODES.values()] == [code.meaning for code in wanted]
    assert list(CODES) == [label.id for label in LABELS]
    for code in CODES.values():
        is_tumor = code.type.value == table.Neoplasm.value
        category = table.MorphologicallyAbnormalStructure if is_tumor else table.AnatomicalStructure
        assert code.category == (category.value, category.meaning)
    for right, left in MIRROR_PAIRS:
        assert (CODES[right].side, CODES[left].side) == (table.Right[::2], table.Left[::2])
        assert CODES[right].type == CODES[left].type
    assert sum(code.side is None for code in CODES.values()) == len(LABELS) - 2 * len(MIRROR_PAIRS)


def test_an_empty_label_map_is_a_segmentation_without_voxels(tmp_path):
    like, labels, seg = written(tmp_path, labels=np.zeros((13, 11, 7), np.uint8))
    assert not labels.any()
    assert seg.NumberOfFrames == 14
    assert not read_segmentation(tmp_path / "seg.dcm", like).any()


def test_odd_patients_and_missing_attributes_do_not_matter(tmp_path):
    missing = dict.fromkeys(("PatientBirthDate", "StudyID", "StudyDate", "StudyTime", "AccessionNumber"))
    like, labels, seg = written(tmp_path, PatientSex="U", SliceThickness=None, SeriesNumber=None, **missing)
    np.testing.assert_array_equal(read_segmentation(tmp_path / "seg.dcm", like), labels)
    assert seg.PatientSex == "U"
    assert seg.PatientBirthDate == ""


def test_rounded_orientations_are_written(tmp_path):
    def turn(dataset, index):
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 0.9999999, 0.00001 * index]

    like, labels, _ = written(tmp_path, each=turn)
    np.testing.assert_array_equal(read_segmentation(tmp_path / "seg.dcm", like), labels)


def test_labels_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path):
    write_series(volume(), tmp_path / "ct")
    (series,) = find_series(tmp_path / "ct")
    with pytest.raises(CaseError, match=r"has the shape \(11, 13, 7\), its series \(13, 11, 7\)"):
        write_segmentation(tmp_path / "seg.dcm", np.ones((11, 13, 7), np.uint8), series, "fine_seg")
    with pytest.raises(CaseError, match="unknown label value 15"):
        write_segmentation(tmp_path / "seg.dcm", np.full((13, 11, 7), 15, np.uint8), series, "fine_seg")
    assert [path.name for path in tmp_path.iterdir()] == ["ct"]


def test_emptied_uids_are_made_up_but_for_those_of_the_slices(tmp_path, caplog):
    image = volume("oblique and reversed")
    paths = write_series(image, tmp_path / "ct")
    uids = {pydicom.dcmread(path).SOPInstanceUID for path in paths}
    for path in paths:
        change(path, StudyInstanceUID="", SeriesInstanceUID="", FrameOfReferenceUID="", SOPInstanceUID=None)
    (series,) = find_series(tmp_path / "ct")
    assert {part.uid for part in series.slices} == uids
    assert find_series(tmp_path / "ct") == [series]
    like = read_volume(series)
    labels = random_labels(like.shape)
    write_segmentation(tmp_path / "seg.dcm", labels, series, "fine_seg")
    np.testing.assert_array_equal(read_segmentation(tmp_path / "seg.dcm", like), labels)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert seg.StudyInstanceUID == series.study
    referenced = seg.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == series.uid
    assert {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence} == uids
    (message,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    wanted = "lacks StudyInstanceUID, SeriesInstanceUID, FrameOfReferenceUID, made up for its segmentation."
    assert message == f"{tmp_path / 'ct'}: {wanted}"
