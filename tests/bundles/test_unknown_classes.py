"""What nobody looked for in a case teaches a network nothing, in the training of every bundle, and is not validated."""

import pytest
import torch

from abdoseg.datalist import read_datalist, write_datalist
from tests.bundles.tiny import REPOSITORY, copy_tiny, files, workflow

KNOWN = [1, 3, 14]  # no pair of left and right: flips leave them
# A case that knows all, so that no class counts as absent everywhere; it is not among those that are trained on.
ELSEWHERE = {"train#deterministic_transforms#0#cases": [{}]}
CONFIGS = {
    "coarse_seg": ["train"],
    "fine_seg": ["train"],
    "teacher_nnunet": ["train", "all_cases"],
    "fine_seg demo": ["train", "demo"],
}


@pytest.fixture(scope="module")
def weak_cases(datalist, tmp_path_factory):
    """A data list as the audit writes it: two scans of which only liver, spleen and tumors are known."""
    content = read_datalist(datalist)
    entries = {case["id"]: case for case in content["training"]}
    weak = {"kind": "weak", "annotated_classes": KNOWN}
    training = [{**{key: entries[name][key] for key in files(name)}, **weak} for name in ("0003", "0006")]
    path = tmp_path_factory.mktemp("weak") / "datalist.json"
    write_datalist(path, {"training": training})
    return str(path)


def step(name, datalist, folder, **settings):
    """One training step of a tiny bundle on both cases: its workflow, and logits, target and result of its loss."""
    bundle = copy_tiny(REPOSITORY / "bundles" / name.split()[0], folder)
    flow = workflow(bundle, *CONFIGS[name], datalist=datalist, **settings)
    flow.initialize()
    seen = []
    loss = flow.parser.get_parsed_content("loss")
    hook = loss.register_forward_hook(lambda module, inputs, result: seen.append((*inputs, result)))
    flow.run()
    hook.remove()
    return flow, *seen[-1]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_loss_of_a_step_leaves_out_what_is_unknown(name, weak_cases, tmp_path):
    flow, logits, (labels, known), lost = step(name, weak_cases, tmp_path, **ELSEWHERE)
    channels = logits.shape[-4]
    assert known.tolist() == [[c in (0, *KNOWN) for c in range(channels)]] * 2
    loss = flow.parser.get_parsed_content("loss")
    assert torch.equal(lost, loss(logits, (labels, known)))
    assert not torch.isclose(lost, loss(logits, labels))


@pytest.mark.parametrize("name", ["coarse_seg", "fine_seg"])
@pytest.mark.parametrize("mask", [True, False])
def test_unknown_channels_of_a_student_get_no_gradient(name, mask, weak_cases, tmp_path):
    """The direct training on weak labels, with unknown classes left out and taken for background."""
    flow, _, target, _ = step(name, weak_cases, tmp_path, mask_unknown=mask, **ELSEWHERE)
    assert isinstance(target, torch.Tensor) is not mask
    heads = [weight.grad for weight in flow.network_def.parameters() if weight.grad is not None and len(weight) == 14]
    assert heads
    for gradient in heads:
        moved = [c for c in range(1, 15) if gradient[c - 1].any()]
        assert moved == (KNOWN if mask else list(range(1, 15)))


@pytest.mark.parametrize("name", ["coarse_seg", "fine_seg", "teacher_nnunet"])
def test_unknown_classes_are_not_validated(name, datalist, tmp_path):
    """A DSC of 1 for the liver, of 2/3 for the spleen; nothing for a pancreas that nobody drew and the network sees."""
    flow = workflow(copy_tiny(REPOSITORY / "bundles" / name, tmp_path), "train", datalist=datalist)
    (metric,) = flow.parser.get_parsed_content("validate#key_metric").values()
    label, pred = (torch.tensor([ids]).reshape(1, -1, 1, 1) for ids in ([1, 1, 3, 0, 0], [1, 1, 3, 3, 4]))
    metric.update(([pred], [label]))
    assert metric.metric_fn.aggregate().item() == pytest.approx((1 + 2 / 3) / 2)
