"""The cascade on a body whose organs and tumors are known, with real networks that know each HU value."""

import json
import logging

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import decollate_batch
from torch import nn

from abdoseg.inferers import CascadeInferer, CoarseToFineInferer, PlanInferer, organ_inferer_for, rules_at
from abdoseg.inferers.cascade import TUMOR_SPACING
from abdoseg.networks import CascadeNetwork, complete_architecture
from abdoseg.tumors import AortaCrop, CropRule, SurvivalRules
from tests.inferers.stand_ins import ras_scan
from tests.inferers.test_geometry_twins import predict

SPACING = (2.0, 2.0, 2.0)
SHAPE = (48, 40, 36)
PLAN = {
    "spacing": list(SPACING),
    "patch_size": [24, 24, 24],
    "normalization": {"lower": -300.0, "upper": 300.0, "mean": 0.0, "std": 100.0},
}
# (box, HU, id that the organ network gives): the liver encloses its tumor, the others leave their organ.
AORTA = ((slice(22, 26), slice(18, 22), slice(4, 32)), 150, 5)
LIVER = ((slice(28, 42), slice(4, 18), slice(18, 30)), 60, 1)
LIVER_TUMOR = ((slice(32, 38), slice(8, 14), slice(20, 26)), 250, 1)
RIGHT_KIDNEY = ((slice(30, 38), slice(26, 36), slice(8, 18)), 90, 2)
KIDNEY_TUMOR = ((slice(38, 44), slice(26, 36), slice(8, 18)), 280, 0)
LEFT_KIDNEY = ((slice(6, 14), slice(26, 36), slice(8, 18)), 100, 13)
SPLEEN = ((slice(4, 12), slice(6, 14), slice(20, 28)), 120, 3)
SPLEEN_TUMOR = ((slice(12, 18), slice(6, 14), slice(20, 28)), 280, 0)
ABOVE_AORTA = ((slice(4, 12), slice(6, 14), slice(33, 36)), 120, 3)
ORGANS = (AORTA, LIVER, LIVER_TUMOR, RIGHT_KIDNEY, LEFT_KIDNEY, SPLEEN, ABOVE_AORTA)
TUMORS = (LIVER_TUMOR, KIDNEY_TUMOR, SPLEEN_TUMOR)
BODY = (*ORGANS, KIDNEY_TUMOR, SPLEEN_TUMOR)


class Levels(nn.Module):
    """Logits of an image in units of 100 HU: each class is best near its own HU values, background near -300 HU."""

    def __init__(self, values: dict[int, list[int]], classes: int) -> None:
        super().__init__()
        centers = torch.full((classes, 8), 1e3)
        for index, hu in {0: [-300], **values}.items():
            centers[index, : len(hu)] = torch.tensor(hu) / 100
        self.register_buffer("centers", centers)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        distance = (image[:, :, None] - self.centers[None, :, :, None, None, None]).abs()
        return -distance.amin(dim=2)


ORGAN_NETWORK = Levels({0: [-300, 280], 1: [60, 250], 2: [90], 3: [120], 5: [150, 80], 13: [100]}, 14)
TUMOR_NETWORK = Levels({0: [-300, 60, 80, 90, 100, 120, 150], 1: [250, 280]}, 2)
FAMILIES = ("liver", "pancreas", "kidneys", "rest")


def cascade(families=FAMILIES, organs=ORGAN_NETWORK) -> CascadeNetwork:
    return CascadeNetwork(organs, dict.fromkeys(families, TUMOR_NETWORK)).eval()


def inferer(families=FAMILIES, **options) -> CascadeInferer:
    organs = PlanInferer(PLAN, components=None, amp=False)
    return CascadeInferer(organs, dict.fromkeys(families, PLAN), **{"amp": False, **options})


def volume_of(parts=BODY, shape=SHAPE) -> np.ndarray:
    volume = np.full(shape, -300, dtype=np.float32)
    for box, hu, _ in parts:
        volume[box] = hu
    return volume


def labels_of(organs=ORGANS, tumors=TUMORS, shape=SHAPE) -> np.ndarray:
    labels = np.zeros(shape, dtype=np.uint8)
    for box, _, organ in organs:
        labels[box] = organ
    for box, _, _ in tumors:
        labels[box] = 14
    return labels


def infer(volume, families=FAMILIES, organs=ORGAN_NETWORK, spacing=SPACING, **options):
    """Labels (x, y, z) of a volume, and the report of the case."""
    result = inferer(families, **options)(ras_scan(volume, spacing), cascade(families, organs))
    (report,) = map(json.loads, result.meta["cascade"])
    return result.as_tensor()[0, 0].numpy(), report


