"""Abdominal multi-organ and tumor segmentation: the Python that the bundles of this repository name."""

__version__ = "0.1.0"
