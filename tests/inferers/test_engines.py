"""One option chooses what runs a network; OpenVINO answers as PyTorch does and keeps what it has exported."""

import logging
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from abdoseg.files import CaseError
from abdoseg.inferers import CoarseToFineInferer, Engine, PlanInferer, engines
from abdoseg.inferers.engines import has_openvino
from abdoseg.inferers.norms import AxisNorm, ChannelsLastNorm, LayerNorm, with_norm
from abdoseg.networks import CoarseToFineNetwork, build_network
from abdoseg.networks.blocks import InstanceNorm
from tests.inferers.stand_ins import blocks, ras_scan
from tools.efficiency import process_memory

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
STUDENT = {"channels": [4, 8], "image_size": [16, 16, 16]}
PLAN = {
    "spacing": [2.0, 2.0, 2.0],
    "patch_size": [16, 16, 16],
    "features": [4, 8, 8],
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "kernels": [[3, 3, 3]] * 3,
    "normalization": {"lower": -300, "upper": 300, "mean": 0, "std": 100},
    "classes": 5,
}
ARCHITECTURES = {
    "residual_unet": {"kind": "residual_unet", **STUDENT},
    "efficient_segnet": {"kind": "efficient_segnet", **STUDENT},
    "highest_id_wins": {"kind": "residual_unet", "highest_id_wins": True, **STUDENT},
    "nnunet": {"kind": "nnunet", "plan": PLAN},
    "residual_encoder": {"kind": "nnunet", "plan": {**PLAN, "blocks": [1, 2, 2], "upsampling_bias": True}},
}


@pytest.fixture(autouse=True)
def engine_of_tests(monkeypatch):
    """Here OpenVINO may run where it is installed, also after tests from which it is hidden."""
    monkeypatch.setattr(engines, "has_openvino", has_openvino)


def network_of(kind: str) -> nn.Module:
    torch.manual_seed(0)
    network = build_network(ARCHITECTURES[kind])
    for name, parameter in network.named_parameters():  # norms begin as 1 and 0
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 1.0 if name.endswith("weight") else 0.0)
    return network.eval()


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_unknown_values_name_the_known_ones():
    with pytest.raises(ValueError, match=r"'onnx'. Use one of 'auto', 'openvino', 'torch'"):
        Engine("onnx")
    with pytest.raises(ValueError, match="Unknown amp 'half'"):
        Engine(amp="half")


def test_auto_takes_what_is_there(monkeypatch):
    for installed, expected in ((True, "openvino"), (False, "torch")):
        monkeypatch.setattr(engines, "has_openvino", lambda installed=installed: installed)
        assert Engine("auto").name_on(CPU) == expected
        assert Engine("auto").name_on(torch.device("cuda")) == "torch"
        assert Engine("torch").name_on(CPU) == "torch"


def test_openvino_is_refused_where_it_cannot_be(monkeypatch):
    monkeypatch.setattr(engines, "has_openvino", lambda: True)
    with pytest.raises(ValueError, match=r"'openvino' runs on processors, not on cuda:1. Use 'torch'"):
        Engine("openvino").name_on(torch.device("cuda:1"))
    monkeypatch.setattr(engines, "has_openvino", lambda: False)
    with pytest.raises(CaseError, match="OpenVINO is not installed; install the extra 'openvino'"):
        Engine("openvino")


def test_torch_is_the_network_itself():
    network, images = network_of("residual_unet"), noise(2, 1, 16, 16, 16)
    with torch.no_grad():
        assert torch.equal(Engine(amp=False)(network, images), network(images))
        half = Engine(amp=True)(network, images)
    assert half.dtype == torch.bfloat16


