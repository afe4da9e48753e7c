"""A bundle's inference, one scan at a time."""

import copy
import difflib
import hashlib
import inspect
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from monai.bundle import ConfigParser

from abdoseg.allocator import keep_freed_memory
from abdoseg.files import CaseError
from abdoseg.manifest import file_hash
from abdoseg.networks import ARCHITECTURE_FILE, load_checkpoint, read_architecture, weights_folder
from tools.chain import find_config
from tools.faults import fault_of, innermost


class Predictor:
    """Pre-processing, inferer and post-processing of a bundle's ``inference.yaml``.

    Its three steps may run side by side, each in a thread of its own.

    Parameters
    ----------
    bundle : folder of the bundle.
    output : folder for the label maps.
    weights : folder with ``model.pt`` and ``architecture.json``; None: see `abdoseg.networks.weights_folder`.
    overrides : replace values of the config, by id.
    overlay : config file laid over ``inference.yaml``: a name in the bundle's ``configs``, or a path.

    Attributes
    ----------
    bundle : name of the bundle.
    checkpoint : the file that the weights came from.
    sha256 : its hash.
    engine : what runs the networks, "torch" or "openvino".
    classes : ids of the classes that the weights can find; None: all that the bundle has.
    key : hash of all that decides a label map beside the scan: weights, architecture, config, overrides and engine.

    Raises
    ------
    CaseError
        If there is no such bundle, config value or checkpoint, or the weights are of another network.
    """

    def __init__(
        self, bundle: Path, output: Path, weights: Path | None, overrides: Mapping, overlay: str | None = None
    ) -> None:
        bundle = bundle.absolute()
        config = bundle / "configs" / "inference.yaml"
        if not config.is_file():
            raise CaseError(f"{bundle} is no bundle that labels scans: {config} is missing.")
        self.bundle = bundle.name
        self.checkpoint = (weights.absolute() if weights else Path(weights_folder(bundle / "models"))) / "model.pt"
        if not self.checkpoint.is_file():
            raise CaseError(
                f"{self.checkpoint} does not exist; train the bundle, or name the folder of its weights by --weights."
            )
        parser = ConfigParser()
        configs = [config] if overlay is None else [config, find_config(overlay, config.parent)]
        parser.read_config([str(path) for path in configs])
        parser.read_meta(str(bundle / "configs" / "metadata.json"))
        _check_overrides(overrides, parser, config)
        _check_kind(self.checkpoint.with_name(ARCHITECTURE_FILE), parser, bundle)
        places = {"bundle_root": bundle, "ckpt_dir": self.checkpoint.parent, "output_dir": output}
        parser.update({**{name: _as_it_is(path) for name, path in places.items()}, **overrides})
        try:
            self._build(parser)
        except Exception as error:
            if fault_of(error) is not None or not overrides:
                raise
            told = ", ".join(f"--{name} {value!r}" for name, value in overrides.items())
            raise CaseError(f"{config} does not work with {told}: {innermost(error)}") from error
        self.sha256 = file_hash(self.checkpoint)
        beside = self.checkpoint.with_name(ARCHITECTURE_FILE)
        architecture = beside.read_text() if beside.exists() else ""
        imported = (json.loads(architecture).get("plan") or {}).get("imported") if architecture else None
        self.classes = sorted({*imported["class_ids"]} - {0}) if imported else None
        settings = json.dumps(dict(overrides), sort_keys=True, default=str) + architecture
        self.key = hashlib.sha256(
            f"{self.sha256} {self.engine} {settings} ".encode() + b"".join(path.read_bytes() for path in configs)
        ).hexdigest()

    def _build(self, parser: ConfigParser) -> None:
        parser.parse()
        content = parser.get_parsed_content
        self.device = torch.device(content("device"))
        try:
            self.network = content("network_def")
        except RuntimeError as error:
            beside = self.checkpoint.with_name(ARCHITECTURE_FILE)
            reason = f"{beside} describes a network that cannot be built: {innermost(error)}"
            raise CaseError(fault_of(error) or reason) from error
        load_checkpoint(self.checkpoint, self.network)
        self.network = self.network.to(self.device).eval()
        self._transforms = content("preprocessing"), content("postprocessing")
        self.inferer = content("inferer")
        self.engine = self.inferer.engine.name_on(self.device)

    def __call__(self, scan: str, name: str | None = None) -> None:
        """Label one scan and write its label map, as NAME.nii.gz or after the scan's file."""
        self.write(self.infer(self.read(scan, name)))

    def memory(self) -> AbstractContextManager:
        """Give the block within which scan after scan is labeled: on a processor freed memory is kept for the next."""
        return keep_freed_memory() if self.device.type == "cpu" else nullcontext()

    def read(self, scan: str, name: str | None = None) -> tuple:
        """Load and prepare a scan; give what `infer` takes."""
        # Transforms may note in themselves what they are about, so each scan has its own: threads do not meet in them.
        preprocessing, postprocessing = copy.deepcopy(self._transforms)
        return preprocessing({"image": scan} if name is None else {"image": scan, "id": name}), postprocessing

    def infer(self, prepared: tuple) -> tuple:
        """Label a prepared scan; give what `write` takes, in which of the scan's voxels only the place is left."""
        item, postprocessing = prepared
        with torch.inference_mode():
            item["pred"] = self.inferer(item["image"][None].to(self.device), self.network)[0]
        item["image"] = item["image"].to("meta")
        return item, postprocessing

    def found_nothing(self, labeled: tuple) -> bool:
        """Whether what `infer` gave has no label at all."""
        return not labeled[0]["pred"].any()

    def write(self, labeled: tuple) -> None:
        """Bring the labels to the scan's own grid and write them."""
        item, postprocessing = labeled
        postprocessing(item)

    def answers(self) -> bool:
        """Whether the device still works; after a fault of CUDA it fails at whatever this process asks of it."""
        try:
            torch.zeros(1, device=self.device).item()
        except torch.OutOfMemoryError:
            return True
        except Exception:  # whatever the driver says
            return False
        return True


def _as_it_is(path: Path) -> str | Path:
    """A path for a config: in a text MONAI would take every # for its own ::, and labels would go to another folder."""
    return path if "#" in str(path) else str(path)


def _check_overrides(overrides: Mapping, parser: ConfigParser, config: Path) -> None:
    from tools.predict import predict  # which imports this module

    options = [name for name in inspect.signature(predict).parameters if name not in ("bundle", "overrides")]
    for name in overrides:
        if name not in parser:
            near = difflib.get_close_matches(name, [*options, *parser.config], n=1)
            hint = f"Did you mean --{near[0]}?" if near else f"Options: {', '.join(options)}."
            raise CaseError(
                f"predict has no option --{name}, and {config} has no such value. {hint} "
                f"Values of the config: {', '.join(map(str, parser.config))}."
            )


def _check_kind(path: Path, parser: ConfigParser, bundle: Path) -> None:
    """Refuse the weights of another bundle, which the inferer could not run, before anything is built."""
    default = parser.get("architecture")
    found = read_architecture(path, default)["kind"]
    if found != default["kind"]:
        raise CaseError(f"{path} describes a network of kind {found!r}; {bundle.name} runs {default['kind']!r}.")
