"""How many channels an architecture has, and whether a bundle's metadata tell the truth about them."""

from collections.abc import Mapping

from abdoseg.labels import TUMOR_ID
from abdoseg.networks.architecture import TUMOR_CHANNELS


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


def ids_of(architecture: Mapping) -> list[int]:
    """Ids of the label map that is made of an architecture's answer: its channels, and the tumors that a cascade adds.

    The metadata name each of them, beyond the channels of a cascade's organs: MONAI Label knows no other labels.
    """
    ids = list(range(channels_of(architecture)[1]))
    adds_tumors = architecture["kind"] == "tumor_cascade" and architecture["organs"] is not None
    return [*ids, TUMOR_ID] if adds_tumors and TUMOR_ID not in ids else ids


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
            ids = ids_of(part) if tensor == "pred" else range(channels)
            if number != channels:
                faults.append(f"{name} tells {number} channels of {tensor}, the network has {channels}")
            elif set(names) != set(map(str, ids)):
                faults.append(f"{name} names {', '.join(names)} of {tensor}, which are {', '.join(map(str, ids))}")
    return faults
