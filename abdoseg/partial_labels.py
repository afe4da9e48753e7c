"""Labels in which only some classes are known, on their way from a batch into a loss."""

import torch
from monai.engines.utils import default_prepare_batch

# As sure as a network can be that a class is absent: in float32 its probability and its binary cross-entropy are 0.
ABSENT_LOGIT = -1e4

Target = torch.Tensor | tuple[torch.Tensor, torch.Tensor]


def prepare_batch(
    batch: dict[str, torch.Tensor], device: torch.device | None = None, non_blocking: bool = False, **kwargs
) -> tuple[torch.Tensor, Target]:
    """Give image and target of a batch, as ``prepare_batch`` of a MONAI trainer.

    Parameters
    ----------
    batch : has ``image`` and ``label``, both (B, 1, x, y, z), and perhaps ``known``, (B, C) flags as
        ``abdoseg.transforms.KnownClassesd`` writes them.
    device, non_blocking, **kwargs : where to move the tensors, see ``torch.Tensor.to``.

    Returns
    -------
    tuple
        The image, and the label alone where all classes are known, else the pair of label and flags; the losses of
        ``abdoseg.losses`` take both, all others the label alone.
    """
    image, label = default_prepare_batch(batch, device, non_blocking, **kwargs)
    known = batch.get("known")
    if known is None or known.all():
        return image, label
    return image, (label, known.to(device=device, non_blocking=non_blocking))


def split_target(target: Target, channels: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Give labels (B, 1, x, y, z) and flags (B, channels), or None for the flags where all classes are known.

    Raises
    ------
    ValueError
        If there are more or fewer flags than channels.
    """
    if isinstance(target, torch.Tensor):
        return target, None
    labels, known = target
    if known.shape[1] != channels:
        raise ValueError(
            f"The cases tell of {known.shape[1]} classes whether they are known, the network has {channels} channels; "
            "give KnownClassesd the classes of the network."
        )
    return labels, known.to(labels.device)


def merge_unknown(logits: torch.Tensor, labels: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn the unknown classes of each case into background, for losses of a softmax: the marginal form.

    The probability of background becomes that of "background or any unknown class", their sum, and that of an unknown
    class 0 (Shi et al. 2021, "Marginal loss and exclusion loss for partially supervised multi-organ segmentation",
    Medical Image Analysis 70, section 3). Any loss of a softmax thereby becomes that of a network without these
    channels; on a voxel of background the gradient is shared by the merged channels by their probability.

    Parameters
    ----------
    logits : (B, C, x, y, z), background first.
    labels : (B, 1, x, y, z) integers in 0..C-1.
    known : (B, C) bool; background is always known. A case in which all classes are known is left as it is, bit for
        bit.

    Returns
    -------
    tuple
        Logits and labels of the same shapes; a voxel of an unknown class, drawn although nobody looked for that class,
        is labelled 0.
    """
    unknown = ~known
    merged = unknown.clone()
    merged[:, 0] = True
    background = torch.stack([case[flags].logsumexp(dim=0) for case, flags in zip(logits, merged, strict=True)])
    others = logits[:, 1:].masked_fill(unknown[:, 1:, None, None, None], -torch.inf)
    stray = unknown.gather(1, labels.flatten(1).long()).view_as(labels)
    return torch.cat([background[:, None], others], dim=1), labels.masked_fill(stray, 0)


def mask_unknown(logits: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Take the unknown channels of each case out of a loss of independent (sigmoid) channels.

    They are answered as an absent class is answered best, and so add nothing to Dice or binary cross-entropy, and
    nothing to the gradient, not even through the others.

    Parameters
    ----------
    logits : (B, C, x, y, z).
    target : (B, C, x, y, z), 0 or 1.
    known : (B, C) bool.

    Returns
    -------
    tuple
        Logits and target of the same shapes, unchanged in the known channels.
    """
    mask = known[:, :, None, None, None]
    return logits.masked_fill(~mask, ABSENT_LOGIT), target * mask
