"""Channels of architectures, against the networks that they build and the metadata that tell of them."""

import copy

import pytest
import torch

from abdoseg.networks import build_network, complete_architecture
from abdoseg.networks.channels import channel_faults, channels_of, data_formats, ids_of
from tests.bundles.tiny import NETWORK_BUNDLES, TINY_PLAN, fallback_architecture, metadata_of, name_of, shrink


@pytest.mark.parametrize("bundle", NETWORK_BUNDLES, ids=name_of)
def test_channels_are_those_of_the_network(bundle):
    network = build_network(shrink(fallback_architecture(bundle))).eval()
    channels, classes = channels_of(network.architecture)
    with torch.inference_mode():
        assert network(torch.zeros(1, channels, 16, 16, 16)).shape[1] == classes
    assert channel_faults(metadata_of(bundle), network.architecture) == []


def test_given_channels_go_before_the_plans():
    plan = TINY_PLAN
    assert channels_of(complete_architecture({"kind": "nnunet", "plan": plan})) == (1, 14)
    given = {"kind": "nnunet", "plan": plan, "in_channels": 2, "out_channels": 5}
    assert channels_of(complete_architecture(given)) == (2, 5)
    tumors = complete_architecture(
        {"kind": "tumor_cascade", "tumors": {"liver": {"kind": "nnunet", "plan": {**plan, "classes": 2}}}}
    )
    assert channels_of(tumors) == (1, 2)


def test_a_cascade_adds_the_tumor_to_the_organs_channels():
    (bundle,) = (bundle for bundle in NETWORK_BUNDLES if bundle.name == "tumor_cascade")
    (student,) = (bundle for bundle in NETWORK_BUNDLES if bundle.name == "fine_seg")
    whole, organs = fallback_architecture(bundle), fallback_architecture(student)
    assert ids_of(whole) == ids_of({**whole, "organs": organs}) == ids_of(organs) == list(range(15))
    assert ids_of({**whole, "organs": None}) == ids_of(whole["tumors"]["liver"]) == [0, 1]
    assert ids_of(whole["organs"]) == list(range(14))
    metadata = copy.deepcopy(metadata_of(bundle))
    del metadata["network_data_format"]["outputs"]["pred"]["channel_def"]["14"]
    (fault,) = channel_faults(metadata, whole)
    assert fault.startswith("network_data_format names 0, 1, ")
    assert fault.endswith(", 12, 13 of pred, which are " + ", ".join(map(str, range(15))))


def test_each_untruth_is_a_clause():
    (bundle,) = (bundle for bundle in NETWORK_BUNDLES if bundle.name == "tumor_cascade")
    architecture = fallback_architecture(bundle)
    assert list(data_formats(architecture)) == [
        f"{name}_data_format" for name in ("network", "liver", "pancreas", "kidneys", "rest")
    ]
    metadata = copy.deepcopy(metadata_of(bundle))
    metadata["network_data_format"]["inputs"]["image"]["num_channels"] = 3
    del metadata["liver_data_format"]["outputs"]["pred"]["channel_def"]["1"]
    del metadata["rest_data_format"]
    metadata["spleen_data_format"] = metadata["pancreas_data_format"]
    assert channel_faults(metadata, architecture) == [
        "spleen_data_format describes a network that the weights lack",
        "network_data_format tells 3 channels of image, the network has 1",
        "liver_data_format names 0 of pred, which are 0, 1",
        "rest_data_format does not tell inputs image",
        "rest_data_format does not tell outputs pred",
    ]
