"""Checkpoints of nnU-Net: read without running code, given to our networks whole or not at all."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from abdoseg.files import CaseError
from abdoseg.networks import build_network
from abdoseg.nnunet.importing import import_model
from abdoseg.nnunet.weights import read_nnunet_checkpoint
from tests.nnunet.tiny_folder import ARCHITECTURE, LABELS, RESIDUAL, checkpoint_of, network_of, write_model

IMAGE = torch.randn(2, 1, 8, 16, 16, generator=torch.Generator().manual_seed(3))  # (z, y, x), as nnU-Net has it
# Background, liver, right kidney and spleen in the order of our ids, then the femur, which becomes background.
CHANNELS = [0, 4, 2, 1, 3]


@pytest.mark.parametrize("architecture", [ARCHITECTURE, RESIDUAL], ids=["plain", "residual encoder"])
@pytest.mark.parametrize("transpose", [[0, 1, 2], [1, 0, 2]])
def test_logits_are_those_of_nnunets_network(architecture, transpose, tmp_path):
    theirs = network_of(architecture, len(LABELS))
    folder = write_model(tmp_path, {"architecture": architecture}, {"transpose_forward": transpose}, network=theirs)
    model = import_model(folder, orientation="RAS")
    network = build_network(model.architecture)
    network.load_state_dict(model.state)
    # Ours is asked in (x, y, z): the axes of nnU-Net's network are (z, y, x), turned by transpose_forward.
    axes = {(0, 1, 2): (2, 1, 0), (1, 0, 2): (2, 0, 1)}[tuple(transpose)]
    turn = (0, 1, *(axis + 2 for axis in axes))

    with torch.no_grad():
        wanted = [head.permute(turn)[:, CHANNELS] for head in theirs(IMAGE)]
        found = network.eval()(IMAGE.permute(turn))
        heads = network.train()(IMAGE.permute(turn)).unbind(1)

    assert model.architecture["plan"]["imported"]["class_ids"] == [0, 1, 2, 3, 0]
    assert model.architecture["plan"]["classes"] == 14
    torch.testing.assert_close(found, wanted[0], rtol=0, atol=1e-4)
    for mine, head in zip(heads, wanted, strict=True):
        stretched = torch.nn.functional.interpolate(head, mine.shape[2:])
        torch.testing.assert_close(mine, stretched, rtol=0, atol=1e-4)
    # The biases of the transposed convolutions came along, and matter.
    state = {name: value * (not ("transp" in name or "upsampling" in name)) if name.endswith("bias") else value
             for name, value in model.state.items()}  # fmt: skip
    network.load_state_dict(state)
    with torch.no_grad():
        assert not torch.allclose(network.eval()(IMAGE.permute(turn)), wanted[0], atol=1e-2)


def test_a_residual_network_scripts_and_freezes_its_lower_heads(tmp_path):
    architecture = import_model(
        write_model(tmp_path, {"architecture": RESIDUAL}, network=network_of(RESIDUAL, len(LABELS))), orientation="RAS"
    ).architecture
    network = build_network({**architecture, "deep_supervision": False})
    scripted = torch.jit.script(network)
    image = IMAGE.permute(0, 1, 4, 3, 2)
    torch.testing.assert_close(scripted.train()(image), network.train()(image))
    network(image).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert not network.heads[0].weight.requires_grad


def test_wrappers_of_the_names_are_taken_off(tmp_path):
    network = network_of(ARCHITECTURE, len(LABELS))
    content = checkpoint_of(network)
    for prefix in ("module.", "_orig_mod."):
        wrapped = {prefix + name: value for name, value in content["network_weights"].items()}
        torch.save({**content, "network_weights": wrapped}, tmp_path / "checkpoint.pth")
        found = read_nnunet_checkpoint(tmp_path / "checkpoint.pth")
        assert set(found["network_weights"]) == set(content["network_weights"])
    assert (found["configuration"], found["epoch"], found["mirrored"]) == ("3d_fullres", 7, (0, 2))


def test_numbers_of_numpy_1_are_read(tmp_path):
    content = checkpoint_of(network_of(ARCHITECTURE, len(LABELS)))
    torch.save(content, tmp_path / "new.pth", pickle_module=pickle)
    written = (tmp_path / "new.pth").read_bytes()
    assert b"numpy._core.multiarray" in written
    import zipfile

    with zipfile.ZipFile(tmp_path / "new.pth") as new, zipfile.ZipFile(tmp_path / "old.pth", "w") as old:
        for name in new.namelist():
            old.writestr(name, new.read(name).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert read_nnunet_checkpoint(tmp_path / "old.pth")["epoch"] == 7


class Trap:
    """Unpickling it writes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "sprung")


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    content = checkpoint_of(network_of(ARCHITECTURE, len(LABELS)))
    torch.save({**content, "logging": Trap(tmp_path / "sprung")}, tmp_path / "trap.pth")
    with pytest.raises(CaseError, match=r"trap.pth holds objects that could run code .*; it is not loaded"):
        read_nnunet_checkpoint(tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()
    # What was allowed for reading is not allowed afterwards.
    torch.save({"x": np.float64(1)}, tmp_path / "number.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "number.pth", weights_only=True)


def test_files_that_are_no_checkpoints(tmp_path):
    (tmp_path / "text.pth").write_text("no checkpoint")
    torch.save(checkpoint_of(network_of(ARCHITECTURE, len(LABELS))), tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:5000])
    for name in ("text.pth", "cut.pth"):
        with pytest.raises(CaseError, match=f"{name} is not a checkpoint of nnU-Net, or cut short|could run code"):
            read_nnunet_checkpoint(tmp_path / name)
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    with pytest.raises(CaseError, match="lacks network_weights or init_args; it is not a checkpoint of nnU-Net v2"):
        read_nnunet_checkpoint(tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: weights.pop("decoder.transpconvs.0.bias"), "the weight decoder.transpconvs.0.bias is missing"),
        (
            lambda weights: weights.update({"encoder.stages.0.0.convs.0.norm.running_mean": torch.zeros(4)}),
            r"1 weights are left over \(first encoder.stages.0.0.convs.0.norm.running_mean\)",
        ),
        (
            lambda weights: weights.update({"encoder.stages.1.0.convs.0.conv.weight": torch.zeros(6, 4, 1, 3, 3)}),
            r"encoder.stages.1.0.convs.0.conv.weight has the shape \[6, 4, 3, 3, 1\] instead of \[6, 4, 3, 3, 3\]",
        ),
        (
            lambda weights: weights.update({"decoder.seg_layers.0.bias": torch.zeros(3)}),
            "gives 3 classes, dataset.json has 5",
        ),
    ],
)
def test_weights_of_another_network_are_refused(change, words, tmp_path):
    folder = write_model(tmp_path)
    path = folder / "fold_0" / "checkpoint_final.pth"
    content = checkpoint_of(network_of(ARCHITECTURE, len(LABELS)))
    content["network_weights"] = dict(content["network_weights"])
    change(content["network_weights"])
    torch.save(content, path)
    with pytest.raises(CaseError, match=words) as caught:
        import_model(folder, orientation="RAS")
    assert str(path) in str(caught.value)
