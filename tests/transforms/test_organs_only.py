"""Tumors go to the organ that they lie in, for a network without a tumor class."""

import torch
from monai.data import MetaTensor

from abdoseg.transforms.organs_only import OrgansOnlyd


def case(*parts) -> dict:
    label = torch.zeros(1, 20, 12, 10)
    for box, value in parts:
        label[(0, *box)] = value
    affine = torch.diag(torch.tensor([1.5, 2.0, 3.0, 1.0], dtype=torch.float64))
    return {"id": "0001", "label": MetaTensor(label, affine=affine, meta={"filename_or_obj": "0001.nii.gz"})}


LIVER = (slice(2, 10), slice(2, 10), slice(2, 8))
IN_LIVER = (slice(4, 7), slice(4, 7), slice(3, 6))
ALONE = (slice(15, 18), slice(2, 5), slice(2, 5))


def test_a_tumor_becomes_its_host_and_one_without_host_background():
    given = case((LIVER, 1), (IN_LIVER, 14), (ALONE, 14))
    label = OrgansOnlyd()(given)["label"]
    expected = case((LIVER, 1))["label"]
    assert torch.equal(label.as_tensor(), expected.as_tensor())
    assert label.dtype == expected.dtype
    assert torch.equal(label.affine, expected.affine)
    assert label.meta["filename_or_obj"] == "0001.nii.gz"
    assert int((given["label"] == 14).sum()) == 54  # what went in is not changed


def test_labels_without_tumor_are_handed_on():
    given = case((LIVER, 1))
    assert OrgansOnlyd()(given)["label"] is given["label"]
