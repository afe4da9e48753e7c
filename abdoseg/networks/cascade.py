"""The container of paper B's cascade: an organ network and one tumor network for each family of host organs."""

from collections.abc import Mapping

from torch import Tensor, nn

from abdoseg.networks.strict import StrictModule


class CascadeNetwork(StrictModule):
    """The organ network and the tumor networks, in one module and one checkpoint.

    Called as a network it is the organ network; an inferer reaches all parts by name. Training selects one tumor
    network: a call means that one then, the others take no gradients and stay in evaluation mode.

    Parameters
    ----------
    organs : network of the organs, or None: the tumor networks alone, as they are trained.
    tumors : family of host organs -> network of background and tumor; families may be missing.
    """

    def __init__(self, organs: nn.Module | None, tumors: Mapping[str, nn.Module]):
        super().__init__()
        self.organs = organs
        self.tumors = nn.ModuleDict(dict(tumors))
        self.selected = ""

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in, x, y, z) to the logits of the organs, or of the selected tumor network."""
        for family, network in self.tumors.items():
            if family == self.selected:
                return network(image)
        if self.organs is not None:
            return self.organs(image)
        raise RuntimeError("The cascade has no organ network; put one in with assemble_cascade.")

    def select(self, family: str) -> "CascadeNetwork":
        """Let calls and training mean the tumor network of ``family``; gives the container itself.

        Raises
        ------
        ValueError
            If the cascade has no such network.
        """
        if family not in self.tumors:
            raise ValueError(
                f"The cascade has no tumor network {family!r}. It has {', '.join(map(repr, self.tumors)) or 'none'}."
            )
        self.selected = family
        for part in self._others():
            part.requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> "CascadeNetwork":
        """Set the mode; where a tumor network is selected, the other parts stay in evaluation mode."""
        super().train(mode)
        for part in self._others():
            part.eval()
        return self

    def _others(self) -> list[nn.Module]:
        if not self.selected:
            return []
        others = [network for family, network in self.tumors.items() if family != self.selected]
        return others if self.organs is None else [self.organs, *others]
