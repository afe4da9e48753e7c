"""An environment that has the installed libraries and not the repository."""

import os
import subprocess
import sysconfig
import venv
from collections.abc import Collection
from importlib.metadata import packages_distributions
from pathlib import Path


class House:
    """An environment of its own with the installed libraries, without the repository, and a folder to work in.

    Parameters
    ----------
    folder : gets the environment, the folder for zips' contents, and the current folder of commands.
    without : names of packages that are not to be there either.
    """

    def __init__(self, folder: Path, without: Collection[str] = ()) -> None:
        self.here, self.bundles = folder / "elsewhere", folder / "bundles"
        self.here.mkdir()
        venv.create(folder / "environment", with_pip=False, symlinks=True)
        self.python = folder / "environment" / "bin" / "python"
        site = Path(self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        # A folder that a .pth file names is searched, but its own .pth files, which make the repository importable
        # where it is installed, are not read.
        places = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
        if without:
            places = {link_libraries(places, folder / "libraries", {name.lower() for name in without})}
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


def link_libraries(places: Collection[str], folder: Path, without: set[str]) -> str:
    """A folder with links to the installed libraries but those ``without``; gives its path."""
    folder.mkdir()
    modules = {
        module for module, names in packages_distributions().items() if {name.lower() for name in names} & without
    }
    for path in (path for place in places for path in Path(place).iterdir()):
        package = path.name.split("-")[0].replace("_", "-").lower() if path.suffix == ".dist-info" else None
        if path.name.split(".")[0] not in modules and package not in without:
            (folder / path.name).symlink_to(path)
    return str(folder)
