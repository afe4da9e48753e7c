"""The nnU-Net network: a plan becomes a MONAI DynUNet with deep supervision (papers-spec 3.5)."""

import torch
from monai.networks.blocks.dynunet_block import UnetUpBlock
from monai.networks.nets import DynUNet
from torch import Tensor, nn
from torch.nn import functional

from abdoseg.networks.residual_encoder import PlannedResidualUNet
from abdoseg.networks.strict import StrictModule


class PlannedDynUNet(StrictModule, DynUNet):
    """MONAI's DynUNet whose parameters have one name each, with deep supervision on or off.

    The deep supervision heads always exist, one for every decoder level but the deepest. MONAI's ``skip_layers``, a
    second name for every parameter, is dropped: checkpoints hold each weight once, and scripted copies train too.
    MONAI's forward also keeps the last heads' maps alive between calls; this one does not. A decoder level has the
    kernel of the encoder level of the same size, as in nnU-Net; MONAI gives it the kernel of the level below.

    Parameters
    ----------
    deep_supervision : give all heads in training mode; False freezes the lower heads and gives the output alone.
    arguments : those of ``monai.networks.nets.DynUNet``.
    """

    def __init__(self, deep_supervision: bool, **arguments):
        super().__init__(deep_supervision=True, **arguments)
        del self.skip_layers, self.heads
        self.deep_supervision = deep_supervision
        self.deep_supervision_heads.requires_grad_(deep_supervision)

    def get_upsamples(self) -> nn.ModuleList:
        """Build the decoder, deepest level first."""
        return self.get_module_list(
            self.filters[:0:-1],
            self.filters[-2::-1],
            self.kernel_size[-2::-1],
            self.strides[:0:-1],
            UnetUpBlock,
            self.upsample_kernel_size[::-1],
            trans_bias=self.trans_bias,
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, in_channels, x, y, z) to logits.

        Returns
        -------
        In evaluation mode, or without deep supervision, (B, C, x, y, z). In training mode (B, heads, C, x, y, z), the
        output first, then every lower head, stretched to full size by nearest neighbors as MONAI's DynUNet does.
        The last head, of the deepest decoder level, has loss weight 0 in nnU-Net.
        """
        supervise = self.training and self.deep_supervision
        skips = [self.input_block(image)]
        for block in self.downsamples:
            skips.append(block(skips[-1]))
        features = self.bottleneck(skips[-1])
        lower: list[Tensor] = []
        for block in self.upsamples:
            if supervise:
                lower.append(features)
            features = block(features, skips.pop())
        output = self.output_block(features)
        if not supervise:
            return output
        outputs = [output]
        for head in self.deep_supervision_heads:
            outputs.append(functional.interpolate(head(lower.pop()), output.shape[2:]))
        return torch.stack(outputs, dim=1)


def build_dynunet(
    plan: dict, in_channels: int = 1, out_channels: int | None = None, deep_supervision: bool = True
) -> PlannedDynUNet | PlannedResidualUNet:
    """Build the network of an nnU-Net plan.

    Parameters
    ----------
    plan : with "features" (width of each stage), "strides" and "kernels" (one [x, y, z] for each stage, the first
        stride [1, 1, 1]) and "classes" (background included); "upsampling_bias" (false where it is missing) gives the
        transposed convolutions biases, as nnU-Net's have; "blocks" (residual blocks of each stage) makes the encoder a
        residual one, with "decoder_convolutions" (1) a stage on the way up; other keys are not read.
    in_channels : image channels.
    out_channels : logit maps, background included; None takes the plan's "classes".
    deep_supervision : whether training mode gives every head; the parameters' names are the same either way.

    Returns
    -------
    PlannedDynUNet : instance norm with affine parameters, leaky ReLU of slope 0.01, two convolutions a stage; or, for
        a plan with blocks, a ``PlannedResidualUNet``.

    Raises
    ------
    ValueError
        If the plan lacks a key or its lists disagree.
    """
    missing = [key for key in ("features", "strides", "kernels") if key not in plan]
    if out_channels is None and "classes" not in plan:
        missing.append("classes")
    if missing:
        raise ValueError(f"The plan lacks {', '.join(missing)}; write it with `plan`, or add what is missing.")
    features, strides, kernels = list(plan["features"]), list(plan["strides"]), list(plan["kernels"])
    if len(features) < 3 or not len(features) == len(strides) == len(kernels):
        raise ValueError(
            f"The plan has {len(features)} features, {len(strides)} strides and {len(kernels)} kernels; "
            "it needs the same number of each, at least 3."
        )
    if any(len(triple) != 3 for triple in (*strides, *kernels)) or list(strides[0]) != [1, 1, 1]:
        raise ValueError(
            f"The plan's strides {strides} and kernels {kernels} must be one [x, y, z] for each stage, "
            "the first stride [1, 1, 1]."
        )
    out_channels = plan["classes"] if out_channels is None else out_channels
    upsampling_bias = bool(plan.get("upsampling_bias", False))
    if "blocks" in plan:
        if len(plan["blocks"]) != len(features):
            raise ValueError(
                f"The plan has {len(features)} features and {len(plan['blocks'])} blocks; make them agree."
            )
        convolutions = int(plan.get("decoder_convolutions", 1))
        return PlannedResidualUNet(
            in_channels,
            out_channels,
            features,
            strides,
            kernels,
            plan["blocks"],
            convolutions,
            upsampling_bias,
            deep_supervision,
        )
    return PlannedDynUNet(
        deep_supervision=deep_supervision,
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=[list(kernel) for kernel in kernels],
        strides=[list(stride) for stride in strides],
        upsample_kernel_size=[list(stride) for stride in strides[1:]],
        filters=features,
        norm_name=("INSTANCE", {"affine": True}),
        act_name=("leakyrelu", {"inplace": True, "negative_slope": 0.01}),
        deep_supr_num=len(features) - 2,
        trans_bias=upsampling_bias,
    )
