"""What holds for all tests."""

import pytest


@pytest.fixture(autouse=True)
def engine_of_tests(monkeypatch):
    """PyTorch runs the networks of the tests: an export to OpenVINO takes seconds. `test_engines.py` tests OpenVINO."""
    monkeypatch.setattr("abdoseg.inferers.engines.has_openvino", lambda: False)
