"""Left and right: which share of each paired organ lies on its own side of the spine, as the scan shows it."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import theilslopes

from abdoseg.labels import NAMES

# What a person has one of on each side, and the sign of its side: in RAS the right of the person has the greater x.
SIDES = {
    name: (class_id, side)
    for class_id, name in NAMES.items()
    for side, word in ((1, "right "), (-1, "left "))
    if name.startswith(word)
}
BODY_HU, BONE_HU = -300, 200
# The spine is looked for around the middle of the body, then around what was found: half a vertebra and some more.
WINDOWS_MM = (50.0, 30.0)
LEAST_BONE_MM2 = 100.0  # in a slice: a vertebra has ten times as much
LEAST_SLICES = 5


def spine_line(image: np.ndarray, spacing: Sequence[float]) -> tuple[float, float] | None:
    """Find the plane through the spine in a CT: the middle of the bone behind the middle of the body.

    In each axial slice it is the median x of what has 200 HU or more, lies in the back half of the body, and near its
    middle; a straight line (Theil-Sen) goes through the slices. Calcified or arterial vessels in front of it pull it
    by a few mm at most. No label map plays a part, so that it can judge them.

    Parameters
    ----------
    image : (x, y, z) RAS, HU.
    spacing : mm along (x, y, z).

    Returns
    -------
    (x, slope) : the plane is at voxel x + slope * z; None where fewer than five slices show a spine.
    """
    heights, middles, fronts = [], [], []
    for z in range(image.shape[2]):
        body = np.nonzero(image[:, :, z] > BODY_HU)
        if len(body[0]):
            heights.append(z)
            middles.append(float(np.median(body[0])))
            fronts.append(float(np.median(body[1])))
    line = None
    for window in WINDOWS_MM:
        points = []
        for z, middle, front in zip(heights, middles, fronts, strict=True):
            x, y = np.nonzero(image[:, :, z] >= BONE_HU)
            center = middle if line is None else line[0] + line[1] * z
            x = x[(y < front) & (np.abs(x - center) * spacing[0] <= window)]
            if len(x) * spacing[0] * spacing[1] >= LEAST_BONE_MM2:
                points.append((z, float(np.median(x))))
        if len(points) < LEAST_SLICES:
            return None
        z, x = np.transpose(points)
        slope, intercept, _, _ = theilslopes(x, z)
        line = float(intercept), float(slope)
    return line


def side_shares(labels: np.ndarray, line: tuple[float, float]) -> Mapping[str, dict]:
    """Share of the voxels of each kidney and adrenal gland on its own side of the plane through the spine.

    Parameters
    ----------
    labels : (x, y, z) RAS, FLARE23's ids.
    line : see `spine_line`.

    Returns
    -------
    ``{name: {"voxels", "own_side": share}}``; the share is None where there is no such voxel.
    """
    shares = {}
    for name, (class_id, side) in SIDES.items():
        x, _, z = np.nonzero(labels == class_id)
        own = side * (x - (line[0] + line[1] * z)) > 0
        shares[name] = {"voxels": len(x), "own_side": float(own.mean()) if len(x) else None}
    return shares
