"""The two normalizations against values worked out by hand."""

import pytest
import torch

from abdoseg.transforms import normalize_ct, window_and_standardize


def test_window_and_standardize_by_hand():
    volume = torch.tensor([-1000.0, -325.0, 325.0, 2000.0]).reshape(1, 4, 1, 1)
    # Clipped to -325, -325, 325, 325: mean 0, standard deviation 325.
    expected = torch.tensor([-1.0, -1.0, 1.0, 1.0]).reshape(1, 4, 1, 1)
    torch.testing.assert_close(window_and_standardize(volume), expected)


def test_window_is_an_argument():
    volume = torch.tensor([[-500.0, 100.0]], dtype=torch.float16)
    # Clipped to -200 and 100: mean -50, deviation 150.
    result = window_and_standardize(volume, -200, 400)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, torch.tensor([[-1.0, 1.0]]))


@pytest.mark.parametrize("shape", [(1, 3, 3, 3), (1, 1, 1, 1)])
def test_constant_volume_becomes_zero(shape):
    assert torch.equal(window_and_standardize(torch.full(shape, 40.0)), torch.zeros(shape))


def test_normalize_ct_by_hand():
    normalization = {"lower": -100.0, "upper": 300.0, "mean": 50.0, "std": 25.0}
    volume = torch.tensor([-1000, -100, 50, 100, 3000], dtype=torch.int16)
    assert normalize_ct(volume, normalization).tolist() == [-6.0, -6.0, 0.0, 2.0, 10.0]
