"""Which inferer finds the organs of a cascade."""

from collections.abc import Mapping

from monai.inferers import Inferer

from abdoseg.inferers.coarse_to_fine import CoarseToFineInferer
from abdoseg.inferers.engines import Engine
from abdoseg.inferers.sliding_window import PlanInferer
from abdoseg.transforms.components import ComponentRules


def organ_inferer_for(
    architecture: Mapping | None,
    margin_mm: float = 20.0,
    components: ComponentRules | None = ComponentRules(),  # noqa: B008 (frozen)
    amp: bool | str = "auto",
    engine: Engine | None = None,
    abdomen_min_ml: float = 0.0,
    **sliding,
) -> Inferer:
    """Give the inferer that fits the organ network of a cascade.

    Parameters
    ----------
    architecture : of the organs: kind "nnunet" (an organ plan, as in paper B) or "coarse_to_fine" (paper A's student).
    margin_mm, abdomen_min_ml : of a student, see `CoarseToFineInferer`.
    components : rules for the organ labels; None keeps every voxel, as paper B does.
    amp, engine : see `PlanInferer`.
    sliding : further options of `PlanInferer`, for an organ plan.

    Raises
    ------
    ValueError
        If there is no organ network, or one of another kind.
    """
    kind = None if architecture is None else architecture["kind"]
    if kind == "nnunet":
        return PlanInferer(architecture["plan"], components=components, amp=amp, engine=engine, **sliding)
    if kind == "coarse_to_fine":
        coarse, fine = architecture["coarse"], architecture["fine"]
        coarse = coarse or fine
        return CoarseToFineInferer(
            coarse["image_size"],
            fine["image_size"],
            margin_mm,
            fine["hu_window"],
            components=components,
            amp=amp,
            coarse_hu_window=coarse["hu_window"],
            engine=engine,
            abdomen_min_ml=abdomen_min_ml,
        )
    raise ValueError(f"The cascade's organ network is of kind {kind!r}. Use 'nnunet' or 'coarse_to_fine'.")
