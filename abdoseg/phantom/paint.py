"""The painter: structures in order onto one slab of labels, tissues and Hounsfield units."""

import numpy as np

from abdoseg.phantom.structures import FAT, TUMOR, Structure, soft_step


class Canvas:
    """Labels, tissues and HU of one slab.

    Parameters
    ----------
    grid : `Grid` of the slab.
    regions : `Regions` of the slab.
    edge : width in mm over which two tissues blend (about a voxel).
    fat : HU of fat, for the sheaths.
    """

    def __init__(self, grid, regions, edge: float, fat: float, arrays=None):
        self.grid, self.regions, self.edge, self.fat = grid, regions, edge, fat
        if arrays is None:
            arrays = (
                np.zeros(grid.shape, np.uint8),
                np.zeros(grid.shape, np.uint8),
                np.full(grid.shape, -1000, np.float32),
                np.zeros(grid.shape, np.uint8),
            )
        self.organs, self.tissues, self.hu, self.tumor = arrays

    def view(self, box) -> "Canvas":
        """The part of the canvas in a box; painting on it paints here."""
        arrays = tuple(a[box] for a in (self.organs, self.tissues, self.hu, self.tumor))
        return Canvas(None, None, self.edge, self.fat, arrays)

    def layer(self, distance, tissue: int, hu, organ: int = 0) -> None:
        """Paint what lies inside ``distance`` < 0 over everything."""
        share = soft_step(distance, self.edge)
        self.hu += share * (hu - self.hu)
        inside = distance < 0
        self.tissues[inside] = tissue
        self.organs[inside] = organ
        self.tumor[inside] = 0

    def solid(self, shape, tissue: int, hu) -> None:
        """Paint a shape of one HU value that belongs to no organ."""
        part, box = self.grid.cut(shape.low, shape.high)
        if part is not None:
            self.view(box).layer(shape.on(part), tissue, hu)

    def at(self, index, distance, tissue, hu) -> None:
        """Paint at single voxels: ``index`` as from `numpy.nonzero`, the rest one value a voxel."""
        old = self.hu[index]
        self.hu[index] = old + soft_step(distance, self.edge) * (hu - old)
        self.tissues[index] = np.where(distance < 0, tissue, self.tissues[index])

    def paint(self, item: Structure, number: int = 0) -> None:
        """Paint a structure: its sheath of fat, then itself; a tumor (``number`` >= 1) leaves its host's organ id."""
        part, box = self.grid.cut(item.shape.low, item.shape.high)
        if part is None:
            return
        shape = distance = item.shape.on(part)
        view = self.view(box)
        region = getattr(self.regions, item.within)[box] if item.within else None
        if region is not None:
            distance = np.maximum(shape, region + np.float32(2.5))
        if item.over is not None:
            distance = np.where(np.isin(view.tissues, item.over), distance, np.maximum(distance, self.edge))
        if item.sheath:
            bed = shape - np.float32(item.sheath)
            view.layer(bed if region is None else np.maximum(bed, region + np.float32(1)), FAT, self.fat)
        hu = item.hu(distance, part, self.edge) if callable(item.hu) else np.float32(item.hu)
        view.layer(distance, item.tissue, hu, item.organ)
        if item.tissue == TUMOR:
            view.tumor[distance < 0] = number