@pytest.mark.parametrize("norm", [AxisNorm, LayerNorm, ChannelsLastNorm])
@pytest.mark.parametrize("kind", ["efficient_segnet", "nnunet"])
def test_norms_of_engines_are_the_networks_own(kind, norm):
    """Both sorts of instance norm, without weights and with them."""
    network, image = network_of(kind), noise(1, 1, 32, 32, 16)
    replaced = with_norm(network, norm)
    assert not any(isinstance(module, nn.InstanceNorm3d | InstanceNorm) for module in replaced.modules())
    with torch.no_grad():
        torch.testing.assert_close(replaced(image), network(image), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_norm_for_channels_last_is_exact_where_the_mean_is_far_from_0(channels_last):
    """In bfloat16: only its result is rounded."""
    torch.manual_seed(0)
    image = (torch.randn(2, 3, 64, 64, 64) + torch.tensor([0.0, 8.0, -30.0]).reshape(1, 3, 1, 1, 1)).bfloat16()
    image = image.contiguous(memory_format=torch.channels_last_3d if channels_last else torch.contiguous_format)
    expected = nn.functional.instance_norm(image.double())
    found = ChannelsLastNorm()(image)
    scaled = ChannelsLastNorm(weight=torch.tensor([1.0, 2.0, -1.0]), bias=torch.tensor([0.0, 8.0, 1.0]))(image)
    assert found.dtype == scaled.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, atol=2e-3, rtol=2**-8)
    expected = expected * torch.tensor([1.0, 2.0, -1.0]).reshape(1, 3, 1, 1, 1)
    expected += torch.tensor([0.0, 8.0, 1.0]).reshape(1, 3, 1, 1, 1)
    torch.testing.assert_close(scaled.double(), expected, atol=4e-3, rtol=2**-8)


@pytest.mark.parametrize("norm", [AxisNorm, LayerNorm, ChannelsLastNorm])
def test_one_voxel_has_no_deviation(norm):
    with pytest.raises(ValueError, match="more than one voxel"):
        norm()(noise(1, 2, 1, 1, 1))


@pytest.mark.parametrize("kind", ["efficient_segnet", "nnunet"])
def test_half_precision_on_a_processor_is_near(kind):
    """Also after the weights have changed."""
    network, images, engine = network_of(kind), noise(2, 1, 32, 32, 32), Engine(amp=True)
    for sign in (1, -1):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(sign)
            expected, found = network(images), engine(network, images)
            assert engine(network, images).equal(found)
        assert found.is_contiguous()
        assert (found - expected).abs().mean() < 0.03 * expected.abs().mean()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_not_finite_is_no_empty_label_map(value):
    network = network_of("nnunet")
    with torch.no_grad():
        network.output_block.conv.conv.bias[3] = value
    inferer = PlanInferer(PLAN, engine=Engine(amp=False))
    with pytest.raises(FloatingPointError, match=r"answer is NaN or infinite.*; take other weights"):
        inferer(ras_scan(np.zeros((16, 16, 16)), (2, 2, 2)), network)


