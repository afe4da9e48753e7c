"""The painter: structures in order onto one slab of labels, tissues and Hounsfield units."""

import numpy as np

from abdoseg.phantom.grid import Grid
from abdoseg.phantom.scanner import Scan, paint_table
from abdoseg.phantom.shapes import FAR
from abdoseg.phantom.structures import FAT, TABLE, TUMOR, Structure, soft_step
from abdoseg.phantom.trunk import paint_trunk, regions

SLAB_VOXELS = 2_000_000  # bounds the memory of a full-size scan


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
        distance = item.shape.on(part)
        bed = distance - np.float32(item.sheath)
        view = self.view(box)
        if item.within:
            region = getattr(self.regions, item.within)[box]
            bed = np.maximum(bed, region + np.float32(1))
            distance = np.maximum(distance, region + np.float32(2.5))
        if item.over is not None:
            elsewhere = ~np.isin(view.tissues, item.over)
            bed[elsewhere] = distance[elsewhere] = FAR
        if item.sheath:
            view.layer(bed, FAT, self.fat)
        hu = item.hu(distance, part, self.edge) if callable(item.hu) else np.float32(item.hu)
        view.layer(distance, item.tissue, hu, item.organ)
        if item.tissue == TUMOR:
            view.tumor[distance < 0] = number


def paint_volume(patient, tumors, scan: Scan, slab_voxels: int = SLAB_VOXELS):
    """Paint a patient slab by slab on the scan's RAS grid.

    Parameters
    ----------
    patient : `abdoseg.phantom.patient.Patient`.
    tumors : list of `abdoseg.phantom.tumors.Tumor`; each is painted right after its host.
    scan : geometry.
    slab_voxels : about so many voxels are worked on at once; the result does not depend on it.

    Returns
    -------
    organs, tissues, hu, tumor : (x, y, z) uint8 class under any tumor, uint8 tissue, float32 HU without noise, and
    uint8 number of the tumor from 1 on.
    """
    order = []
    for item in patient.structures:
        order.append((item, 0))
        order += [(tumor.structure, i + 1) for i, tumor in enumerate(tumors) if tumor.after == item.name]
    axes = scan.axes()
    volumes = [np.empty(scan.shape, kind) for kind in (np.uint8, np.uint8, np.float32, np.uint8)]
    slab = max(1, slab_voxels // (scan.shape[0] * scan.shape[1]))
    edge = max(1.2, 0.8 * scan.spacing[0])
    for start in range(0, scan.shape[2], slab):
        here = [axes[0], axes[1], axes[2][start : start + slab]]
        grid = Grid.of(patient.pose, here)
        canvas = Canvas(grid, regions(patient.trunk, grid), edge, patient.contrast.hu["fat"])
        paint_trunk(canvas, patient.trunk, patient.contrast)
        for item, number in order:
            canvas.paint(item, number)
        paint_table(canvas.hu, canvas.tissues, here, patient.back - 3, TABLE)
        for volume, part in zip(volumes, (canvas.organs, canvas.tissues, canvas.hu, canvas.tumor), strict=True):
            volume[:, :, start : start + slab] = part
    return tuple(volumes)
