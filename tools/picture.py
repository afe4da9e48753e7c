"""Draw a scan and its label map in three planes."""

from pathlib import Path

import numpy as np

from abdoseg.files import CaseError, atomic_path
from abdoseg.label_maps import grid_difference, open_volume, read_label_map, read_voxels
from abdoseg.metrics import to_ras


def picture(scan: str, labels: str, output: str, title: str = "labels", truth: str | None = None) -> dict:
    """Draw a scan and its label map, plain and labeled side by side: axial, coronal and sagittal.

    `python -m tools picture ct.nii.gz labels.nii.gz picture.png` chooses the slices that show most of the classes. The
    patient's right is on the left, as radiologists look at it.

    Args:
        scan: CT in HU (.nii or .nii.gz).
        labels: Label map on the scan's grid, as `predict` writes it.
        output: PNG to write.
        title: What to write above the labels.
        truth: Label map to compare with; it is drawn beside the other and outlined in white on it, and it chooses the
            slices.
    """
    if Path(output).suffix.lower() != ".png":
        raise CaseError(f"--output {output} is no picture; name one that ends in .png.")
    from tools.report_figures import overlay_figure  # imports matplotlib, which takes seconds

    image = open_volume(scan)
    volume, spacing = to_ras(read_voxels(image, scan).astype(np.float32), image.affine)
    maps = {}
    for name, path in {**({"reference": truth} if truth else {}), title: labels}.items():
        values, grid = read_label_map(path)
        if difference := grid_difference(grid, image):
            raise CaseError(f"{path} does not lie on the grid of {scan}: {difference}.")
        maps[name] = to_ras(values, grid.affine)[0]
    with atomic_path(Path(output)) as temporary:
        temporary.write_bytes(overlay_figure(volume, spacing, maps))
    print(f"picture: {output}")
    return {"picture": output}
