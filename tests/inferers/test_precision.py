"""Networks in training run in half precision where they are told to, and the loss sees float32."""

import pytest
import torch
from monai.inferers import SimpleInferer
from torch import nn

from abdoseg.inferers import HalfInferer
from abdoseg.inferers.precision import takes_half

CPU = torch.device("cpu")


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(2, 1, 6, 5, 4)


@pytest.fixture
def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv3d(3, 2, 1))


class TwoScales(nn.Module):
    """Answers at two resolutions, as networks with deep supervision do."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, image):
        output = self.body(image)
        return [output, output[..., ::2, ::2, ::2]]


def test_float32_is_what_monai_gives(batch, network):
    assert torch.equal(HalfInferer(amp=False)(batch, network), SimpleInferer()(batch, network))


def test_half_precision_is_a_network_of_bfloat16_and_its_outputs_are_float32(batch, network):
    outputs = HalfInferer(amp=True)(batch, TwoScales(network))
    expected = network.to(torch.bfloat16)(batch.to(torch.bfloat16)).float()
    assert [output.dtype for output in outputs] == [torch.float32] * 2
    assert torch.equal(outputs[0], expected)
    assert torch.equal(outputs[1], expected[..., ::2, ::2, ::2])


def test_gradients_are_float32_and_near_those_of_float32(batch, network):
    gradients = []
    for amp in (False, True):
        network.zero_grad()
        HalfInferer(amp)(batch, network).square().mean().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in network.parameters()]))
    single, half = gradients
    assert half.dtype == torch.float32
    assert not torch.equal(half, single)
    assert torch.linalg.norm(half - single) < 0.02 * torch.linalg.norm(single)


def test_auto_asks_the_processor(batch, network):
    half = not torch.equal(HalfInferer(amp="auto")(batch, network), network(batch))
    assert half == takes_half(CPU)


def test_other_words_are_refused():
    with pytest.raises(ValueError, match=r"Unknown amp 'bf16'\. Use 'auto', True or False\."):
        HalfInferer(amp="bf16")
