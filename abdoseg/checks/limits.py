"""Volumes of organs that can be believed, as a table with the reason of each limit."""

from dataclasses import dataclass


@dataclass(frozen=True)
class VolumeLimits:
    """Smallest and largest believable volume of a class.

    Parameters
    ----------
    lowest, highest : cm3.
    median : cm3, over FLARE23's 2200 labels (papers-spec 1.3), from the data set card of OpenMedLab.
    reason : what sick or small organs the limits leave room for.
    """

    lowest: float
    highest: float
    median: float
    reason: str


# The limits are wide on purpose: sick organs are what such data are about. What lies beyond them is far more often a
# wrong voxel size, a stray stroke of the brush or another organ's id. The lowest limits hold for organs that the scan
# shows whole; one that is cut by the scan's edge may be as small as it likes.
VOLUME_LIMITS_CM3: dict[int, VolumeLimits] = {
    1: VolumeLimits(200, 8000, 1566, "shrunken or resected livers; polycystic livers, 5000 and more"),
    2: VolumeLimits(5, 4000, 184, "atrophic kidneys, 10 to 30; polycystic and hydronephrotic ones"),
    3: VolumeLimits(3, 5000, 224, "spleens after infarction; massive splenomegaly"),
    4: VolumeLimits(3, 600, 82, "atrophic glands, remains after resection; acute pancreatitis"),
    5: VolumeLimits(5, 1500, 118, "children; aneurysms"),
    6: VolumeLimits(3, 800, 85, "flat veins; congestion, tumor thrombus"),
    7: VolumeLimits(0.2, 100, 4, "thin limbs drawn on thick slices; hyperplasia, hemorrhage"),
    8: VolumeLimits(0.2, 100, 5, "as on the right"),
    9: VolumeLimits(0.2, 800, 21, "contracted gallbladders; hydrops"),
    10: VolumeLimits(0.3, 400, 24, "a short piece in view; achalasia, hiatus hernia"),
    11: VolumeLimits(5, 5000, 405, "stomach remnants; gastric outlet obstruction"),
    12: VolumeLimits(3, 800, 71, "collapsed; obstructed"),
    13: VolumeLimits(5, 4000, 189, "as on the right"),
    14: VolumeLimits(0.005, 10000, 12, "FLARE23's smallest has 0.03, its largest 2123"),
}
