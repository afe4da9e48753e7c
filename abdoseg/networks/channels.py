"""How many channels an architecture has, and whether a bundle's metadata tell the truth about them."""

from collections.abc import Mapping

TUMOR_CHANNELS = 2


def channels_of(architecture: Mapping) -> tuple[int, int]:
    """Channels (in, out) of a complete architecture's network as it is called: logits, background included."""
    match architecture["kind"]:
        case "coarse_to_fine":
            return channels_of(architecture["fine"])
        case "tumor_cascade":
            if architecture["organs"] is None:
                return 1, TUMOR_CHANNELS
            return channels_of(architecture["organs"])
        case "nnunet":
            given = architecture["out_channels"]
            return architecture["in_channels"], architecture["plan"]["classes"] if given is None else given
    return architecture["in_channels"], architecture["out_channels"] + 1


def data_formats(architecture: Mapping) -> dict[str, Mapping]:
    """Architectures by the key of the metadata that describes them: the network as it is called, then its parts."""
    tumors = architecture["tumors"] if architecture["kind"] == "tumor_cascade" else {}
    return {"network_data_format": architecture, **{f"{family}_data_format": tumors[family] for family in tumors}}


def channel_faults(metadata: Mapping, architecture: Mapping) -> list[str]:
    """Say where a bundle's metadata and its network differ in their channels, a clause a fault.

    Parameters
    ----------
    metadata : content of metadata.json.
    architecture : complete, see ``complete_architecture``.
    """
    formats = data_formats(architecture)
    unknown = [name for name in metadata if name.endswith("_data_format") and name not in formats]
    faults = [f"{name} describes a network that the weights lack" for name in unknown]
    for name, part in formats.items():
        for side, tensor, channels in zip(("inputs", "outputs"), ("image", "pred"), channels_of(part), strict=True):
            told = metadata
            for key in (name, side, tensor):
                told = told.get(key) if isinstance(told, Mapping) else None
            if not isinstance(told, Mapping):
                faults.append(f"{name} does not tell {side} {tensor}")
                continue
            number, names = told.get("num_channels"), told.get("channel_def", {})
            if number != channels:
                faults.append(f"{name} tells {number} channels of {tensor}, the network has {channels}")
            elif set(names) != {str(index) for index in range(channels)}:
                faults.append(f"{name} names the channels {', '.join(names)} of {tensor}, which has {channels}")
    return faults
