"""One synthetic scan: everything random is drawn first, then applied to an anatomy without any chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from abdoseg.labels import TUMOR_ID
from abdoseg.synthesis.anatomy import Anatomy
from abdoseg.synthesis.contrast import Contrast, draw_contrast
from abdoseg.synthesis.frame import Frame, draw_frame
from abdoseg.synthesis.lesions import Tumor, draw_removed, draw_tumors, grow, remove_organs
from abdoseg.synthesis.look import Look, Painter, draw_look
from abdoseg.synthesis.scanner import Scanner, acquire, add_surroundings, draw_scanner, hide_unseen
from abdoseg.synthesis.shape import Shape, draw_shape, positions, sample
from abdoseg.synthesis.tissues import labels_of


@dataclass(frozen=True)
class Parameters:
    """All that decides a synthetic scan beside its anatomy; plain numbers, seeds included."""

    frame: Frame
    shape: Shape = field(default_factory=Shape)
    contrast: Contrast = field(default_factory=lambda: draw_contrast(np.random.default_rng(0), "portal"))
    look: Look = field(default_factory=Look)
    removed: frozenset[int] = frozenset()
    tumors: tuple[Tumor, ...] = ()
    scanner: Scanner = field(default_factory=Scanner)


@dataclass(frozen=True)
class SyntheticCase:
    """A synthetic scan on the grid of its frame, RAS.

    Parameters
    ----------
    image : (x, y, z) float32 HU.
    label : (x, y, z) uint8: 0 background, 1..13 organs, 14 tumor.
    organs : (x, y, z) uint8: the same, but a tumor's voxels carry the organ that it grew from, 0 for other hosts.
    tissues : (x, y, z) uint8, ids of `abdoseg.synthesis.tissues`.
    """

    image: np.ndarray
    label: np.ndarray
    organs: np.ndarray
    tissues: np.ndarray


def draw(
    rng: np.random.Generator,
    anatomy: Anatomy,
    view: str,
    size: Sequence[int] | None,
    spacing: Sequence[float] | None = None,
    *,
    phase: str | None = None,
    tumor_share: float = 0.6,
    margin_mm: float = 20.0,
    unscanned_hu: float | None = None,
) -> Parameters:
    """Draw a synthetic scan.

    Parameters
    ----------
    rng : source of randomness.
    anatomy : what it will be applied to.
    view, size, spacing, margin_mm : of the frame, see `draw_frame`.
    phase : contrast phase, None to draw it, see `draw_contrast`.
    tumor_share : share of the scans that have tumors; where there is no organ, none has.
    unscanned_hu : see `draw_scanner`.
    """
    shape = draw_shape(rng, anatomy)
    frame = draw_frame(rng, anatomy, view, size, spacing, shape.scale, margin_mm)
    body_width = float((anatomy.body_box[1] - anatomy.body_box[0])[0] * shape.scale[0])
    return Parameters(
        frame=frame,
        shape=shape,
        contrast=draw_contrast(rng, phase),
        look=draw_look(rng),
        removed=draw_removed(rng),
        tumors=draw_tumors(rng, tumor_share if anatomy.centers else 0.0),
        scanner=draw_scanner(rng, frame, body_width, unscanned_hu),
    )


def apply(anatomy: Anatomy, parameters: Parameters) -> SyntheticCase:
    """Render a synthetic scan; the same parameters give the same arrays, bit for bit."""
    frame = parameters.frame
    at = positions(parameters.shape, frame)
    tissues, depth = sample(anatomy, at)
    remove_organs(tissues, depth, parameters.removed)
    organs = labels_of(tissues)
    hu = Painter(tissues, depth, at[1], frame.spacing, parameters.contrast, parameters.look).paint()
    for tumor in parameters.tumors:
        grow(tissues, hu, organs, tumor, frame.spacing)
    label = labels_of(tissues)
    add_surroundings(tissues, hu, frame, parameters.scanner)
    image = acquire(hu, frame, parameters.scanner)
    for drawn in (label, organs):
        hide_unseen(drawn, frame, parameters.scanner)
    return SyntheticCase(image, label, organs, tissues)


def told(case: SyntheticCase, parameters: Parameters) -> Mapping:
    """What a reader should know about a synthetic scan, as plain data: its phase, missing organs and tumors."""
    present = set(np.unique(case.label).tolist())
    # A host that was removed or is not in view has no tumor; what is no organ is 0 there.
    grown = set(np.unique(case.organs[case.label == TUMOR_ID]).tolist())
    hosts = [tumor.host for tumor in parameters.tumors if labels_of(tumor.host) in grown]
    return {
        "phase": parameters.contrast.phase,
        "removed": sorted(parameters.removed),
        "classes": sorted(present - {0}),
        "tumor_hosts": hosts,
    }
