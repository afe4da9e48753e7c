"""A foreign house: packed bundles, unpacked where the repository is not importable."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.bundles.tiny import BUNDLES, write_cases
from tests.zoo.packing import pack_tiny, unpacked


class House:
    """An environment of its own with the installed libraries, without the repository, and a folder to work in.

    Parameters
    ----------
    folder : gets the environment, the folder for zips' contents, and the current folder of commands.
    """

    def __init__(self, folder: Path) -> None:
        self.here, self.bundles = folder / "elsewhere", folder / "bundles"
        self.here.mkdir()
        venv.create(folder / "environment", with_pip=False, symlinks=True)
        self.python = folder / "environment" / "bin" / "python"
        site = Path(self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        # A folder that a .pth file names is searched, but its own .pth files, which make the repository importable
        # where it is installed, are not read.
        places = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
        (site / "libraries.pth").write_text("\n".join(sorted(places)) + "\n")

    def run(self, *arguments, check: bool = True) -> str:
        """Output of Python; where ``check`` is false, also of a command that fails."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        command = [str(part) for part in (self.python, *arguments)]
        result = subprocess.run(
            command, cwd=self.here, env={**kept, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
        )
        if check:
            assert result.returncode == 0, result.stderr
            return result.stdout
        assert result.returncode != 0, result.stdout
        return result.stdout + result.stderr

    def bundle(self, command: str, root: Path, configs: tuple[str, ...], *options) -> str:
        """Output of ``python -m monai.bundle run COMMAND`` on a bundle, from elsewhere."""
        files = [str(root / "configs" / f"{name}.yaml") for name in configs]
        return self.run(
            *("-m", "monai.bundle", "run", command, "--config_file", str(files), "--bundle_root", root), *options
        )


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
