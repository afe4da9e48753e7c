"""What holds for all tests."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def engine_of_tests():
    """PyTorch runs the networks of the tests: an export to OpenVINO takes seconds. `test_engines.py` tests OpenVINO."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("abdoseg.inferers.engines.has_openvino", lambda: False)
        yield
