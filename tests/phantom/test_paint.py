"""The painter: order, sheaths and limits by hand; slabs leave no seam."""

import numpy as np

from abdoseg.phantom import PhantomSettings
from abdoseg.phantom.grid import Grid, Pose, lattice_size
from abdoseg.phantom.paint import Canvas, paint_volume
from abdoseg.phantom.patient import random_patient
from abdoseg.phantom.scanner import random_scan
from abdoseg.phantom.shapes import Ellipsoid
from abdoseg.phantom.structures import FAT, MUSCLE, TUMOR, Structure
from abdoseg.phantom.tumors import draw_tumors


def canvas():
    """A cube of 61 mm, 1 mm a voxel, the origin in its middle, all muscle of 60 HU."""
    zero = np.zeros((3, *(lattice_size(84.0),) * 3), np.float32)
    grid = Grid.of(Pose(np.ones(3), 0.0, [(84.0, zero)]), [np.arange(-30, 31.0)] * 3)
    made = Canvas(grid, None, edge=1.0, fat=-100.0)
    made.tissues[:], made.hu[:] = MUSCLE, 60
    return made


def ball(center, radius):
    return Ellipsoid(center, (radius,) * 3)


def test_later_structures_replace_earlier_ones_and_blend_at_the_surface():
    picture = canvas()
    picture.paint(Structure("one", ball((0, 0, 0), 10), 100.0, 1, 1, within=None))
    picture.paint(Structure("two", ball((12, 0, 0), 10), 200.0, 3, 3, within=None))
    line = picture.organs[30:50, 30, 30]  # x = 0..19
    assert line.tolist() == [1, 1, 1] + [3] * 17  # at x = 2 the distance to "two" is exactly 0: still "one"
    assert picture.hu[32, 30, 30] == 150  # half of each
    assert picture.hu[42, 30, 30] == 200


def test_a_sheath_of_fat_surrounds_a_structure():
    picture = canvas()
    picture.paint(Structure("kidney", ball((0, 0, 0), 10.5), 100.0, 2, 2, sheath=4.0, within=None))
    tissues = picture.tissues[30:, 30, 30]
    assert (tissues[:11] == 2).all()
    assert (tissues[11:15] == FAT).all()
    assert (tissues[15:] == MUSCLE).all()
    assert picture.hu[43, 30, 30] == -100


def test_a_tumor_stays_in_its_host_and_leaves_the_host_below():
    picture = canvas()
    picture.paint(Structure("liver", ball((0, 0, 0), 10.5), 100.0, 1, 1, within=None))
    picture.paint(Structure("liver tumor", ball((10, 0, 0), 5.5), 50.0, 1, TUMOR, within=None, over=(1, TUMOR)), 2)
    assert (picture.organs[30:41, 30, 30] == 1).all()
    assert picture.tumor[30:50, 30, 30].tolist() == [0] * 5 + [2] * 6 + [0] * 9
    assert (picture.tissues[41:, 30, 30] == MUSCLE).all()
    assert picture.hu[43, 30, 30] == 60


def test_slabs_leave_no_seam():
    settings = PhantomSettings(tumors=True)
    body, scanner = np.random.default_rng(5), np.random.default_rng(6)
    patient = random_patient(body, body, settings)
    scan = random_scan(scanner, settings, patient.width, patient.depth, patient.pose.scale[2])
    tumors = draw_tumors(body, True, patient, (-60, 80), 0.5)
    assert tumors
    whole = paint_volume(patient, tumors, scan)
    slabs = paint_volume(patient, tumors, scan, slab_voxels=9 * scan.shape[0] ** 2)
    for one, other in zip(whole, slabs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
    assert whole[3].max() == len(tumors)
