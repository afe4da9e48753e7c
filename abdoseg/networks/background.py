"""Background for networks that learn none: a constant zero logit, and the paper's highest-id rule."""

import torch
from torch import Tensor, nn

from abdoseg.networks.strict import StrictModule


class WithBackground(StrictModule):
    """Prepend a constant zero logit as background, so that channel numbers are class ids.

    The arg-max is then the best learned logit above 0 (probability above 1/2), else background.

    Parameters
    ----------
    network : maps (B, in, x, y, z) to independent logits (B, C, x, y, z) of the classes 1..C.
    highest_id_wins : the paper's rule instead, in evaluation mode only: see ``highest_id_logits``. It acts on the
        network's own grid; the paper applies it after resizing, for which an inferer calls that function itself.
    """

    def __init__(self, network: nn.Module, highest_id_wins: bool = False):
        super().__init__()
        self.network = network
        self.highest_id_wins = highest_id_wins

    def extra_repr(self) -> str:
        """Tell the rule: exports are kept by what a network says of itself."""
        return f"highest_id_wins={self.highest_id_wins}"

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in, x, y, z) to logits (B, 1 + C, x, y, z), background first."""
        logits = self.network(image)
        logits = torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)
        if self.highest_id_wins and not self.training:
            logits = highest_id_logits(logits)
        return logits


def highest_id_logits(logits: Tensor) -> Tensor:
    """Change logits so that their arg-max is the highest id among the classes with a logit of 0 or more.

    This is how paper A's code resolves overlapping classes (papers-spec 2.8): each class is cut at probability 1/2 and
    later ids overwrite earlier ones, so that the tumor (14) always beats the organs.

    Parameters
    ----------
    logits : (B, 1 + C, ...), channel 0 the constant zero of the background.

    Returns
    -------
    Tensor : same shape; the winner keeps its logit (a logit of 0 becomes slightly positive), the others are cut at 0.
    """
    classes = logits[:, 1:]
    ids = torch.arange(1, logits.shape[1], device=logits.device, dtype=torch.uint8)
    ids = ids.reshape([1, -1] + [1] * (logits.dim() - 2))
    winner = ((classes >= 0) * ids).amax(dim=1, keepdim=True)
    classes = torch.where(ids == winner, classes.clamp(min=1e-6), classes.clamp(max=0.0))
    return torch.cat([logits[:, :1], classes], dim=1)
