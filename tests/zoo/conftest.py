"""A foreign house: packed bundles, unpacked where the repository is not importable."""

import sys
import sysconfig
from pathlib import Path

import pytest

from tests.bundles.tiny import BUNDLES, write_cases
from tests.zoo.house import House
from tests.zoo.packing import pack_tiny, unpacked


@pytest.fixture(scope="session")
def house(tmp_path_factory) -> House:
    """A foreign house, in which the repository cannot be imported."""
    made = House(tmp_path_factory.mktemp("house"))
    assert "No module named 'abdoseg'" in made.run("-c", "import abdoseg", check=False)
    assert "No module named 'tools'" in made.run("-c", "import tools", check=False)
    assert made.run("-c", "import torch; print(torch.__file__)").startswith(sysconfig.get_path("purelib"))
    assert Path(sys.executable) != made.python
    return made


@pytest.fixture(scope="session")
def archives(tmp_path_factory) -> dict[str, Path]:
    """The zip of every bundle, with tiny weights, by name."""
    folder = tmp_path_factory.mktemp("archives")
    return {bundle.name: pack_tiny(bundle, folder) for bundle in BUNDLES}


@pytest.fixture(scope="session")
def roots(house, archives) -> dict[str, Path]:
    """Every bundle, unpacked in the foreign house, by name."""
    return {name: unpacked(archive, house.bundles) for name, archive in archives.items()}


@pytest.fixture(scope="session")
def datalist(tmp_path_factory) -> Path:
    """Path of a data list of tiny scans."""
    return write_cases(tmp_path_factory.mktemp("cases"))
