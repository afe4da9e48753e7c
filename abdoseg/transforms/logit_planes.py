"""Logits of a volume as a stream of planes."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch


@dataclass
class LogitPlanes:
    """Logits (C, x, y, z) that are made while they are used, and never all in memory.

    Parameters
    ----------
    shape : (x, y, z).
    device : of the planes.
    planes : z float32 planes (C, x, y), in order; they can be had once.
    """

    shape: tuple[int, int, int]
    device: torch.device
    planes: Iterator[torch.Tensor]

    def whole(self) -> torch.Tensor:
        """Give the logits (C, x, y, z) in memory."""
        return torch.stack(list(self.planes), dim=-1)
