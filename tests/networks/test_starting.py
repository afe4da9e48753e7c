"""Folders of weights: trained ones come before those that a bundle came with, and a training may start from either."""

import pytest
import torch

from abdoseg.files import CaseError
from abdoseg.networks import build_network, start_from, weights_folder
from tests.bundles.tiny import TINY_PLAN

TINY = {"kind": "nnunet", "plan": TINY_PLAN}


def test_the_starter_is_taken_only_where_nothing_was_trained(tmp_path):
    models, starter = tmp_path / "models", tmp_path / "models" / "starter"
    starter.mkdir(parents=True)
    assert weights_folder(models) == str(models)  # errors name the usual place
    (starter / "model.pt").touch()
    assert weights_folder(models) == str(starter)
    (models / "model.pt").touch()
    assert weights_folder(models) == str(models)


def test_a_network_starts_from_weights_in_half_precision_whole_or_not_at_all(tmp_path):
    source, target = build_network(TINY), build_network(TINY)
    torch.save({name: value.half() for name, value in source.state_dict().items()}, tmp_path / "model.pt")
    start_from(target, tmp_path)
    for name, value in target.state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, source.state_dict()[name], rtol=1e-3, atol=1e-4)
    other = build_network({"kind": "nnunet", "plan": {**TINY_PLAN, "features": [2, 4, 8]}})
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(CaseError, match=r"model\.pt does not fit the network"):
        start_from(other, tmp_path)
    start_from(other, None)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
