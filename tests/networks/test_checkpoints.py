"""Checkpoints load whole or raise one sentence that names the file."""

import copy

import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from abdoseg.networks import build_network, load_checkpoint, load_coarse, unwrap, write_architecture
from tests.networks.test_architecture import CASCADE, EVERY_KIND, STUDENTS, TEACHER

COARSE = STUDENTS[0]


def same(network, state):
    return all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("architecture", EVERY_KIND)
@pytest.mark.parametrize("strict", [True, False])
def test_no_kind_loads_a_part_even_when_asked_to(architecture, strict):
    network = build_network(architecture)
    before = copy.deepcopy(network.state_dict())
    state = copy.deepcopy(before)
    first, second, *_, last = state
    del state[first]
    state["stranger"] = torch.zeros(1)
    state[last] = torch.zeros(7)
    state[second] += 1

    with pytest.raises(RuntimeError) as error:
        network.load_state_dict(state, strict=strict)

    message = str(error.value)
    assert f"1 parameters are missing (first {first})" in message
    assert "1 are unexpected (first stranger)" in message
    assert f"1 have another shape (first {last}, [7] instead of {list(before[last].shape)})" in message
    assert "use the architecture.json that stands beside the checkpoint" in message
    assert "\n" not in message
    assert same(network, before)


@pytest.mark.parametrize("architecture", [COARSE, CASCADE, TEACHER])
@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state, "epoch": 3}])
def test_a_checkpoint_fills_the_network(architecture, wrap, tmp_path):
    source, network = build_network(architecture), build_network(architecture)
    torch.save(wrap(source.state_dict()), tmp_path / "model.pt")

    assert load_checkpoint(tmp_path / "model.pt", network) is network

    assert same(network, source.state_dict())


def test_a_checkpoint_of_another_network_is_named(tmp_path):
    torch.save(build_network(COARSE).state_dict(), tmp_path / "coarse.pt")

    with pytest.raises(
        RuntimeError, match=r"coarse\.pt does not fit the network: .*have another shape.*architecture.json"
    ):
        load_checkpoint(tmp_path / "coarse.pt", build_network({**COARSE, "channels": [2, 3, 5]}))


def test_files_that_hold_no_weights_are_named(tmp_path):
    network = build_network(COARSE)
    (tmp_path / "text.pt").write_text("not a checkpoint")
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save(network.state_dict(), tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:500])
    torch.save(network, tmp_path / "module.pt")
    torch.save({"epoch": 3}, tmp_path / "values.pt")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    torch.save({"model": {"epoch": 3}}, tmp_path / "within.pt")

    for name in ("text.pt", "empty.pt", "cut.pt", "module.pt"):
        with pytest.raises(ValueError, match=rf"{name} is not a checkpoint"):
            load_checkpoint(tmp_path / name, network)
    for name in ("values.pt", "list.pt"):
        with pytest.raises(ValueError, match=rf"{name} holds no state dict"):
            load_checkpoint(tmp_path / name, network)
    with pytest.raises(ValueError, match=r"within\.pt holds no state dict under the key 'model'"):
        load_checkpoint(tmp_path / "within.pt", network)
    with pytest.raises(FileNotFoundError, match=r"absent\.pt: no such checkpoint"):
        load_checkpoint(tmp_path / "absent.pt", network)


def test_the_coarse_stage_fills_the_coarse_part_only(tmp_path):
    coarse, container = build_network(COARSE), build_network(CASCADE)
    before = copy.deepcopy(container.fine.state_dict())
    torch.save({"model": coarse.state_dict()}, tmp_path / "model.pt")
    write_architecture(tmp_path / "architecture.json", coarse.architecture)

    load_coarse(container, tmp_path / "model.pt")

    assert same(container.coarse, coarse.state_dict())
    assert same(container.fine, before)
    assert not any(parameter.requires_grad for parameter in container.coarse.parameters())


def test_a_coarse_stage_with_another_grid_is_refused(tmp_path):
    # The weights would fit; the volumes would be resized to a grid that they were not trained on.
    coarse = build_network({**COARSE, "image_size": [96, 96, 96]})
    torch.save(coarse.state_dict(), tmp_path / "model.pt")
    write_architecture(tmp_path / "architecture.json", coarse.architecture)

    with pytest.raises(ValueError, match=r"image_size \[96, 96, 96\] but .* \[160, 160, 160\]"):
        load_coarse(build_network(CASCADE), tmp_path / "model.pt")


@pytest.mark.parametrize("architecture", [{**CASCADE, "coarse": None}, COARSE])
def test_a_network_without_a_coarse_part_is_refused(architecture, tmp_path):
    torch.save(build_network(COARSE).state_dict(), tmp_path / "model.pt")

    with pytest.raises(ValueError, match="no coarse part"):
        load_coarse(build_network(architecture), tmp_path / "model.pt")


def test_distributed_networks_are_seen_through(tmp_path):
    source, network = build_network(COARSE), build_network(COARSE)
    torch.save(source.state_dict(), tmp_path / "model.pt")
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(network)
        assert unwrap(wrapped) is network
        assert unwrap(network) is network
        load_checkpoint(tmp_path / "model.pt", wrapped)
    finally:
        distributed.destroy_process_group()
    assert same(network, source.state_dict())
