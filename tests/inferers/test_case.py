"""What every inferer refuses, and what it gives back."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, decollate_batch

from abdoseg.inferers.case import label_batch
from abdoseg.inferers.engines import device_of
from abdoseg.inferers.precision import autocast_for


def volume_label(volume, spacing, name, labels) -> None:
    """Label every voxel by its case's spacing along z."""
    assert not torch.is_grad_enabled()
    assert not isinstance(volume, MetaTensor)
    assert labels.dtype == torch.uint8
    assert labels.shape == volume.shape[1:]
    labels += int(spacing[2])  # they begin as background


def test_plain_tensor_is_refused_in_one_sentence():
    with pytest.raises(TypeError, match=r"needs a MetaTensor, whose affine tells the spacing; got Tensor"):
        label_batch(torch.zeros(1, 1, 3, 3, 3), volume_label)


@pytest.mark.parametrize("shape", [(1, 3, 3, 3), (1, 2, 3, 3, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"it must be \(B, 1, x, y, z\)"):
        label_batch(MetaTensor(torch.zeros(shape)), volume_label)


def test_other_orientations_are_refused():
    image = MetaTensor(torch.zeros(1, 1, 3, 3, 3), affine=torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0])))
    with pytest.raises(ValueError, match="oriented LPS"):
        label_batch(image, volume_label)


def test_spacing_of_monai_label_and_of_a_batch():
    affine = torch.diag(torch.tensor([1.0, 1.0, 3.0, 1.0]))
    single = label_batch(MetaTensor(torch.zeros(1, 1, 2, 2, 2), affine=affine), volume_label)
    assert single.unique().tolist() == [3]
    pair = torch.stack([affine, torch.diag(torch.tensor([1.0, 1.0, 5.0, 1.0]))])
    both = label_batch(MetaTensor(torch.zeros(2, 1, 2, 2, 2), affine=pair), volume_label)
    assert both[:, 0, 0, 0, 0].tolist() == [3, 5]


def test_result_carries_the_metadata():
    affine = torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0], dtype=torch.float64))
    inputs = MetaTensor(torch.zeros(1, 1, 2, 3, 4), affine=affine[None], meta={"filename_or_obj": ["a.nii.gz"]})
    inputs.is_batch = True
    labels = label_batch(inputs, volume_label)
    assert labels.shape == inputs.shape
    assert labels.dtype == torch.uint8
    (single,) = decollate_batch(labels)
    assert single.shape == (1, 2, 3, 4)
    assert single.meta["filename_or_obj"] == "a.nii.gz"
    np.testing.assert_allclose(single.affine.numpy(), affine.numpy())


def test_device_of_a_network():
    assert device_of(torch.nn.Conv3d(1, 1, 1, device="meta"), torch.device("cpu")).type == "meta"
    assert device_of(torch.nn.ReLU(), torch.device("cpu")).type == "cpu"


def dtype_in(amp) -> torch.dtype:
    with autocast_for(torch.device("cpu"), amp):
        return torch.nn.Linear(2, 2)(torch.zeros(1, 2)).dtype


def test_precision_on_a_processor():
    assert dtype_in(False) == torch.float32
    assert dtype_in(True) == torch.bfloat16
    features = torch.cpu.get_capabilities()
    fast = any(features.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    assert dtype_in("auto") == (torch.bfloat16 if fast else torch.float32)
    with pytest.raises(ValueError, match="'sometimes'"):
        dtype_in("sometimes")