def test_organs_tumors_of_every_host_and_nothing_above_the_aorta():
    labels, report = infer(volume_of())

    expected = labels_of()
    expected[..., 32:] = 0
    np.testing.assert_array_equal(labels, expected)
    assert report["slices"] == [0, 32]
    assert report["aorta_median_hu"] == 150
    assert report["families"]["liver"] == {"boxes": 1, "found_voxels": 216, "kept_voxels": 216}
    assert report["families"]["kidneys"] == {"boxes": 2, "found_voxels": 600, "kept_voxels": 600}
    assert report["families"]["pancreas"] == {"boxes": 0, "found_voxels": 0, "kept_voxels": 0}
    assert report["families"]["rest"]["kept_voxels"] == 216 + 600 + 384


def test_a_gallbladder_that_looks_like_a_tumor_stays_a_gallbladder():
    gallbladder = ((slice(34, 38), slice(18, 22), slice(20, 26)), 220, 9)
    organs = Levels({0: [-300, 280], 1: [60, 250], 2: [90], 3: [120], 5: [150, 80], 9: [220], 13: [100]}, 14)
    volume = volume_of((*BODY, gallbladder))
    labels, report = infer(volume, organs=organs, aorta_crop=None)
    np.testing.assert_array_equal(labels, labels_of((*ORGANS, gallbladder)))
    assert report["families"]["liver"]["found_voxels"] == 216 + 96

    code = {"survival": SurvivalRules(max_fluid_share=1.0), "rest_survival": SurvivalRules(128, 0, 0)}
    labels, _ = infer(volume, organs=organs, aorta_crop=None, **code)
    assert (labels[gallbladder[0]] == 14).all()


def test_without_rest_a_tumor_of_no_known_host_is_not_found():
    labels, report = infer(volume_of(), families=("liver", "kidneys"), aorta_crop=None)
    np.testing.assert_array_equal(labels, labels_of(tumors=(LIVER_TUMOR, KIDNEY_TUMOR)))
    assert report["slices"] is None


def test_a_family_without_a_network_is_told_and_passed_over(caplog):
    with caplog.at_level(logging.INFO):
        labels, report = infer(volume_of(), families=("liver",), aorta_crop=None)
    assert "no tumor network for 'kidneys'" in caplog.text
    np.testing.assert_array_equal(labels, labels_of(tumors=(LIVER_TUMOR,)))
    assert list(report["families"]) == ["liver"]


def test_families_that_are_not_wanted_are_not_searched():
    plans = dict.fromkeys(FAMILIES, PLAN)
    some = CascadeInferer(PlanInferer(PLAN, components=None, amp=False), plans, families=["kidneys"], amp=False)
    labels = some(ras_scan(volume_of(), SPACING), cascade())[0, 0].numpy()
    assert (labels == 14).sum() == 600
    with pytest.raises(ValueError, match="Unknown family 'colon'"):
        CascadeInferer(PlanInferer(PLAN), plans, families=["colon"])


def test_a_tumor_that_leaves_its_organ_survives_by_adjacency():
    # The kidney's tumor shares a face of 10 x 10 voxels with it and none of its voxels.
    faithful, _ = infer(volume_of(), families=("kidneys",), survival=SurvivalRules(adjacency=False))
    assert not (faithful == 14).any()
    for limit, voxels in ((100, 600), (101, 0)):
        rules = SurvivalRules(min_overlap=limit)
        labels, _ = infer(volume_of(), families=("kidneys",), survival=rules, survival_spacing=None)
        assert (labels == 14).sum() == voxels


def test_minima_are_volumes_whatever_the_spacing():
    # 0.8 x 0.8 x 2.5 mm are 1.6 mm3, a fifth of a voxel of 2 mm: 128, 32 and 80 voxels are 25.6, 6.4 and 16.
    assert rules_at(SurvivalRules(), SPACING) == SurvivalRules(26, 6, 16)
    assert rules_at(SurvivalRules(adjacency=False), (0.4, 0.8, 2.5)) == SurvivalRules(256, 64, 160, adjacency=False)
    # Nothing of what was asked for is rounded away, and nothing is asked for that was not.
    assert rules_at(SurvivalRules(128, 0, 80), (5, 5, 5)) == SurvivalRules(2, 0, 1)
    # The tumor has 5 x 5 voxels.
    parts = (AORTA, LIVER, ((slice(32, 37), slice(8, 13), slice(20, 21)), 250, 1))
    for minimum, spacing, voxels in ((125, TUMOR_SPACING, 25), (130, TUMOR_SPACING, 0), (125, None, 0), (25, None, 25)):
        rules = SurvivalRules(minimum, min_overlap=1, min_total_overlap=1)
        labels, _ = infer(volume_of(parts), families=("liver",), survival=rules, survival_spacing=spacing)
        assert (labels == 14).sum() == voxels


