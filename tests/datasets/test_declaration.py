"""Declarations in words: classes by any of their names, both sides in one value, faults in one sentence."""

import pytest

from abdoseg.datasets import LabelConvention, declared_convention, named_convention
from abdoseg.datasets.declaration import could_be_ours, target_of
from abdoseg.files import CaseError
from abdoseg.labels import NAMES


def test_every_class_is_known_by_its_name_and_id():
    for value, name in NAMES.items():
        assert target_of(name) == target_of(value) == target_of(str(value)) == value
    assert target_of(15) is None


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("kidney_right", 2),
        ("Left Kidney", 13),
        ("kidneys", (2, 13)),
        ("Kidney", (2, 13)),
        ("adrenal glands", (7, 8)),
        ("adrenal_gland_left", 8),
        ("postcava", 6),
        ("gall bladder", 9),
        ("Tumour", 14),
        ("liver tumor", 14),
        ("colon cancer primaries", 14),
        ("lesions", 14),
        ("kidney_cyst_right", 2),
        ("liver and tumor", None),
        ("liver vessel", None),
        ("colon", None),
        ("livr", None),
        ("right", None),
        ("", None),
    ],
)
def test_other_names(name, target):
    assert target_of(name) == target


def test_names_that_share_a_word_with_ours_are_not_passed_over():
    assert all(could_be_ours(name) for name in ("liver and tumor", "liver vessel", "superior vena cava", "Kidneys?"))
    assert not any(could_be_ours(name) for name in ("colon", "Vessel", "left lung", "urinary bladder", "femur right"))


def test_a_declaration_is_read():
    convention = declared_convention({1: "kidneys", 2: "tumor", 3: "background"}, ["kidneys", "tumor"], "x")
    assert convention == LabelConvention({1: (2, 13), 2: 14, 3: 0}, (2, 13, 14))
    assert convention.as_dict() == {
        "labels": {"1": ["right kidney", "left kidney"], "2": "tumor", "3": "background"},
        "annotated": ["right kidney", "left kidney", "tumor"],
    }
    assert not convention.is_identity
    assert declared_convention(dict(NAMES), "rule", "x").is_identity
    # The value 2 is none of this data set's, and must not pass for a right kidney.
    assert not declared_convention({1: "liver", 14: "tumor"}, "rule", "x").is_identity
    assert declared_convention(None, "organs", "x").annotated == tuple(range(1, 14))
    assert declared_convention(None, None, "x") == LabelConvention()
    # Healthy people: somebody looked for tumors, and no value stands for one.
    assert declared_convention({1: "liver"}, ["liver", "tumor"], "x").annotated == (1, 14)


@pytest.mark.parametrize(
    ("labels", "annotated", "words"),
    [
        ([1, 2], ["liver"], "x: 'labels' maps values to classes"),
        ({}, ["liver"], "x: 'labels' maps values to classes"),
        ({1: "livr"}, ["liver"], "x: we have no class 'livr' for the label 1; use liver, right kidney"),
        ({1: 15}, ["liver"], "we have no class 15"),
        ({1.0: "liver"}, ["liver"], "the label 1.0 is no value of a label map"),
        ({-1: "liver"}, ["liver"], "the label -1 is no value"),
        ({70000: "liver"}, ["liver"], "the label 70000 is no value"),
        ({True: "liver"}, ["liver"], "the label True is no value"),
        ({0: "liver"}, ["liver"], "the value 0 is background"),
        ({1: "liver", "spleen": "spleen"}, ["liver"], "values or mask files, not both"),
        ({1: "liver"}, ["livr"], "x: 'annotated' names 'livr'; use 'organs', 'rule', liver"),
        ({1: "liver"}, ["background"], "'annotated' names 'background'"),
        ({1: "liver"}, {"liver": 1}, "'annotated' names {'liver': 1}"),
    ],
)
def test_a_faulty_declaration_is_refused_in_one_sentence(labels, annotated, words):
    with pytest.raises(CaseError) as told:
        declared_convention(labels, annotated, "x")
    assert words in str(told.value)
    assert "\n" not in str(told.value)


def test_of_regions_the_smallest_of_ours_counts():
    # KiTS as nnU-Net has it: the cyst (3) is of the kidney, the tumor (2) is the tumor, masses are none of ours.
    names = {"kidney": [1, 2, 3], "masses": [2, 3], "tumor": [2]}
    assert named_convention(names, "x") == LabelConvention({1: (2, 13), 2: 14, 3: (2, 13)}, (2, 13, 14))
    with pytest.raises(CaseError, match=r"x: none of its labels \(masses\) is one of our classes"):
        named_convention({"masses": [2, 3]}, "x")


def test_a_mask_that_is_missing_leaves_its_class_unknown():
    convention = LabelConvention({"liver": 1, "kidney_left": 13, "kidney_cyst_left": 13}, (1, 13, 14))
    assert convention.for_masks(["a/liver.nii.gz", "a/kidney_left.nii.gz"]).annotated == (1, 13, 14)
    # The cyst's mask does not tell where the kidney is; no mask stands for the tumor, which was declared.
    assert convention.for_masks(["a/liver.nii.gz", "a/kidney_cyst_left.nii.gz"]).annotated == (1, 14)
    assert convention.for_masks("a/liver.nii.gz") == convention
    assert LabelConvention({"liver": 1}).for_masks(["a/spleen.nii.gz"]).annotated is None
