"""Lets the label server import a torchvision that is built for CUDA beside a torch that is not.

MONAI Label imports torchvision, of which package registries hold builds for CUDA only. Beside a torch without CUDA its
compiled operators cannot be loaded, and the import ends with "operator torchvision::nms does not exist", as Python code
in it adds to operators that are not there. Where they are missing they are declared here, without a body, just before
the import; nothing that is served calls them. Python itself imports this module from any folder in PYTHONPATH, so that
it also reaches the processes that the server starts for trainings.
"""

import importlib.abc
import importlib.machinery
import sys
from pathlib import Path

BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
OPERATORS = ("nms", "qnms")


class DeclareOperators(importlib.abc.MetaPathFinder):
    """Finds nothing; acts once, when torchvision is looked for."""

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            spec = importlib.machinery.PathFinder.find_spec(name)
            if spec is not None:
                declare_missing(Path(spec.origin).parent)


def declare_missing(package: Path) -> None:
    """Load torchvision's compiled operators, and declare those that are not there afterwards."""
    import torch

    for library in sorted(package.glob("_C*.so")):
        try:
            torch.ops.load_library(library)
        except OSError:
            continue
    for operator in OPERATORS:
        if not hasattr(torch.ops.torchvision, operator):
            torch.library.define(f"torchvision::{operator}", BOXES)


sys.meta_path.insert(0, DeclareOperators())
