"""Training losses of both papers, put together from MONAI's and PyTorch's parts."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import torch
from monai.losses import DeepSupervisionLoss, DiceLoss
from monai.networks.utils import one_hot
from torch import nn
from torch.nn.functional import cross_entropy

from abdoseg.partial_labels import Target, mask_unknown, merge_unknown, split_target

# Of a training's progress: from the first on the logarithms of class weights fall, linearly, at the second all are 1.
FADE = (0.5, 0.8)


class DiceCrossEntropyLoss(nn.Module):
    """nnU-Net's loss: soft Dice without background plus cross-entropy, 1:1, averaged over the deep supervision heads.

    MONAI's ``DiceCELoss`` does not serve because its class weights also rescale the Dice half, and its
    ``DeepSupervisionLoss`` expects a list where ``DynUNet`` returns one stacked tensor.

    Where a case has unknown classes, both halves take their marginal form, see `merge_unknown`: background means
    "background or any unknown class", in every head, and an unknown class has no Dice of its own. The mean of Dice
    still divides by all classes, so that a known class weighs the same in every case, however many others are unknown
    there, and a batch without class weights and ``batch_dice`` has the mean loss of its cases.

    Parameters
    ----------
    class_weights : one weight a class, background first, for the cross-entropy half; None weighs all alike.
    clock : has the training's ``progress``, 0..1, as a `TimeBudget` does. Class weights then fade: rare classes appear
        early by them, but kept to the end they have every rare class seen where it is not, about ``weight /
        background's weight`` times too willingly.
    smooth : added to numerator and denominator of Dice (nnU-Net: 1e-5).
    batch_dice : Dice of the whole batch as of one sample (an option of nnU-Net), so that a class that one sample lacks
        is still learned from the others. Cases in which a class is unknown add nothing to its Dice.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        smooth: float = 1e-5,
        batch_dice: bool = False,
        clock=None,
    ) -> None:
        super().__init__()
        self.dice = DiceLoss(
            include_background=False,
            to_onehot_y=True,
            softmax=True,
            smooth_nr=smooth,
            smooth_dr=smooth,
            batch=batch_dice,
        )
        weight = None if class_weights is None else torch.as_tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weight, persistent=False)
        self.clock = clock

    @property
    def weights_now(self) -> torch.Tensor | None:
        """Class weights (C,) at the training's progress; None: all alike."""
        if self.class_weights is None or self.clock is None:
            return self.class_weights
        start, end = FADE
        return self.class_weights ** min(max((end - self.clock.progress) / (end - start), 0.0), 1.0)

    def single(self, logits: torch.Tensor, labels: torch.Tensor, known: torch.Tensor | None = None) -> torch.Tensor:
        """Loss of one output: logits (B, C, x, y, z), labels (B, 1, x, y, z) of integers, perhaps flags (B, C)."""
        if known is not None:
            logits, labels = merge_unknown(logits, labels, known)
        entropy = cross_entropy(logits, labels[:, 0].long(), weight=self.weights_now)
        return self.dice(logits, labels) + entropy

    def forward(self, logits: torch.Tensor, target: Target) -> torch.Tensor:
        """Loss of logits (B, C, x, y, z), or (B, heads, C, x, y, z) as ``DynUNet`` stacks them in training.

        The target is labels (B, 1, x, y, z), or a pair of them and (B, C) flags of the classes known in each case. The
        heads are weighted 1, 1/2, 1/4, ..., the coarsest 0, and the weights sum to 1 (nnU-Net's trainer).
        """
        self.to(logits.device)
        labels, known = split_target(target, channels=logits.shape[-4])
        if logits.ndim == labels.ndim:
            return self.single(logits.float(), labels, known)
        heads = logits.unbind(dim=1)
        single = partial(self.single, known=known)
        return DeepSupervisionLoss(single, weights=head_weights(len(heads)))(list(heads), labels)


