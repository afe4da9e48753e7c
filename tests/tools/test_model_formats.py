"""Exports of each network, in TorchScript and ONNX, and what stands for adaptive pooling there."""

import numpy as np
import onnxruntime
import pytest
import torch

from abdoseg.files import CaseError
from abdoseg.networks import build_network
from abdoseg.networks.efficient_segnet import EfficientSegNet
from abdoseg.nnunet.importing import import_model
from tests.bundles.tiny import NETWORK_BUNDLES, fallback_architecture, name_of, shrink
from tests.nnunet.tiny_folder import LABELS, RESIDUAL, write_model
from tests.nnunet.tiny_folder import network_of as network_of_nnunet
from tools.model_formats import TOLERANCE, export_networks, parts_of, with_fixed_pooling

PARTS = {
    "coarse_seg": ["model"],
    "fine_seg": ["coarse", "fine"],
    "teacher_nnunet": ["model"],
    "tumor_cascade": ["organs", "liver", "pancreas", "kidneys", "rest"],
}


def network_of(bundle):
    torch.manual_seed(0)
    return build_network(shrink(fallback_architecture(bundle))).eval()


def check_answers(network, folder, names) -> None:
    """Export a network in both formats; its parts ``names`` must answer as in PyTorch."""
    differences = export_networks(network, folder, ["torchscript", "onnx"])
    files = [f"{part}{ending}" for part in names for ending in (".ts", ".onnx")]
    assert list(differences) == files
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)
    for name, part in parts_of(network).items():
        image = torch.randn(2, 1, 16, 16, 16)  # another batch than the exporter saw
        with torch.inference_mode():
            expected = part(image).numpy()
            np.testing.assert_allclose(torch.jit.load(folder / f"{name}.ts")(image).numpy(), expected, atol=TOLERANCE)
        session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
        (found,) = session.run(["pred"], {"image": image.numpy()})
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@pytest.mark.parametrize("bundle", NETWORK_BUNDLES, ids=name_of)
def test_every_network_answers_in_both_formats_as_in_pytorch(bundle, tmp_path):
    check_answers(network_of(bundle), tmp_path, PARTS[bundle.name])


def test_an_imported_residual_encoder_answers_in_both_formats_too(tmp_path):
    model = write_model(tmp_path, {"architecture": RESIDUAL}, network=network_of_nnunet(RESIDUAL, len(LABELS)))
    architecture = import_model(model, orientation="RAS").architecture
    plan = {**architecture["plan"], "patch_size": [16, 16, 16]}
    torch.manual_seed(0)
    check_answers(build_network({**architecture, "plan": plan}).eval(), tmp_path / "exports", ["model"])


def test_a_cascade_with_a_students_organs_gives_both_its_networks():
    cascade, student = (
        next(bundle for bundle in NETWORK_BUNDLES if bundle.name == name) for name in ("tumor_cascade", "fine_seg")
    )
    organs = shrink(fallback_architecture(student))
    network = build_network({**shrink(fallback_architecture(cascade)), "organs": organs})
    assert list(parts_of(network))[:3] == ["organs_coarse", "organs_fine", "liver"]


def test_fixed_pooling_is_adaptive_pooling_on_maps_that_do_not_divide():
    torch.manual_seed(0)
    network = EfficientSegNet(channels=[2, 3, 4, 8], image_size=[88, 40, 56], dropout=0.0).eval()  # 11 x 5 x 7
    image = torch.randn(1, 1, 88, 40, 56)
    fixed = with_fixed_pooling(network, image)
    with torch.inference_mode():
        torch.testing.assert_close(fixed(image), network(image), atol=1e-5, rtol=1e-5)
    changed = sorted(name for name, module in fixed.named_modules() if type(module).__name__ == "FixedPooling")
    assert [name.rsplit(".", 1)[1] for name in changed] == ["at_half", "at_quarter", "along_x", "along_y", "along_z"]


def test_onnx_is_the_same_every_time(tmp_path):
    bundle = next(bundle for bundle in NETWORK_BUNDLES if bundle.name == "fine_seg")
    for folder in ("a", "b"):
        export_networks(network_of(bundle), tmp_path / folder, ["onnx"])
    for name in ("coarse.onnx", "fine.onnx"):
        data = (tmp_path / "a" / name).read_bytes()
        assert data == (tmp_path / "b" / name).read_bytes()
        assert b"/abdoseg/" not in data


def test_what_cannot_be_exported_is_refused(tmp_path):
    bundle = next(bundle for bundle in NETWORK_BUNDLES if bundle.name == "coarse_seg")
    with pytest.raises(CaseError, match=r"^Unknown export format 'tensorrt'\. Use torchscript and onnx\.$"):
        export_networks(network_of(bundle), tmp_path, ["onnx", "tensorrt"])
    broken = network_of(bundle)
    with torch.no_grad():
        next(broken.parameters()).fill_(torch.nan)
    with pytest.raises(CaseError, match=r"model\.ts answers otherwise than PyTorch, by nan instead of 0\.001"):
        export_networks(broken, tmp_path, ["torchscript"])
    assert not list(tmp_path.iterdir())
