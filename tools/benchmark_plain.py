"""The same student as a plain MONAI pipeline: what the zoo's bundles are made of, as the peer in a benchmark."""

from pathlib import Path

import torch
from monai.networks.utils import eval_mode
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    Compose,
    Invertd,
    KeepLargestConnectedComponent,
    KeepLargestConnectedComponentd,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    Resized,
    SaveImaged,
    ScaleIntensityRanged,
    SpatialCropd,
    generate_spatial_bounding_box,
)

from abdoseg.inferers.engines import device_of
from abdoseg.networks import CoarseToFineNetwork
from abdoseg.transforms import spacing_of


class PlainPipeline:
    """Coarse to fine by stock transforms: float32, probabilities brought back by ``Invertd``, labels by arg-max.

    It gives what `abdoseg.inferers.CoarseToFineInferer` gives, but for details of interpolation and of components:
    here every class keeps its largest component alone, tumors too.

    Parameters
    ----------
    network : both networks, in eval mode; called as they are, in PyTorch, on their device.
    sizes : grids (x, y, z) of the coarse and the fine network.
    windows : (lower, upper) in HU of both.
    margin_mm : widening of the region of interest on each side.
    output : folder for the label maps; SaveImage makes a folder a scan in it.
    """

    def __init__(self, network: CoarseToFineNetwork, sizes, windows, margin_mm: float, output: Path) -> None:
        self.network = network
        self.device = device_of(network, torch.device("cpu"))
        self.sizes = [tuple(size) for size in sizes]
        self.windows = [tuple(window) for window in windows]
        self.margin_mm = margin_mm
        self.loading = [
            LoadImaged("image", ensure_channel_first=True),
            Orientationd("image", axcodes="RAS", labels=None),
        ]
        self.saving = [
            AsDiscreted("pred", argmax=True),
            KeepLargestConnectedComponentd("pred", is_onehot=False),
            SaveImaged("pred", output_dir=output, output_postfix="", output_dtype="uint8", print_log=False),
        ]

    def __call__(self, scan: str) -> None:
        """Label one scan, from file to file."""
        with torch.no_grad(), eval_mode(self.network):
            item = Compose(self.loading)({"image": scan})
            start, end = self.region_of_interest(item)
            seen = Compose([SpatialCropd("image", roi_start=start, roi_end=end), *self.input_of(1)])
            item = seen(item)
            item["pred"] = self.network.fine(item["image"][None].to(self.device))[0]
            whole = Compose([*self.loading, *seen.transforms])
            Compose(
                [
                    Activationsd("pred", sigmoid=True),
                    Invertd("pred", transform=whole, orig_keys="image", nearest_interp=False),
                    *self.saving,
                ]
            )(item)

    def input_of(self, stage: int) -> list:
        """Give the transforms before the coarse (0) and the fine (1) network."""
        lower, upper = self.windows[stage]
        return [
            Resized("image", spatial_size=self.sizes[stage], mode="trilinear", align_corners=True),
            ScaleIntensityRanged("image", a_min=lower, a_max=upper, b_min=lower, b_max=upper, clip=True),
            NormalizeIntensityd("image"),
        ]

    def region_of_interest(self, item: dict) -> tuple[list[int], list[int]]:
        """Give first and last + 1 voxel along (x, y, z) of what the coarse network finds, widened by the margin."""
        shape = item["image"].shape[1:]
        if self.network.coarse is None:
            return [0, 0, 0], list(shape)
        image = Compose(self.input_of(0))(item)["image"]
        labels = self.network.coarse(image[None].to(self.device))[0].argmax(0, keepdim=True)
        labels = KeepLargestConnectedComponent(is_onehot=False)(labels)
        if not labels.any():
            return [0, 0, 0], list(shape)
        first, last = generate_spatial_bounding_box(labels)
        start, end = [], []
        for axis, step in enumerate(spacing_of(item["image"])):
            scale, margin = shape[axis] / self.sizes[0][axis], self.margin_mm / step
            start.append(max(0, int(first[axis] * scale - margin)))
            end.append(min(shape[axis], int(last[axis] * scale + margin) + 1))
        return start, end
