"""Modules whose weights load whole or not at all."""

from collections.abc import Mapping

from torch import Tensor, nn

REMEDY = "use the architecture.json that stands beside the checkpoint"


class StrictModule(nn.Module):
    """A module that never loads a part of a checkpoint, even when asked to.

    MONAI Label loads with ``strict=False`` and would answer with random weights where names differ.
    """

    def load_state_dict(self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False):
        """Load all parameters; ``strict`` is taken as True whatever its value.

        Raises
        ------
        RuntimeError
            If a name is missing or unexpected, or a shape differs; nothing is loaded then.
        """
        faults = state_faults(self.state_dict(), state_dict)
        if faults:
            raise RuntimeError(f"The checkpoint does not fit the network: {faults}; {REMEDY}.")
        return super().load_state_dict(state_dict, strict=True, assign=assign)


def state_faults(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """Say in one clause how the names and shapes of two state dicts differ; empty if they agree."""
    missing = [name for name in expected if name not in given]
    unexpected = [name for name in given if name not in expected]
    misshapen = [name for name in expected if name in given and expected[name].shape != given[name].shape]
    clauses = []
    if missing:
        clauses.append(f"{len(missing)} parameters are missing (first {missing[0]})")
    if unexpected:
        clauses.append(f"{len(unexpected)} are unexpected (first {unexpected[0]})")
    if misshapen:
        name = misshapen[0]
        shapes = f"{list(given[name].shape)} instead of {list(expected[name].shape)}"
        clauses.append(f"{len(misshapen)} have another shape (first {name}, {shapes})")
    return ", ".join(clauses)