def test_the_crop_decides_what_a_host_network_sees():
    # 3 voxels on the right of the kidney hold half of its tumor.
    rule = CropRule((3, 0, 0), "voxel")
    labels, report = infer(volume_of(), families=("kidneys",), crop_rule=rule)
    assert report["families"]["kidneys"]["found_voxels"] == 300
    assert (labels[38:41, 26:36, 8:18] == 14).all()
    assert (labels == 14).sum() == 300


def test_kidneys_of_a_plain_scan_are_not_searched_and_that_is_told(caplog):
    plain = (*BODY, (AORTA[0], 80, 5))
    with caplog.at_level(logging.INFO):
        labels, report = infer(volume_of(plain), families=("liver", "kidneys"))
    assert "scan_0000.nii.gz: the aorta has 80 HU, below 89: a plain scan, whose kidneys are not" in caplog.text
    assert report["families"]["kidneys"] == {"skipped": "no contrast medium"}
    assert (labels == 14).sum() == 216
    labels, _ = infer(volume_of(plain), families=("liver", "kidneys"), contrast_threshold=None)
    assert (labels == 14).sum() == 216 + 600
    labels, _ = infer(volume_of(plain), families=("liver", "kidneys"), contrast_threshold=80)
    assert (labels == 14).sum() == 216 + 600


def test_a_scan_without_aorta_is_searched_and_not_cropped(caplog):
    parts = [part for part in BODY if part is not AORTA]
    with caplog.at_level(logging.WARNING):
        labels, report = infer(volume_of(parts))
    assert "no aorta was found; the label map is not cropped" in caplog.text
    assert "without an aorta nobody knows the contrast" in caplog.text
    np.testing.assert_array_equal(labels, labels_of([part for part in ORGANS if part is not AORTA]))
    assert (report["aorta_median_hu"], report["slices"]) == (None, None)


def test_windows_away_from_the_host_are_not_visited():
    # A liver in the shape of an L, its tumor at one end: the corner of its box has no window that touches it.
    lobes = [((slice(4, 12), slice(4, 36), slice(4, 30)), 60, 1), ((slice(4, 44), slice(4, 12), slice(4, 30)), 60, 1)]
    tumor = (slice(36, 44), slice(4, 12), slice(10, 20)), 250, 1
    plan = {**PLAN, "patch_size": [8, 8, 8]}
    labels, windows = {}, {}
    for near in (True, False):
        seen = []
        network = Levels({0: [-300, 60], 1: [250]}, 2)
        network.register_forward_pre_hook(lambda _, images, seen=seen: seen.append(len(images[0])))
        container = CascadeNetwork(ORGAN_NETWORK, {"liver": network}).eval()
        organs = PlanInferer(PLAN, components=None, amp=False)
        rule = CropRule((4, 4, 4))
        some = CascadeInferer(organs, {"liver": plan}, crop_rule=rule, aorta_crop=None, near_host=near, amp=False)
        labels[near] = some(ras_scan(volume_of((*lobes, tumor)), SPACING), container)[0, 0].numpy()
        windows[near] = sum(seen)
    np.testing.assert_array_equal(labels[True], labels_of((*lobes, tumor), (tumor,)))
    np.testing.assert_array_equal(labels[True], labels[False])
    assert windows[True] < 0.8 * windows[False]


def test_a_scan_of_nothing_has_no_labels():
    labels, report = infer(volume_of(()))
    assert not labels.any()
    assert all(counts["boxes"] == 0 for counts in report["families"].values())


def test_the_top_of_the_aorta_as_published():
    labels, report = infer(volume_of(), aorta_crop=AortaCrop(below_slices=2, inclusive_top=False))
    assert report["slices"] == [2, 31]
    assert not labels[..., :2].any()
    assert not labels[..., 31:].any()


def test_one_slice():
    parts = [((*box[:2], slice(0, 1)), hu, organ) for box, hu, organ in (AORTA, LIVER, LIVER_TUMOR)]
    shape = (*SHAPE[:2], 1)
    rules = SurvivalRules(min_voxels=36, min_total_overlap=36)
    labels, _ = infer(volume_of(parts, shape), families=("liver",), survival=rules, survival_spacing=None)
    np.testing.assert_array_equal(labels, labels_of(parts, parts[2:], shape))


