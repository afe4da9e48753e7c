"""What nnU-Net's spatial augmentation depends on: ranges of rotation and zoom, and the crop they need, from the plan.

The augmentation itself is made of MONAI's transforms. nnU-Net v2's default (its trainer's training transforms; prob is
per patch, and half of nnU-Net's where nnU-Net also draws per channel with 0.5) and what stands for it:

===========================  ================================  =======================================================
nnU-Net                      here                              parameters
===========================  ================================  =======================================================
mirror, each axis            ``RandAnatomicalFlipd`` x 3       prob 0.5; left-right exchanges the ids of paired organs
scaling                      ``RandZoomd``                     prob 0.2, 0.7 to 1.4, one factor for all axes
rotation                     ``RandRotated``                   prob 0.2, -30 to 30 degrees about each axis
crop to the patch            ``CenterSpatialCropd``            the patch, out of the crop of ``RandCropWithRoomd``
Gaussian noise               ``RandGaussianNoised``            prob 0.1, deviation 0 to 0.1
Gaussian blur                ``RandGaussianSmoothd``           prob 0.2 x 0.5, sigma 0.5 to 1 voxel, each axis its own
multiplicative brightness    ``RandScaleIntensityd``           prob 0.15, factor 0.75 to 1.25
contrast                     ``RandScaleIntensityFixedMeand``  prob 0.15, factor 0.75 to 1.25, range kept
low resolution               ``RandSimulateLowResolutiond``    prob 0.25 x 0.5, zoom 0.5 to 1
gamma of the inverted image  ``RandAdjustContrastd``           prob 0.1, 0.7 to 1.5, mean and deviation kept
gamma                        ``RandAdjustContrastd``           prob 0.3, 0.7 to 1.5, mean and deviation kept
===========================  ================================  =======================================================

Four differences: the flips come first, because a turned image has no anatomical axes any more; the factors of
brightness, contrast and gamma are uniform, where nnU-Net draws as often below 1 as above; a patch that is both zoomed
and turned (4 %) is interpolated twice; and low resolution is that of all axes, where nnU-Net leaves the coarsest axis
of a flat patch (see `spatial_ranges`) as it is.
"""

from collections.abc import Mapping

import numpy as np

FLAT_PATCH = 3  # nnU-Net treats a patch as a stack of slices when it is more than 3 times as long as thick
ZOOM = (0.7, 1.4)
# The scale that the crop leaves room for; nnU-Net takes it from its predecessor and not from ZOOM.
SMALLEST_SCALE = 0.85


def spatial_ranges(plan: Mapping) -> dict:
    """Give the arguments of crop, zoom and rotation that nnU-Net would use for a plan.

    A patch whose longest edge is more than three times its edge along the coarsest axis is augmented in the plane: it
    turns by up to 180 degrees about that axis alone, and is not zoomed along it. Paper A's patch (192 x 192 x 48) is
    such a one.

    Parameters
    ----------
    plan : has ``patch_size`` (voxels) and ``spacing`` (mm), both (x, y, z).

    Returns
    -------
    dict
        ``crop_size``: voxels (x, y, z) to cut from the scan, so that the patch can turn inside; ``range_x``,
        ``range_y``, ``range_z``: largest angle in radians about each axis, for ``RandRotated``; ``min_zoom`` and
        ``max_zoom``, for ``RandZoomd``: one factor for all axes, or one for x and y and 1 for z. In the plane of
        another coarsest axis than z, MONAI draws a factor for each of the two axes.
    """
    patch = np.array(plan["patch_size"])
    coarsest = 2 - int(np.argmax(np.array(plan["spacing"])[::-1]))
    flat = patch.max() / patch[coarsest] > FLAT_PATCH
    angles = np.full(3, np.radians(30.0))
    low, high = [ZOOM[0]], [ZOOM[1]]
    if flat:
        angles = np.where(np.arange(3) == coarsest, np.pi, 0.0)
        low, high = ([1.0 if axis == coarsest else limit for axis in range(3)] for limit in ZOOM)
        if coarsest == 2:
            low, high = low[1:], high[1:]
    crop = _room_to_turn(patch, angles) / SMALLEST_SCALE
    if flat:
        crop[coarsest] = patch[coarsest]
    return {
        "crop_size": np.floor(crop).astype(int).tolist(),
        **dict(zip(("range_x", "range_y", "range_z"), angles.tolist(), strict=True)),
        "min_zoom": low,
        "max_zoom": high,
    }


def _room_to_turn(patch: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Edges that hold the patch when it is turned about one axis at a time by its largest angle, 90 degrees at most."""
    room = patch.astype(float)
    for axis, angle in enumerate(np.minimum(angles, np.pi / 2)):
        first, second = (other for other in range(3) if other != axis)
        a, b = patch[first], patch[second]
        room[first] = max(room[first], a * np.cos(angle) + b * np.sin(angle))
        room[second] = max(room[second], b * np.cos(angle) + a * np.sin(angle))
    return room
