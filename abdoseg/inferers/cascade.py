"""Inferer of paper B: find the organs, then look for tumors in the box of each host organ."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from abdoseg.inferers.case import label_batch
from abdoseg.inferers.engines import Engine
from abdoseg.inferers.regions import region_near
from abdoseg.inferers.sliding_window import PlanInferer
from abdoseg.labels import BACKGROUND_ID, FLUID_IDS
from abdoseg.networks import unwrap
from abdoseg.tumors import (
    ENHANCED_HU,
    EVERY_FAMILY,
    REST,
    AortaCrop,
    CropRule,
    SurvivalRules,
    aorta_median_hu,
    aorta_range,
    clear_other_slices,
    family_organs,
    host_boxes,
    lengthen,
    long_scan_rule,
    organ_target,
    paste_tumor,
    shorten,
    surviving_tumor,
)

logger = logging.getLogger(__name__)
GATED = "kidneys"
TUMOR_SPACING = (0.8, 0.8, 2.5)  # mm, of paper B's tumor networks (papers-spec.md 3.5)


def rules_at(rules: SurvivalRules, spacing, reference: Sequence[float] = TUMOR_SPACING) -> SurvivalRules:
    """Give rules of survival whose minima are the same volumes in a scan of another spacing.

    128 voxels are 0.2 ml at 0.8 x 0.8 x 2.5 mm, and 0.6 ml at 0.8 x 0.8 x 8 mm: paper B deletes larger tumors in
    thicker slices.

    Parameters
    ----------
    rules : minima in voxels of ``reference`` (3,) mm.
    spacing : (3,) mm of the scan.

    Returns
    -------
    Minima in voxels of ``spacing``, rounded; at least 1 where they were above 0.
    """
    factor = float(np.prod(reference) / np.prod(spacing))
    names = ("min_voxels", "min_overlap", "min_total_overlap")
    counts = {name: getattr(rules, name) for name in names}
    return replace(rules, **{name: max(round(count * factor), 1) if count else 0 for name, count in counts.items()})


class CascadeInferer(Inferer):
    """Raw volume in, label map of organs and tumors out, by the networks of one `CascadeNetwork`.

    The organ network labels the scan. For each family of hosts that has a network, the box of each of its organs is cut
    from the raw scan, at the scan's own resolution; the tumor network labels the crop at its plan's spacing; foci that
    do not belong to the organ are dropped. What is left overwrites the organs, and everything beyond the aorta's slices
    is cleared (papers-spec.md 3.3, 3.6). No decision depends on the clock, as the 50 s guard of paper B's code does.

    Parameters
    ----------
    organ_inferer : see `abdoseg.inferers.organ_inferer_for`.
    plans : family -> plan of its tumor network (spacing, patch, normalization).
    families : which to look for; those without a network are passed over.
    crop_rule : margin around an organ; the one of the training.
    survival : which foci of a family stay.
    survival_spacing : (x, y, z) mm of the voxels that the rules of survival count, see `rules_at`; None counts the
        scan's own, as paper B does.
    rest_survival : the same for "rest", whose organ is all organs; by default any prediction of 128 voxels.
    aorta_crop : None does not crop. A scan in which no aorta is found is not cropped, with a warning.
    contrast_threshold : median HU of the aorta from which kidneys are searched for tumors (89 in paper B's code); None
        searches always. Without an aorta nobody knows: they are searched.
    keep_source_tumor : keep the tumor class of the organ network as well, where it has one (paper A's student); False
        takes those voxels for organ, as in the organ network's training.
    long_scans : paper B's shortcut in the organ stage: the limits of ``abdoseg.tumors.long_scan_rule``, an empty
        dictionary for the published ones; None sees every slice.
    near_host : pass over windows of a crop that hold nothing within its margin of the host; False: visit all.
    overlap, mirror_axes, window_batch_size, logits_device, image_mode, amp, engine : as in `PlanInferer`.

    Raises
    ------
    ValueError
        For an unknown family.
    """

    def __init__(
        self,
        organ_inferer: Inferer,
        plans: Mapping[str, Mapping],
        families: Sequence[str] = EVERY_FAMILY,
        crop_rule: CropRule = CropRule(),  # noqa: B008 (frozen)
        survival: SurvivalRules = SurvivalRules(),  # noqa: B008 (frozen)
        survival_spacing: Sequence[float] | None = TUMOR_SPACING,
        rest_survival: SurvivalRules = SurvivalRules(min_overlap=0, min_total_overlap=0),  # noqa: B008 (frozen)
        aorta_crop: AortaCrop | None = AortaCrop(),  # noqa: B008 (frozen)
        contrast_threshold: float | None = ENHANCED_HU,
        keep_source_tumor: bool = False,
        long_scans: Mapping | None = None,
        near_host: bool = True,
        overlap: float = 0.5,
        mirror_axes: Sequence[str] = (),
        window_batch_size: int = 1,
        logits_device: str | None = None,
        image_mode: str = "trilinear",
        amp: bool | str = "auto",
        engine: Engine | None = None,
    ) -> None:
        super().__init__()
        for family in families:
            family_organs(family)
        self.organ_inferer = organ_inferer
        self.families = [family for family in families if family in plans]
        for family in families:
            if family not in plans:
                logger.info("The cascade has no tumor network for %r; it does not look there.", family)
        self.crop_rule = crop_rule
        self.survival = survival
        self.survival_spacing = survival_spacing
        self.rest_survival = rest_survival
        self.aorta_crop = aorta_crop
        self.contrast_threshold = contrast_threshold
        self.keep_source_tumor = keep_source_tumor
        self.long_scans = long_scans
        self.near_host = near_host
        self.engine = engine or Engine("torch", amp)
        self.tumor_inferers = {
            family: PlanInferer(
                plans[family],
                overlap=overlap,
                mirror_axes=mirror_axes,
                components=None,
                window_batch_size=window_batch_size,
                logits_device=logits_device,
                image_mode=image_mode,
                engine=self.engine,
                skip="air" if near_host else "nothing",
            )
            for family in self.families
        }

    def __call__(self, inputs: MetaTensor, network: torch.nn.Module, *args, **kwargs) -> MetaTensor:
        """Label a batch.

        Parameters
        ----------
        inputs : (B, 1, x, y, z) MetaTensor in RAS, HU.
        network : `abdoseg.networks.CascadeNetwork`, possibly wrapped by DistributedDataParallel; in eval mode.

        Returns
        -------
        (B, 1, x, y, z) uint8 MetaTensor on the grid of ``inputs``. Its metadata's "cascade" is a list with one JSON
        text a case: what the aorta said, and for each family its boxes and how many tumor voxels were found and kept.
        """
        container = unwrap(network)
        reports: list[str] = []

        def label_case(volume: torch.Tensor, spacing, name: str, labels: torch.Tensor) -> None:
            found, report = self.label(volume, np.asarray(spacing, dtype=float), container, name)
            reports.append(json.dumps(report))
            labels[:] = torch.from_numpy(found)

        labels = label_batch(inputs, label_case)
        labels.meta["cascade"] = reports
        return labels

    def label(self, volume: torch.Tensor, spacing: np.ndarray, container, name: str) -> tuple[np.ndarray, dict]:
        """Label one case.

        Parameters
        ----------
        volume : (1, x, y, z), HU, RAS.
        spacing : (3,) mm.
        container : the networks, by name.
        name : file of the scan, for the log.

        Returns
        -------
        (x, y, z) uint8 labels, and the report of the case as plain data.
        """
        source = self.organ_labels(volume, spacing, container.organs, name)
        organs = organ_target(source)
        report = {"aorta_median_hu": aorta_median_hu(volume[0].cpu().numpy(), organs), "families": {}}
        tumor = np.zeros(organs.shape, dtype=bool)
        for family in self.families:
            if family == GATED and self._gate_is_shut(report["aorta_median_hu"], name):
                report["families"][family] = {"skipped": "no contrast medium"}
                continue
            found, counts = self.tumor_of(family, volume, spacing, organs, container.tumors[family])
            report["families"][family] = counts
            tumor |= found
        labels = paste_tumor(source if self.keep_source_tumor else organs, tumor)
        kept = self._slices_kept(organs, spacing, name)
        report["slices"] = None if kept is None else [kept.start, kept.stop]
        return labels if kept is None else clear_other_slices(labels, kept), report

    def organ_labels(self, volume: torch.Tensor, spacing: np.ndarray, network, name: str) -> np.ndarray:
        """Give the (x, y, z) uint8 labels of the organ network, on the grid of the (1, x, y, z) volume."""
        slices = volume.shape[-1]
        rule = None if self.long_scans is None else long_scan_rule(slices, float(spacing[2]), **self.long_scans)
        step = 1 if rule is None else rule.step
        seen = volume if rule is None else shorten(volume, rule)
        affine = torch.diag(torch.tensor([*spacing[:2], spacing[2] * step, 1.0], dtype=torch.float64))
        scan = MetaTensor(seen[None], affine=affine, meta={"filename_or_obj": name})
        labels = self.organ_inferer(scan, network).as_tensor()[0, 0].cpu().numpy()
        return labels if rule is None else lengthen(labels, rule, slices)

    def tumor_of(
        self, family: str, volume: torch.Tensor, spacing: np.ndarray, organs: np.ndarray, network: torch.nn.Module
    ) -> tuple[np.ndarray, dict]:
        """Look for a family's tumors: (x, y, z) bool of what survives, and the numbers of the report."""
        rules = self.rest_survival if family == REST else self.survival
        if self.survival_spacing is not None:
            rules = rules_at(rules, spacing, self.survival_spacing)
        tumor = np.zeros(organs.shape, dtype=bool)
        counts = {"boxes": 0, "found_voxels": 0, "kept_voxels": 0}
        for organ, box in host_boxes(organs, family, spacing, self.crop_rule):
            host = organs[box] != BACKGROUND_ID if family == REST else organs[box] == organ
            margin = spacing * self.crop_rule.margin_voxels(spacing)
            region = None if family == REST else region_near(host, spacing, margin)
            inferer = self.tumor_inferers[family]
            found = inferer.label(volume[(slice(None), *box)], spacing, network, region).cpu().numpy() != 0
            tumor[box] |= surviving_tumor(found, host, rules, fluid=np.isin(organs[box], FLUID_IDS))
            counts["boxes"] += 1
            counts["found_voxels"] += int(found.sum())
        counts["kept_voxels"] = int(tumor.sum())
        return tumor, counts

    def _gate_is_shut(self, aorta_hu: float | None, name: str) -> bool:
        if self.contrast_threshold is None:
            return False
        if aorta_hu is None:
            logger.warning("%s: without an aorta nobody knows the contrast; the kidneys are searched.", name)
            return False
        if aorta_hu >= self.contrast_threshold:
            return False
        told = (name, aorta_hu, self.contrast_threshold)
        logger.info("%s: the aorta has %.0f HU, below %g: a plain scan, whose kidneys are not searched.", *told)
        return True

    def _slices_kept(self, organs: np.ndarray, spacing, name: str) -> slice | None:
        """Give the slices that the aorta crop keeps, or None: all; the tumors do not hide the aorta here."""
        if self.aorta_crop is None:
            return None
        kept = aorta_range(organs, spacing, self.aorta_crop)
        if kept is None:
            logger.warning("%s: no aorta was found; the label map is not cropped to its slices.", name)
        return kept
