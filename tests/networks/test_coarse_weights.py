"""The fine stage takes architecture and weights of the coarse stage from one folder."""

import copy

import pytest
import torch

from abdoseg.networks import build_network, coarse_to_fine_architecture, fill_coarse, write_architecture
from tests.networks.test_architecture import STUDENTS

COARSE, FINE = STUDENTS


@pytest.fixture
def coarse_dir(tmp_path):
    """What coarse_seg leaves; the weights are zeros, so that a container cannot have them by chance."""
    network = build_network(COARSE)
    torch.save({name: torch.zeros_like(value) for name, value in network.state_dict().items()}, tmp_path / "model.pt")
    write_architecture(tmp_path / "architecture.json", network.architecture)
    return tmp_path


def test_the_container_has_the_coarse_network_of_the_folder(coarse_dir):
    architecture = coarse_to_fine_architecture(FINE, coarse_dir)
    assert architecture == {"kind": "coarse_to_fine", "coarse": build_network(COARSE).architecture, "fine": FINE}
    network = build_network(architecture)
    fine = copy.deepcopy(network.fine.state_dict())
    fill_coarse(network, coarse_dir)
    assert all(not value.any() for value in network.coarse.state_dict().values())
    assert all(torch.equal(value, fine[name]) for name, value in network.fine.state_dict().items())


def test_without_a_folder_there_is_no_coarse_part():
    architecture = coarse_to_fine_architecture(FINE)
    assert architecture["coarse"] is None
    network = build_network(architecture)
    before = copy.deepcopy(network.state_dict())
    fill_coarse(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_folder_that_lacks_a_file_is_named(coarse_dir):
    network = build_network(coarse_to_fine_architecture(FINE, coarse_dir))
    (coarse_dir / "model.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.pt: no such checkpoint"):
        fill_coarse(network, coarse_dir)
    (coarse_dir / "architecture.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"architecture\.json does not exist; coarse_dir must be the folder"):
        coarse_to_fine_architecture(FINE, coarse_dir)
