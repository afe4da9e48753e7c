"""Trainings with a budget: they end when it is used up, the learning rate by hand, resumed with what is left."""

import math

import pytest
import torch
from ignite.engine import Engine

from abdoseg.budget import TimeBudget


def trained(budget: TimeBudget, optimizer, epochs=10):
    rates = []
    engine = Engine(lambda engine, batch: rates.append(optimizer.param_groups[0]["lr"]))
    budget.attach(engine)
    engine.run([0] * 5, max_epochs=epochs)
    return engine, rates


@pytest.fixture
def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)


def test_so_many_steps_and_half_a_cosine(optimizer):
    budget = TimeBudget(optimizer, steps=8)
    engine, rates = trained(budget, optimizer)
    assert engine.state.iteration == 8
    # The first step is in the warm-up, at a tenth; then 0.1 * (1 + cos(pi * n / 8)) / 2.
    expected = [0.01] + [0.05 * (1 + math.cos(math.pi * n / 8)) for n in range(1, 8)]
    assert rates == pytest.approx(expected)
    assert budget.progress == 7 / 8


def test_a_resumed_training_does_the_rest(optimizer):
    first = TimeBudget(optimizer, steps=8)
    trained(first, optimizer, epochs=1)
    state = first.state_dict()
    assert state["steps"] == 5
    again = TimeBudget(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1), steps=8)
    again.load_state_dict(state)
    engine, _ = trained(again, again.optimizer)
    assert engine.state.iteration == 3
    assert again.seconds_before == state["seconds"] > 0


class Rendered:
    """Five batches an epoch, each the progress at which it was made, as scans are rendered while a training runs."""

    def __init__(self, budget: TimeBudget) -> None:
        self.budget = budget

    def __iter__(self):
        return (self.budget.progress for _ in range(5))


def test_what_is_made_by_the_progress_is_made_alike_in_a_resumed_training(optimizer):
    """A batch is made before its step begins: at the progress of the step before, also right after a resumption."""

    def batches(budget, epochs):
        made = []
        engine = Engine(lambda engine, batch: made.append(batch))
        budget.attach(engine)
        engine.run(Rendered(budget), max_epochs=epochs, epoch_length=5)
        return made

    whole = batches(TimeBudget(optimizer, steps=8), epochs=10)
    assert whole == [0, 0, 1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8, 6 / 8]
    first, second = (TimeBudget(optimizer, steps=8) for _ in range(2))
    assert batches(first, epochs=1) == whole[:5]
    second.load_state_dict(first.state_dict())
    assert batches(second, epochs=10) == whole[5:]


def test_time_counts_across_sittings(optimizer):
    budget = TimeBudget(optimizer, seconds=100.0)
    budget.load_state_dict({"seconds": 99.9999999, "steps": 40})
    engine, _ = trained(budget, optimizer)
    assert engine.state.iteration == 1  # a step is begun while time is left, then it has run out
    fresh = TimeBudget(optimizer, seconds=1e6)
    assert trained(fresh, optimizer)[0].state.iteration == 50


@pytest.mark.parametrize("budget", [{}, {"steps": 0}, {"seconds": -1.0}])
def test_no_budget_is_refused(optimizer, budget):
    with pytest.raises(ValueError, match="give at least one, above 0"):
        TimeBudget(optimizer, **budget)
