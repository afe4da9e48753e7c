"""Other label values and mask files in our ids: looked up by hand, unknown values refused, sides by position."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from abdoseg.datasets import LabelConvention, convert_labels, read_labels
from abdoseg.files import CaseError
from abdoseg.phantom import PhantomSettings, make_case

AFFINE = np.diag([40.0, 40, 40, 1])  # RAS: the greater index is the person's right
KITS = LabelConvention({1: (2, 13), 2: 14, 3: (2, 13)}, (2, 13, 14))


def column(values, dtype=np.uint8) -> np.ndarray:
    """Voxels in a row from left to right."""
    return np.array(values, dtype=dtype).reshape(-1, 1, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_values_are_looked_up(dtype):
    convention = LabelConvention({6: 1, 1: 3, 10: 0, 200: 14})
    converted = convert_labels(column([0, 6, 1, 10, 200, 6], dtype), AFFINE, convention)
    assert converted.dtype == np.uint8
    assert converted.ravel().tolist() == [0, 1, 3, 0, 14, 1]


def test_booleans_are_0_and_1():
    assert convert_labels(column([True, False], bool), AFFINE, LabelConvention({1: 4})).ravel().tolist() == [4, 0]


@pytest.mark.parametrize(
    ("values", "dtype", "words"),
    [
        ([0, 7], np.uint8, "a.nii: unknown label value 7; this data set has 1, 2"),
        ([0, 700], np.int16, "unknown label value 700"),
        ([0, -1], np.int16, "unknown label value -1"),
        ([0, 70000], np.int32, "unknown label value 70000"),
        ([1, 1.5], np.float32, "label values are whole numbers, not 1.5"),
        ([1, np.nan], np.float32, "label values are whole numbers, not nan"),
        ([1, 1], np.complex64, "not values of type complex64"),
    ],
)
def test_what_the_convention_does_not_name_is_refused(values, dtype, words):
    with pytest.raises(CaseError, match=words.replace(".", r"\.")):
        convert_labels(column(values, dtype), AFFINE, LabelConvention({1: 1, 2: 14}), "a.nii")


def test_two_values_of_one_pair_are_split_together():
    # Left kidney, gap, tumor (2), right kidney with its cyst (3): the kidneys' middles lie 240 mm apart.
    converted = convert_labels(column([1, 1, 0, 0, 0, 2, 1, 3]), AFFINE, KITS)
    assert converted.ravel().tolist() == [13, 13, 0, 0, 0, 14, 2, 2]
    mirrored = convert_labels(column([1, 1, 0, 0, 0, 2, 1, 3]), AFFINE @ np.diag([-1, 1, 1, 1]), KITS)
    assert mirrored.ravel().tolist() == [2, 2, 0, 0, 0, 14, 13, 13]


def test_a_tumor_keeps_the_pieces_of_a_kidney_together():
    # Of the gaps between pieces that of the tumor is nearest to the middle of the grid; it is no midline.
    converted = convert_labels(column([1, 0, 1, 2, 2, 1, 0, 0]), AFFINE, KITS)
    assert converted.ravel().tolist() == [13, 0, 2, 14, 14, 2, 0, 0]


def test_masks_lie_over_each_other_and_the_tumor_on_top():
    convention = LabelConvention({"tumor": 14, "kidneys": (2, 13), "liver": 1, "spleen": 3})
    masks = {
        "tumor": [0, 0, 0, 0, 0, 1, 0, 1],
        "spleen": [1, 0, 0, 0, 0, 0, 0, 0],
        "kidneys": [1, 1, 0, 0, 0, 0, 1, 1],
        "liver": [1, 0, 1, 0, 0, 1, 0, 0],
        "lung": [1, 1, 1, 1, 1, 1, 1, 1],
    }
    expected = [13, 13, 1, 0, 0, 14, 2, 14]
    for order in (list(masks), list(masks)[::-1]):
        volumes = ((stem, column(masks[stem])) for stem in order)
        assert convert_labels(volumes, AFFINE, convention).ravel().tolist() == expected
    with pytest.raises(CaseError, match="no mask of kidneys, liver, spleen, tumor among its files"):
        convert_labels([("lung", column([1]))], AFFINE, convention)


def save(path: Path, values, affine=AFFINE, dtype=np.uint8) -> Path:
    nib.save(nib.Nifti1Image(column(values, dtype), affine), path)
    return path


def test_labels_are_read_from_one_file_or_one_a_structure(tmp_path):
    one = save(tmp_path / "a.nii.gz", [1, 0, 0, 1])
    labels, image = read_labels(str(one), KITS)
    assert labels.ravel().tolist() == [13, 0, 0, 2]
    np.testing.assert_array_equal(image.affine, AFFINE)
    assert read_labels(one, LabelConvention())[0].ravel().tolist() == [1, 0, 0, 1]
    masks = [save(tmp_path / f"{stem}.nii.gz", values) for stem, values in {"liver": [1, 0], "spleen": [0, 1]}.items()]
    convention = LabelConvention({"liver": 1, "spleen": 3})
    assert read_labels([str(mask) for mask in masks], convention)[0].ravel().tolist() == [1, 3]
    save(masks[1], [0, 1], np.diag([45.0, 40, 40, 1]))
    with pytest.raises(CaseError, match=r"spleen\.nii\.gz: has another affine .* all masks of a case lie on one grid"):
        read_labels(masks, convention)
    save(one, [1, 9])
    with pytest.raises(CaseError, match=r"a\.nii\.gz: unknown label value 9"):
        read_labels(one, KITS)


def test_a_mask_that_was_interpolated_is_refused(tmp_path):
    """Taken for drawn wherever it is not 0, it would be wider than the organ by a voxel on every side."""
    masks = [save(tmp_path / "liver.nii.gz", [0, 1, 0]), save(tmp_path / "spleen.nii.gz", [0, 0.25, 1], dtype="f4")]
    convention = LabelConvention({"liver": 1, "spleen": 3})
    with pytest.raises(CaseError, match=r"spleen\.nii\.gz: label values such as 0\.25 are not whole numbers"):
        read_labels(masks, convention)
    save(masks[1], [1e-6, 0, 1 - 1e-6], dtype="f4")  # as scaled numbers are
    assert read_labels(masks, convention)[0].ravel().tolist() == [0, 1, 3]


@pytest.mark.parametrize("seed", range(3))
def test_both_sides_of_a_phantom_are_found_again(seed):
    # Stored in an orientation that is drawn, with tumors in the organs, perhaps without a kidney.
    case = make_case([seed, 31], PhantomSettings(tumors=True))
    together = np.zeros(15, dtype=np.uint8)
    together[[2, 13, 7, 8, 14]] = 1, 1, 2, 2, 3
    converted = convert_labels(together[case.truth], case.affine, LabelConvention({1: (2, 13), 2: (7, 8), 3: 14}))
    np.testing.assert_array_equal(converted, np.where(np.isin(case.truth, (2, 7, 8, 13, 14)), case.truth, 0))
