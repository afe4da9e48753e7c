"""One container for the coarse and the fine network, the same in training and in inference."""

from torch import Tensor, nn

from abdoseg.networks.strict import StrictModule


class CoarseToFineNetwork(StrictModule):
    """The coarse network, which finds the region of interest, and the fine one, which segments it.

    Called as a network it is the fine one; an inferer reaches both by name. Training updates the fine part only: the
    coarse part takes no gradients and stays in evaluation mode.

    Parameters
    ----------
    coarse : network on the whole volume, or None: the region of interest is the whole volume then.
    fine : network on the region of interest.
    """

    def __init__(self, coarse: nn.Module | None, fine: nn.Module):
        super().__init__()
        self.coarse = coarse
        self.fine = fine
        if coarse is not None:
            coarse.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> Tensor:
        """Map a region of interest (B, in, x, y, z) to the fine network's logits (B, C, x, y, z)."""
        return self.fine(image)

    def train(self, mode: bool = True) -> "CoarseToFineNetwork":
        """Set the mode of the fine part; the coarse part stays in evaluation mode."""
        super().train(mode)
        if self.coarse is not None:
            self.coarse.eval()
        return self
