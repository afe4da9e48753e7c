"""Data that all tests of bundles share."""

import pytest

from tests.bundles.tiny import write_cases


@pytest.fixture(scope="session")
def datalist(tmp_path_factory) -> str:
    """Path of a data list of tiny scans."""
    return str(write_cases(tmp_path_factory.mktemp("cases")))
