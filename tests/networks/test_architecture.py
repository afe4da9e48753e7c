"""Networks come from plain data, and the data comes back with them."""

import copy
import json

import pytest
import torch

from abdoseg.networks import build_network, complete_architecture, read_architecture, write_architecture
from tests.networks.measure import parameter_count
from tests.networks.test_nnunet import SMALL_PLAN

NARROW = [2, 3, 4]
STUDENTS = [
    {"kind": "residual_unet", "channels": NARROW},
    {"kind": "efficient_segnet", "channels": NARROW, "image_size": (16, 16, 16), "highest_id_wins": True},
]
CASCADE = {"kind": "coarse_to_fine", "coarse": STUDENTS[0], "fine": STUDENTS[1]}
TEACHER = {"kind": "nnunet", "plan": SMALL_PLAN}
TUMOR = {"kind": "nnunet", "plan": {**SMALL_PLAN, "classes": 2}}
TUMOR_CASCADE = {"kind": "tumor_cascade", "organs": CASCADE, "tumors": {"liver": TUMOR, "rest": TUMOR}}
EVERY_KIND = [*STUDENTS, CASCADE, {**CASCADE, "coarse": None}, TEACHER, TUMOR_CASCADE]


@pytest.mark.parametrize("architecture", EVERY_KIND)
def test_every_kind_gives_background_and_classes_and_scripts(architecture):
    given = copy.deepcopy(architecture)
    network = build_network(architecture).eval()
    image = torch.randn(1, 1, 16, 8, 8)

    logits = network(image)

    assert logits.shape == (1, 5 if architecture is TEACHER else 15, 16, 8, 8)
    torch.testing.assert_close(torch.jit.script(network)(image), logits)
    assert architecture == given


@pytest.mark.parametrize("architecture", EVERY_KIND)
def test_the_file_of_a_network_builds_the_same_network(architecture, tmp_path):
    network = build_network(architecture).eval()

    write_architecture(tmp_path / "models" / "architecture.json", network.architecture)
    twin = build_network(read_architecture(tmp_path / "models" / "architecture.json", default={})).eval()
    twin.load_state_dict(network.state_dict())

    assert twin.architecture == network.architecture
    image = torch.randn(1, 1, 16, 8, 8)
    assert torch.equal(twin(image), network(image))


def test_defaults_are_the_papers_networks():
    with torch.device("meta"):
        network = build_network({"kind": "coarse_to_fine", "coarse": {"kind": "residual_unet"}})

    assert parameter_count(network.coarse) == 10_705_568
    assert parameter_count(network.fine) == 9_366_176
    assert network.architecture["coarse"]["image_size"] == [160, 160, 160]
    assert network.architecture["fine"]["image_size"] == [192, 192, 192]


def test_settings_reach_the_network():
    network = build_network(
        {**STUDENTS[1], "in_channels": 2, "out_channels": 3, "dropout": 0.0, "anisotropic_axis": "z"}
    )
    inner = network.network

    assert network.highest_id_wins
    assert inner.head.out_channels == 3
    assert inner.encoder[0][0].body[0][0].in_channels == 2
    assert inner.encoder[0][0].body[0][2].p == 0
    assert inner.decoder[0].body[1][0].kernel_size == (1, 1, 3)
    assert inner.context.strips.strip_size == (4, 4, 4)


def test_lists_and_tuples_are_the_same_architecture():
    assert complete_architecture({**STUDENTS[1], "image_size": [16, 16, 16]}) == complete_architecture(STUDENTS[1])


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ({"kind": "unet"}, "Unknown architecture kind 'unet'. Use one of 'residual_unet', 'efficient_segnet'"),
        ({}, "Unknown architecture kind None"),
        ([1], "is a dict"),
        ({"kind": "residual_unet", "width": 3}, "Unknown key 'width' .*Use 'in_channels'"),
        ({"kind": "nnunet"}, "needs the key 'plan'"),
        ({"kind": "coarse_to_fine", "fine": None}, "is a dict"),
        ({"kind": "coarse_to_fine", "coarse": {"kind": "unet"}}, "Unknown architecture kind 'unet'"),
        ({"kind": "coarse_to_fine", "fine": {"kind": "coarse_to_fine"}}, "cannot be another one"),
        ({"kind": "residual_unet", "channels": torch.ones(2)}, "plain data only"),
        ({"kind": "tumor_cascade"}, "needs the key 'tumors'"),
        ({"kind": "tumor_cascade", "tumors": [TUMOR]}, "are a dict by family"),
        (
            {"kind": "tumor_cascade", "tumors": {"colon": TUMOR}},
            "Unknown family .* 'colon'. Use 'liver', .*'rest'",
        ),
        ({"kind": "tumor_cascade", "tumors": {"liver": TEACHER}}, "The liver part .* has 5 classes. Use 2"),
        ({"kind": "tumor_cascade", "tumors": {"liver": STUDENTS[0]}}, "is of kind 'residual_unet'. Use 'nnunet'"),
        ({"kind": "tumor_cascade", "organs": STUDENTS[0], "tumors": {}}, "organs .* 'residual_unet'. Use 'nnunet' or"),
    ],
)
def test_architectures_that_are_not_valid_are_refused(architecture, message):
    with pytest.raises(ValueError, match=message):
        build_network(architecture)


def test_without_a_file_the_default_holds(tmp_path):
    assert read_architecture(tmp_path / "none.json", STUDENTS[0]) == complete_architecture(STUDENTS[0])


@pytest.mark.parametrize(
    ("text", "message"), [('{"kind": ', "not valid JSON"), (json.dumps({"kind": "unet"}), "Unknown architecture kind")]
)
def test_a_file_that_is_no_architecture_is_named(tmp_path, text, message):
    path = tmp_path / "architecture.json"
    path.write_text(text)

    with pytest.raises(ValueError, match=message) as error:
        read_architecture(path, STUDENTS[0])
    assert str(path) in str(error.value)


def test_an_architecture_that_is_not_valid_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="Unknown key"):
        write_architecture(tmp_path / "architecture.json", {"kind": "residual_unet", "x": 1})
    assert list(tmp_path.iterdir()) == []
