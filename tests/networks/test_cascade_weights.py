"""Parts that were trained in folders of their own become one cascade, whole or not at all."""

import copy
import json
import logging

import pytest
import torch

from abdoseg.files import CaseError
from abdoseg.networks import (
    assemble_cascade,
    build_network,
    cascade_architecture,
    fill_cascade,
    load_checkpoint,
    read_architecture,
    write_architecture,
)
from tests.networks.test_architecture import CASCADE as STUDENT
from tests.networks.test_nnunet import SMALL_PLAN

ORGANS = {"kind": "nnunet", "plan": SMALL_PLAN}
TUMOR = {"kind": "nnunet", "plan": {**SMALL_PLAN, "classes": 2, "features": [2, 3, 4, 4]}}


def save(folder, architecture, value=None):
    """A folder as training leaves it; with ``value``, every weight is that number."""
    network = build_network(architecture)
    state = network.state_dict()
    if value is not None:
        state = {name: torch.full_like(weight, value) for name, weight in state.items()}
    write_architecture(folder / "architecture.json", network.architecture)
    torch.save(state, folder / "model.pt")
    return folder


def values(network):
    return {float(value.unique()) for value in network.state_dict().values()}


@pytest.fixture
def folders(tmp_path):
    return {
        "organs": save(tmp_path / "organs", ORGANS, 1),
        "student": save(tmp_path / "student", STUDENT, 2),
        "liver": save(tmp_path / "liver", cascade_architecture("liver", TUMOR), 3),
        "kidneys": save(tmp_path / "kidneys", cascade_architecture("kidneys", TUMOR, tmp_path / "organs"), 4),
        "rest": save(tmp_path / "rest", TUMOR, 5),
    }


@pytest.mark.parametrize(("source", "value"), [("organs", 1), ("student", 2), ("kidneys", 4)])
def test_parts_of_every_origin_are_put_together(folders, source, value, tmp_path):
    tumors = {"liver": folders["liver"], "pancreas": None, "kidneys": folders["kidneys"], "rest": folders["rest"]}

    architecture = assemble_cascade(folders[source], tumors, tmp_path / "out")

    assert architecture == read_architecture(tmp_path / "out" / "architecture.json", {})
    assert architecture["organs"]["kind"] == ("coarse_to_fine" if source == "student" else "nnunet")
    assert list(architecture["tumors"]) == ["liver", "kidneys", "rest"]
    network = load_checkpoint(tmp_path / "out" / "model.pt", build_network(architecture))
    assert values(network.organs) == {value}
    assert {family: values(part) for family, part in network.tumors.items()} == {
        "liver": {3},
        "kidneys": {4},
        "rest": {5},
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["architecture.json", "model.pt"]


def test_a_missing_family_is_logged(folders, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assemble_cascade(folders["organs"], {"liver": folders["liver"], "kidneys": None}, tmp_path / "out")
    assert "No network for tumors of the family 'kidneys'" in caplog.text


def test_what_cannot_be_put_together_is_named_and_not_written(folders, tmp_path):
    wrong = {
        "holds a cascade without 'pancreas'": (folders["organs"], {"pancreas": folders["liver"]}),
        "holds a cascade without an organ network": (folders["liver"], {}),
        "Unknown family of hosts 'lung'": (folders["organs"], {"lung": folders["rest"]}),
        "has 5 classes. Use 2": (folders["organs"], {"liver": folders["organs"]}),
    }
    for words, (organs, tumors) in wrong.items():
        with pytest.raises(ValueError, match=words):
            assemble_cascade(organs, tumors, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="name the folder that a part of the cascade was trained into"):
        assemble_cascade(tmp_path, {}, tmp_path / "out")
    torch.save({"stranger": torch.zeros(1)}, folders["rest"] / "model.pt")
    with pytest.raises(CaseError, match=r"do not fit .* \(first tumors\.rest\.\S+\), 1 are unexpected"):
        assemble_cascade(folders["organs"], {"rest": folders["rest"]}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_training_keeps_the_other_parts_of_the_folder(folders, tmp_path):
    tumors = {"liver": folders["liver"], "kidneys": folders["kidneys"]}
    network = build_network(assemble_cascade(folders["organs"], tumors, tmp_path / "out")).select("liver")
    before = copy.deepcopy(network.tumors["liver"].state_dict())

    fill_cascade(network, tmp_path / "out")

    assert values(network.organs) == {1}
    assert values(network.tumors["kidneys"]) == {4}
    assert all(torch.equal(value, before[name]) for name, value in network.tumors["liver"].state_dict().items())
    # Other organs take the place of the folder's.
    fill_cascade(network, tmp_path / "out", save(tmp_path / "new", ORGANS, 9))
    assert values(network.organs) == {9}
    assert values(network.tumors["kidneys"]) == {4}


def test_training_takes_organs_from_a_folder(folders, tmp_path, caplog):
    network = build_network(cascade_architecture("liver", TUMOR, folders["organs"])).select("liver")
    with caplog.at_level(logging.WARNING):
        fill_cascade(network, tmp_path / "out", folders["organs"])
    assert values(network.organs) == {1}
    assert not caplog.text

    alone = build_network(cascade_architecture("liver", TUMOR)).select("liver")
    with caplog.at_level(logging.WARNING):
        fill_cascade(alone, tmp_path / "out")
    assert not caplog.text
    with pytest.raises(CaseError, match="has no organ part"):
        fill_cascade(alone, tmp_path / "out", folders["organs"])


def test_parts_without_weights_are_warned_of(folders, tmp_path, caplog):
    network = build_network(cascade_architecture("liver", TUMOR, folders["organs"])).select("liver")
    with caplog.at_level(logging.WARNING):
        fill_cascade(network, tmp_path / "out")
    assert "out has no model.pt: the other parts of the cascade are not trained" in caplog.text


def test_other_weights_in_the_folder_are_refused(folders):
    network = build_network(cascade_architecture("liver", TUMOR, folders["organs"])).select("liver")
    with pytest.raises(CaseError, match=r"organs/model\.pt does not fit the cascade: .*architecture\.json"):
        fill_cascade(network, folders["organs"])


def test_the_architecture_is_plain_data(folders):
    architecture = cascade_architecture("liver", TUMOR, folders["student"])
    assert json.loads(json.dumps(architecture)) == architecture