class TestOpenVino:
    """What needs OpenVINO."""

    @pytest.fixture(scope="class")
    def cache(self, tmp_path_factory):
        """One for all tests: an export takes seconds."""
        pytest.importorskip("openvino")
        return tmp_path_factory.mktemp("cache")

    @pytest.mark.parametrize(
        "kind",
        [
            "residual_unet",
            "efficient_segnet",
            "nnunet",
            *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("highest_id_wins", "residual_encoder")),
        ],
    )
    def test_answers_as_torch_does(self, kind, cache):
        network, images = network_of(kind), noise(2, 1, 16, 16, 16)
        with torch.inference_mode():
            expected = network(images)
            found = Engine("openvino", False, cache)(network, images)
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
        assert (found.argmax(1) == expected.argmax(1)).float().mean() > 0.9999

    @pytest.mark.parametrize("kind", ["efficient_segnet", "nnunet"])
    def test_half_precision_is_near(self, kind, cache):
        from abdoseg.inferers.openvino_network import OpenVinoNetwork

        network, images = network_of(kind), noise(1, 1, 32, 32, 32)
        with torch.inference_mode():
            expected = network(images)
            found = Engine("openvino", True, cache)(network, images)
            single = Engine("openvino", False, cache)(network, images)
        assert (found - expected).abs().mean() < 0.03 * expected.abs().mean()
        if not OpenVinoNetwork(network, images.shape[1:], True, cache).half:
            pytest.skip("this processor has no bfloat16 for OpenVINO")
        assert not torch.equal(found, single)

    def test_an_answer_stays_when_the_next_is_made(self, cache):
        network, engine = network_of("nnunet"), Engine("openvino", False, cache)
        first = engine(network, noise(1, 1, 16, 16, 16))
        kept = first.clone()
        engine(network, torch.ones(1, 1, 16, 16, 16))
        assert torch.equal(first, kept)

    @pytest.mark.parametrize("other", [True, False])
    def test_memory_is_given_back(self, other, cache):
        """Where networks take turns the memory of one is enough, and between cases none is kept."""
        large, small, engine = network_of("residual_unet"), network_of("nnunet"), Engine("openvino", False, cache)
        image = noise(1, 1, 96, 96, 96)
        first = engine(large, image)
        kept = process_memory(os.getpid())
        if other:
            engine(small, noise(1, 1, 16, 16, 16))
        else:
            engine.release()
        assert kept - process_memory(os.getpid()) > 30  # MB; a map of 4 channels has 14 here
        assert torch.equal(engine(large, image), first)

    @pytest.mark.slow
    def test_exports_are_kept_by_weights_and_size(self, tmp_path, caplog):
        pytest.importorskip("openvino")
        network, cache = network_of("nnunet"), tmp_path / "cache"
        engine = Engine("openvino", False, cache)

        def exports(engine, image) -> int:
            caplog.clear()
            with caplog.at_level(logging.INFO), torch.no_grad():
                torch.testing.assert_close(engine(network, image), network(image), atol=1e-3, rtol=1e-3)
            return caplog.text.count("is exported")

        image = noise(1, 1, 16, 16, 16)
        assert exports(engine, image) == 1
        assert exports(engine, image) == 0
        assert exports(Engine("openvino", False, cache), image) == 0  # as in another process
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(-1)
        assert exports(engine, image) == 1
        assert exports(engine, noise(1, 1, 16, 16, 24)) == 1
        assert (
            len(list(cache.glob("*/model.xml"))) == len(list(cache.glob("*/model.bin"))) == len(list(cache.iterdir()))
        )

    def test_openvino_does_not_tell_its_makers_what_it_exports(self):
        pytest.importorskip("openvino")
        code = "import abdoseg.inferers.openvino_network; from openvino.tools.ovc.convert_impl import tm; print(tm)"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert "openvino.tools.ovc.telemetry_stub" in done.stdout

    def test_exports_used_long_ago_are_deleted(self, tmp_path):
        pytest.importorskip("openvino")
        from abdoseg.inferers.openvino_network import drop_exports

        for age, name in enumerate(["new", "used", "old", ".tmp-broken", "oldest"]):
            (tmp_path / name).mkdir()
            (tmp_path / name / "model.xml").touch()
            (tmp_path / name / "model.bin").touch()
            os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
        drop_exports(tmp_path, 9)
        assert len(list(tmp_path.iterdir())) == 5
        drop_exports(tmp_path, 2)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "used"]
        assert (tmp_path / "used" / "model.xml").exists()
        drop_exports(tmp_path / "nowhere")

    def test_an_export_that_is_used_stays(self, cache):
        from abdoseg.inferers.openvino_network import key_of, read_or_export

        network, image = network_of("nnunet"), noise(1, 1, 16, 16, 16)
        Engine("openvino", False, cache)(network, image)
        kept = cache / key_of(network, image.shape[1:], AxisNorm)
        os.utime(kept, (1e9, 1e9))
        read_or_export(network, image.shape[1:], AxisNorm, cache)
        assert kept.stat().st_mtime > 1.5e9

    def test_a_cache_that_cannot_be_written(self, tmp_path, cache, caplog):
        (tmp_path / "file").write_text("no folder")
        network, image = network_of("nnunet"), noise(1, 1, 16, 16, 16)
        found = Engine("openvino", False, tmp_path / "file" / "cache")(network, image)
        assert "exported networks cannot be kept there" in caplog.text
        assert torch.equal(found, Engine("openvino", False, cache)(network, image))

    @pytest.mark.parametrize(("file", "content"), [("model.xml", None), ("model.bin", b"")])
    def test_a_broken_export_is_made_anew(self, file, content, tmp_path, caplog):
        """As a killed process or a full disk leaves one."""
        pytest.importorskip("openvino")
        from abdoseg.inferers.openvino_network import key_of, read_or_export

        network, shape = nn.Conv3d(1, 2, 1).eval(), (1, 4, 4, 4)
        read_or_export(network, shape, AxisNorm, tmp_path)
        broken = tmp_path / key_of(network, shape, AxisNorm) / file
        broken.unlink()
        if content is not None:
            broken.write_bytes(content)
        assert list(read_or_export(network, shape, AxisNorm, tmp_path).output(0).shape) == [1, 2, 4, 4, 4]
        assert f"{broken.parent}: the exported network is broken" in caplog.text
        caplog.clear()
        read_or_export(network, shape, AxisNorm, tmp_path)
        assert "broken" not in caplog.text

    def test_an_export_that_cannot_be_written_is_used_all_the_same(self, tmp_path, caplog):
        pytest.importorskip("openvino")
        from abdoseg.inferers.openvino_network import read_or_export

        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # bytes; as a disk that is full
        try:
            model = read_or_export(nn.Conv3d(1, 2, 3), (1, 4, 4, 4), AxisNorm, tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert list(model.output(0).shape) == [1, 2, 2, 2, 2]
        assert f"{tmp_path}: exported networks cannot be kept there" in caplog.text
        assert not list(tmp_path.iterdir())

    def test_norms_stay_exact_on_many_voxels(self):
        """OpenVINO's own norm loses digits with the number of voxels."""
        pytest.importorskip("openvino")
        from abdoseg.inferers.openvino_network import OpenVinoNetwork

        torch.manual_seed(0)
        image = (torch.rand(1, 2, 128, 128, 128) ** 4 * 50 + 100).round()
        exact = image.double()
        exact = (exact - exact.mean((2, 3, 4), keepdim=True)) / (
            exact.var((2, 3, 4), keepdim=True, correction=0) + 1e-5
        ).sqrt()
        found = OpenVinoNetwork(nn.Sequential(nn.InstanceNorm3d(2)), image.shape[1:], amp=False)(image)
        assert (found - exact).abs().mean() < 1e-5

    def test_whole_cases_are_labeled_alike_twice(self, cache):
        """The student and the plan's network, by both engines; the same engine gives the same bytes."""
        volume = blocks((40, 36, 30), [((slice(12, 22), slice(14, 24), slice(10, 20)), 300.0)])
        volume += np.random.default_rng(0).normal(0, 30, volume.shape).astype(np.float32)
        student = CoarseToFineNetwork(network_of("residual_unet"), network_of("efficient_segnet")).eval()
        options = {"components": None}  # of an untrained network they hang by single voxels

        def infer(network, engine) -> np.ndarray:
            if network is student:
                inferer = CoarseToFineInferer(
                    (16, 16, 16), (16, 16, 16), coarse_components=None, engine=engine, **options
                )
            else:
                inferer = PlanInferer(PLAN, mirror_axes=["left-right"], engine=engine, **options)
            return inferer(ras_scan(volume, (2.0, 2.0, 2.0)), network).numpy()

        for network in (student, network_of("nnunet")):
            labels = {
                name: [infer(network, Engine(name, False, cache)) for _ in range(2)] for name in ("torch", "openvino")
            }
            assert len(np.unique(labels["torch"][0])) > 2
            for first, second in labels.values():
                assert first.tobytes() == second.tobytes()
            assert (labels["torch"][0] != labels["openvino"][0]).mean() < 1e-3
