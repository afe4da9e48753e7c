"""The plain pipeline of the benchmark: it brings scans to the device of its networks."""

import nibabel as nib
import torch
from torch import nn

from tests.tools.small_data import SHAPE, save_scan
from tools.benchmark_plain import PlainPipeline


class Elsewhere(nn.Module):
    """A coarse and a fine network that find nothing, with weights on another device; it notes where images lie."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, device="meta"))
        self.seen = []

    def coarse(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append(image.device.type)
        return torch.zeros(1, 15, *image.shape[2:])

    fine = coarse


def test_images_come_to_the_networks_on_their_device(tmp_path):
    scan, networks = save_scan(tmp_path / "0001.nii.gz"), Elsewhere()
    pipeline = PlainPipeline(networks, [(16, 16, 16)] * 2, [(-325, 325)] * 2, 20.0, tmp_path / "out")
    pipeline(str(scan))
    assert networks.seen == ["meta", "meta"]
    (written,) = (tmp_path / "out").rglob("*.nii.gz")
    assert nib.load(written).shape == SHAPE