@pytest.mark.parametrize("long_scans", [None, {}])
def test_twelve_hundred_slices(long_scans):
    def part(x, low, high, hu, organ):
        return (slice(x, x + 6), slice(2, 8), slice(low, high)), hu, organ

    # 1200 mm: the published rule sees slices 300 to 899, every second one.
    shape = (20, 10, 1200)
    tumor = part(10, 620, 660, 250, 1)
    organs = [part(2, 200, 1000, 150, 5), part(10, 600, 700, 60, 1), tumor]
    plan = {**PLAN, "spacing": [2.0, 2.0, 1.0], "patch_size": [24, 16, 320]}
    coarse = PlanInferer({**plan, "spacing": [2.0, 2.0, 2.0]} if long_scans == {} else plan, components=None, amp=False)
    whole = CascadeInferer(coarse, {"liver": plan}, long_scans=long_scans, aorta_crop=None, amp=False)
    labels = whole(ras_scan(volume_of(organs, shape), (2.0, 2.0, 1.0)), cascade(("liver",)))[0, 0].numpy()
    expected = labels_of(organs, (tumor,), shape)
    if long_scans == {}:
        expected[..., :300] = expected[..., 900:] = 0
    np.testing.assert_array_equal(labels, expected)


def student_network() -> Levels:
    """An organ network with a tumor class: it calls the liver's tumor a tumor."""
    return Levels({0: [-300, 280], 1: [60], 2: [90], 3: [120], 5: [150], 13: [100], 14: [250]}, 15)


def test_the_tumor_class_of_the_organ_network_counts_when_asked_for():
    # Without networks for tumors, the student's tumor becomes its host, or stays.
    organ, _ = infer(volume_of(), families=(), organs=student_network(), aorta_crop=None)
    np.testing.assert_array_equal(organ, labels_of(tumors=()))
    kept, _ = infer(volume_of(), families=(), organs=student_network(), aorta_crop=None, keep_source_tumor=True)
    np.testing.assert_array_equal(kept, labels_of(tumors=(LIVER_TUMOR,)))
    # The host encloses the tumor that the liver's network finds again.
    both, report = infer(volume_of(), families=("liver",), organs=student_network(), aorta_crop=None)
    np.testing.assert_array_equal(both, kept)
    assert report["families"]["liver"]["kept_voxels"] == 216


def test_a_batch_has_a_report_a_case_that_survives_decollation():
    first, second = volume_of(), volume_of((AORTA, LIVER, LIVER_TUMOR))
    batch = ras_scan(first, SPACING)
    pair = torch.cat([batch, ras_scan(second, SPACING)])
    pair.affine = batch.affine.repeat(2, 1, 1)
    pair.meta["filename_or_obj"] = ["first.nii.gz", "second.nii.gz"]
    pair.is_batch = True
    labels = decollate_batch(inferer()(pair, cascade()))
    boxes = [json.loads(item.meta["cascade"])["families"]["kidneys"]["boxes"] for item in labels]
    assert boxes == [2, 0]
    assert [int((item == 14).sum()) for item in labels] == [1200, 216]


@pytest.mark.parametrize("axcodes", ["LAS", "PIR", "LPI"])
def test_twins_in_other_orientations_get_the_same_labels(axcodes, tmp_path):
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = [-20, 15, 700]
    scan = nib.Nifti1Image(volume_of().astype(np.int16), affine)
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(axcodes)))
    labels = predict(scan.as_reoriented(turn), tmp_path / "twin", inferer(), cascade())
    np.testing.assert_array_equal(labels, infer(volume_of())[0])


def test_the_organ_source_decides_its_inferer():
    students = {"kind": "coarse_to_fine", "coarse": {"kind": "residual_unet", "image_size": [8, 8, 8]}}
    student = complete_architecture({**students, "fine": {"kind": "efficient_segnet", "image_size": [16, 16, 16]}})
    found = organ_inferer_for(student, margin_mm=30.0, overlap=0.25)
    assert isinstance(found, CoarseToFineInferer)
    assert (found.coarse_size, found.fine_size, found.margin_mm) == ((8, 8, 8), (16, 16, 16), 30.0)
    alone = organ_inferer_for({**student, "coarse": None})
    assert alone.coarse_size == (16, 16, 16)
    plan = organ_inferer_for({"kind": "nnunet", "plan": PLAN}, margin_mm=30.0, overlap=0.25, components=None)
    assert isinstance(plan, PlanInferer)
    assert (plan.plan, plan.components, plan.windows.overlap) == (PLAN, None, 0.25)
    with pytest.raises(ValueError, match=r"of kind None\. Use 'nnunet' or 'coarse_to_fine'"):
        organ_inferer_for(None)
