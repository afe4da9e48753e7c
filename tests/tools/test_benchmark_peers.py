"""Engines that the benchmark of peers measures where none are named."""

import pytest

from tools.benchmark_peers import default_engines


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
@pytest.mark.parametrize("installed", [True, False])
def test_openvino_is_measured_where_it_can_run_the_networks(device, installed, monkeypatch):
    monkeypatch.setattr("abdoseg.inferers.engines.has_openvino", lambda: installed)
    wanted = ["openvino", "float32"] if installed and device == "cpu" else ["float32"]
    assert default_engines({"device": device}) == wanted