def head_weights(heads: int) -> list[float]:
    """nnU-Net's deep supervision weights: halved from head to head, the coarsest 0 (unless alone), sum 1.

    >>> head_weights(3)
    [0.6666666666666666, 0.3333333333333333, 0.0]
    """
    weights = [0.5**level for level in range(heads)]
    if heads > 1:
        weights[-1] = 0.0
    return [weight / sum(weights) for weight in weights]


class DiceBinaryCrossEntropyLoss(nn.Module):
    """Paper A's loss for independent sigmoid channels: Dice with squared denominators plus binary cross-entropy, 1:1.

    Paper A's text asks for Dice and cross-entropy, its code has Dice alone (``cross_entropy_weight=0``): with the tiny
    epsilon of the code a class that is absent from the sample then hardly punishes false positives. MONAI's
    ``DiceCELoss(sigmoid=True)`` has the two halves, but would learn unknown channels as background.

    Channel 0 of the students is a constant (``abdoseg.networks.WithBackground``) and takes no part.

    A channel that is unknown in a case adds nothing to the loss, see `mask_unknown`. The means still divide by all
    channels, so that a known class weighs the same in every case, however many others are unknown there, and a batch
    has the mean loss of its cases, in one process or in several.

    Parameters
    ----------
    cross_entropy_weight : weight of the binary cross-entropy beside Dice.
    """

    def __init__(self, cross_entropy_weight: float = 1.0) -> None:
        super().__init__()
        self.dice = DiceLoss(sigmoid=True, squared_pred=True, smooth_nr=1e-5, smooth_dr=1e-5)
        self.cross_entropy = nn.BCEWithLogitsLoss()
        self.cross_entropy_weight = cross_entropy_weight

    def forward(self, logits: torch.Tensor, target: Target) -> torch.Tensor:
        """Loss of logits (B, 1 + C, x, y, z) and labels (B, 1, x, y, z) of integers in 0..C.

        The target is these labels, or a pair of them and (B, 1 + C) flags of the classes known in each case.
        """
        labels, known = split_target(target, channels=logits.shape[1])
        learned = logits[:, 1:].float()
        drawn = one_hot(labels.long(), num_classes=logits.shape[1])[:, 1:].to(learned.dtype)
        if known is not None:
            learned, drawn = mask_unknown(learned, drawn, known[:, 1:])
        return self.dice(learned, drawn) + self.cross_entropy_weight * self.cross_entropy(learned, drawn)


def frequency_weights(
    samples: Iterable[dict],
    classes: int,
    power: float = 0.5,
    factors: Mapping[int | str, float] | None = None,
    limit: int = 32,
) -> list[float]:
    """Class weights 1 / frequency^power, measured on training samples and scaled to a mean of 1.

    Small organs appear after far fewer steps with them; only the short protocol of ``demo.yaml`` uses them.

    Parameters
    ----------
    samples : dictionaries with a label map (1, x, y, z) of integers under ``label``, or lists of them, as transforms
        that crop give; at most ``limit`` are read.
    classes : number of classes, background included.
    power : 0 weighs all classes alike; the higher, the sooner small organs appear and the more often they are seen
        where they are not.
    factors : class id -> factor on top, e.g. ``{"14": 3}`` for tumors, which vary more than organs.

    Returns
    -------
    One weight a class. A class that no sample holds gets the weight of the rarest one that is there.

    Raises
    ------
    ValueError
        If there is no sample.
    """
    counts = torch.zeros(classes, dtype=torch.float64)
    for _, sample in zip(range(limit), samples, strict=False):
        for crop in sample if isinstance(sample, list) else [sample]:
            counts += torch.bincount(torch.as_tensor(crop["label"]).flatten().long(), minlength=classes)
    if not counts.any():
        raise ValueError("Class weights need at least one training sample; the data list is empty.")
    counts = torch.where(counts > 0, counts, counts[counts > 0].min())
    weights = (counts / counts.sum()) ** -power
    for label, factor in (factors or {}).items():
        weights[int(label)] *= factor
    return (weights / weights.mean()).tolist()
