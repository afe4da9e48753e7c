"""Validation between the epochs compares label maps, not a map for each class, and gives their mean DSC."""

import numpy as np
import pytest
from ignite.engine import Events

from abdoseg.metrics import dice
from tests.bundles.tiny import NETWORK_BUNDLES, copy_tiny, name_of, workflow


@pytest.mark.parametrize("bundle", NETWORK_BUNDLES, ids=name_of)
def test_label_maps_are_compared(bundle, datalist, tmp_path):
    """A float map for each class of a whole scan takes 56 bytes a voxel, twice: more than a GPU has beside logits."""
    flow = workflow(copy_tiny(bundle, tmp_path), "train", datalist=datalist)
    flow.initialize()
    evaluator = flow.parser.get_parsed_content("validate#evaluator")
    means = []

    @evaluator.on(Events.ITERATION_COMPLETED)
    def compare(engine) -> None:
        for item in engine.state.output:
            assert item["pred"].shape == item["label"].shape
            assert len(item["pred"]) == 1
            pred, label = (np.asarray(item[key]) for key in ("pred", "label"))
            means.append(np.mean([dice(pred == one, label == one) for one in np.unique(label) if one]))

    evaluator.run()
    (validated,) = evaluator.state.metrics.values()
    assert 0 < validated == pytest.approx(np.mean(means))
