"""A training that ends after a given time or number of steps, its learning rate falling towards that end."""

import math
import time

import torch
from ignite.engine import Engine, Events

WARMUP = 0.02


class TimeBudget:
    """Train for so many seconds or steps, whichever are used up first; the learning rate follows half a cosine to 0.

    Attach it to a trainer in the place of a learning rate schedule. Seconds count while the trainer runs: a training
    that was killed goes on with what is left, when this object's state is stored with the network's. Epochs then only
    say how often that happens. With a budget in seconds the number of steps, and so the weights, depend on the machine;
    with one in steps they do not.

    Parameters
    ----------
    optimizer : the rates of its groups are the highest; they are reached after 2 % of the budget.
    seconds, steps : the budget; one of them may be None.

    Attributes
    ----------
    progress : how far the training has come, 0..1; it changes right before a step.

    Raises
    ------
    ValueError
        If no budget is given, or one is not positive.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, seconds: float | None = None, steps: int | None = None
    ) -> None:
        given = [budget for budget in (seconds, steps) if budget is not None]
        if not given or min(given) <= 0:
            raise ValueError(f"The budget is {seconds} seconds, {steps} steps; give at least one, above 0.")
        self.optimizer = optimizer
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.seconds, self.steps = seconds, steps
        self.seconds_before, self.steps_done = 0.0, 0
        self.started: float | None = None
        self.progress = 0.0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_STARTED, self.set_rate)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.count)

    def start(self, engine: Engine) -> None:
        """Start the clock."""
        self.started = time.monotonic()

    @property
    def seconds_used(self) -> float:
        """Seconds that the training has run, with those before it was resumed."""
        return self.seconds_before + (0.0 if self.started is None else time.monotonic() - self.started)

    def set_rate(self, engine: Engine) -> None:
        """Note the progress, and set the learning rates of the step to come."""
        self.progress = self._share_used(self.steps_done)
        factor = min(0.1 + 0.9 * self.progress / WARMUP, 0.5 * (1 + math.cos(math.pi * self.progress)))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def _share_used(self, steps: int) -> float:
        """Give how much of the budget is used up after so many steps, 0..1."""
        shares = [0.0]
        if self.seconds is not None:
            shares.append(self.seconds_used / self.seconds)
        if self.steps is not None:
            shares.append(steps / self.steps)
        return min(max(shares), 1.0)

    def count(self, engine: Engine) -> None:
        """Count a step, and end the training when the budget is used up."""
        self.steps_done += 1
        out_of_time = self.seconds is not None and self.seconds_used >= self.seconds
        if out_of_time or (self.steps is not None and self.steps_done >= self.steps):
            engine.terminate()

    def state_dict(self) -> dict:
        """What a resumed training needs."""
        return {"seconds": self.seconds_used, "steps": self.steps_done}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a state."""
        self.seconds_before, self.steps_done = float(state["seconds"]), int(state["steps"])
        # As it stood in the last step: the next batch is made before it changes.
        self.progress = self._share_used(max(self.steps_done - 1, 0))
