"""The benchmark command: what it measures agrees, and predict is measured cold and warm on real processes."""

import inspect
import json

import nibabel as nib
import numpy as np
import pytest

from abdoseg.files import CaseError
from tests.tools.small_data import AFFINE, STUDENT, labels_of, save, save_scan, save_weights, truncate
from tools.__main__ import parse
from tools.benchmark import benchmark
from tools.benchmark_figure import peers_figure
from tools.benchmark_predict import cold_options, format_efficiency, summarize_runs
from tools.benchmark_scans import scans_of_lengths, slices_of
from tools.chain import BUNDLES
from tools.predict import predict


def test_surfaces_of_a_label_map(tmp_path, capsys):
    """Boxes at 12 mm: moved by a voxel along each axis; both ways give one number, and all classes are timed."""
    path = save(tmp_path / "labels.nii.gz", np.kron(labels_of(range(1, 15)), np.ones((2, 2, 2), dtype=np.uint8)))
    result = benchmark("surfaces", output=str(tmp_path / "figures.json"), labels=str(path), repeats=2)
    assert json.loads((tmp_path / "figures.json").read_text()) == result
    assert len(result["classes"]) == 14
    assert result["largest_difference"] < 1e-9
    assert len(result["ours_s"]) == len(result["package_s"]) == len(result["ratios"]) == 2
    assert result["shape"] == [48, 40, 36]
    assert result["package_s"][0] == pytest.approx(sum(e["package_s"][0] for e in result["classes"].values()), abs=1e-3)
    assert "medians of 2, processor time" in capsys.readouterr().out


def run(wall, peak, card=None):
    host = {"peak_mb": peak, "auc_mb_s": peak * wall}
    return {"wall_s": wall, "samples": 3, "period_s": None, "host": host} | ({"card": card} if card else {})


def test_runs_are_summed_up():
    summary = summarize_runs([run(1.0, 100.0), run(4.0, 300.0, {"peak_mb": 50.0}), run(2.0, 120.0)])
    assert summary["wall_s"] == {"median": 2.0, "least": 1.0, "most": 4.0, "n": 3}
    assert summary["host_peak_mb"] == {"median": 120.0, "least": 100.0, "most": 300.0, "n": 3}
    assert summary["card_peak_mb"]["n"] == 1
    assert "period_s" not in summary
    case = {"shape": [8, 8, 6], "cold": [run(2.0, 200.0), run(4.0, 300.0)], "warm": [run(1.0, 100.0)]}
    told = format_efficiency({"cases": {"a": case}, "repeats": 3, "summary": {"cold": summary, "warm": summary}})
    row = " ".join(told.splitlines()[1].split())
    assert row == "a 8x8x6 3.00 [2.00, 4.00] 1.00 [1.00, 1.00] 250 [200, 300] 100 [100, 100]"
    (line,) = (line for line in told.splitlines() if line.startswith("wall_s"))
    assert line.split("  ")[-1].strip() == "2 [1, 4]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subject": "speed"}, "Unknown subject 'speed'. Use 'predict', 'peers', 'teacher', 'training'"),
        ({"subject": "predict", "bundle": "bundles/fine_seg"}, "needs --bundle and --input"),
        ({"subject": "surfaces", "weights": "w"}, "takes --labels, --repeats and --output only"),
        ({"subject": "surfaces", "repeats": 0}, "--repeats is 0"),
        ({"subject": "predict", "bundle": "b", "input": "i", "engines": "openvino"}, "--output only, not --engines"),
        ({"subject": "predict", "bundle": "b", "input": "i", "copies": 4, "slices": 9}, "--copies or --slices, not"),
        ({"subject": "teacher", "input": "i", "weights": "w", "preset": "demo"}, "--output only, not --preset"),
        ({"subject": "training", "work_dir": "w", "repeats": 5}, "--output only, not --repeats"),
        ({"subject": "growth", "work_dir": "w", "device": "cpu"}, "--copies, --stages and --output only, not --device"),
        ({"subject": "peers", "bundle": "b", "input": "i", "slices": "1,x"}, "--slices names 'x'"),
        ({"subject": "predict", "bundle": "b", "input": "i", "copies": "0,2"}, "--copies names '0'"),
        ({"subject": "training"}, "needs --work_dir"),
        ({"subject": "teacher", "input": "i"}, "benchmark teacher needs --input and --weights"),
        ({"subject": "peers", "bundle": "b", "input": "i", "engines": "gpu"}, "Unknown engine 'gpu'"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, message):
    with pytest.raises(CaseError, match=message):
        benchmark(**arguments)


def test_a_cold_process_asks_as_little_as_a_warm_one_whether_a_bundle_is_trusted():
    """Refused there, a bundle from elsewhere could not be measured: a warm process knows no --trust."""
    options = cold_options("ct.nii.gz", "out", "bundle", "weights", {"mirror_axes": []})
    positional, named = parse("predict", predict, options)
    told = inspect.signature(predict).bind(*positional, **named).arguments
    wanted = {"bundle": "bundle", "input": "ct.nii.gz", "output": "out", "weights": "weights", "trust": True}
    assert {name: told[name] for name in wanted} == wanted
    assert told["overrides"] == {"mirror_axes": []}


@pytest.mark.slow
def test_predict_cold_and_warm(tmp_path, capsys):
    """One scan is broken: it is named, the other one is measured, cold with all that a new process imports."""
    save_scan(tmp_path / "scans" / "0001_0000.nii.gz", affine=AFFINE)
    truncate(save_scan(tmp_path / "scans" / "0002_0000.nii.gz"))
    weights = save_weights(tmp_path / "weights", STUDENT)
    options = {"bundle": str(BUNDLES / "fine_seg"), "input": str(tmp_path / "scans"), "weights": str(weights)}
    result = benchmark("predict", **options, repeats=2, device="cpu")
    assert list(result["cases"]) == ["0001"]
    assert capsys.readouterr().out.startswith("not counted: the first process")  # it may export networks
    assert "0002_0000.nii.gz" in result["failed"]["0002"]
    cold, warm = (result["summary"][kind] for kind in ("cold", "warm"))
    assert cold["wall_s"]["n"] == warm["wall_s"]["n"] == 2
    assert cold["wall_s"]["median"] > 3 * warm["wall_s"]["median"]
    assert cold["host_peak_mb"]["median"] > 200
    assert cold["host_auc_mb_s"]["median"] < cold["host_peak_mb"]["most"] * cold["wall_s"]["most"]
    assert 0.1 < cold["period_s"]["median"] < 0.3
    options["input"] = str(tmp_path / "scans" / "0001_0000.nii.gz")
    lengths = benchmark("predict", **options, repeats=1, device="cpu", slices="40,9")
    assert {name: case["shape"][2] for name, case in lengths["cases"].items()} == {"40 slices": 40, "9 slices": 9}


def test_a_picture_without_samples_of_memory():
    """Where a case is over before the first sample, there is no memory to draw."""
    spreads = {"wall_s": {"median": 0.1, "least": 0.1, "most": 0.2, "n": 2}}
    memory = {"host_peak_mb": {"median": 900.0, "least": 900.0, "most": 901.0, "n": 2}}
    part = {"arms": {"float32": spreads, "plain MONAI": spreads | memory}, "stages": {"float32": {"read": 0.1}}}
    assert peers_figure({"lengths": {20: part, 40: part}}).startswith(b"\x89PNG")


def test_slices_there_and_back():
    assert list(slices_of(55)) == list(range(37, 92))
    assert list(slices_of(129)) == list(range(129))
    longer = slices_of(300)
    assert list(longer[127:131]) == [127, 128, 128, 127]
    assert list(longer[256:260]) == [1, 0, 0, 1]
    assert len(longer) == 300


def test_a_scan_at_several_lengths(tmp_path):
    """A ramp along z stays one: same extent in mm, values between the old ones; longer ones come back down."""
    ramp = np.broadcast_to(np.arange(0, 650, 10, dtype=np.int16), (4, 3, 65))
    path = tmp_path / "ramp.nii.gz"
    nib.save(nib.Nifti1Image(ramp, np.diag([1.0, 1.0, 4.0, 1.0])), path)
    files = scans_of_lengths(path, [129, 300], tmp_path)
    image = nib.load(files[129])
    assert image.shape == (4, 3, 129)
    assert image.header.get_zooms()[2] == pytest.approx(4 * 65 / 129)
    values = image.get_fdata()[1, 1]
    centers = (np.arange(129) + 0.5) * 65 / 129 - 0.5
    np.testing.assert_allclose(values, np.clip(centers, 0, 64) * 10, atol=0.51)
    longer = nib.load(files[300]).get_fdata()[1, 1]
    np.testing.assert_array_equal(longer[129:258], values[::-1])
    side = tmp_path / "side.nii.gz"
    nib.save(nib.Nifti1Image(ramp, np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])), side)
    with pytest.raises(CaseError, match=r"side\.nii\.gz: its third axis does not go along the body"):
        scans_of_lengths(side, [129], tmp_path / "other")


@pytest.mark.slow
def test_beside_the_plain_pipeline(tmp_path, capsys):
    """The same networks: the plain pipeline finds the same classes, and agrees but for interpolation."""
    scan = save_scan(tmp_path / "0001_0000.nii.gz", affine=AFFINE)
    weights = save_weights(tmp_path / "weights", STUDENT)
    result = benchmark(
        "peers",
        bundle=str(BUNDLES / "fine_seg"),
        input=str(scan),
        weights=str(weights),
        repeats=2,
        slices="20,140",
        engines="float32",
        pause=0.01,
        device="cpu",
        output=str(tmp_path / "figures.json"),
    )
    assert list(json.loads((tmp_path / "figures.json").read_text())["lengths"]) == ["20", "140"]
    for length, part in result["lengths"].items():
        assert part["shape"][2] == length
        assert part["mean_dsc"]["float32"] == pytest.approx(np.mean(list(part["dsc"]["float32"].values())))
        assert part["mean_dsc"]["float32"] > 0.5
        assert 0.2 < part["memory_share"]["float32"] < 2
        assert part["faster"]["float32"]["n"] == part["arms"]["plain MONAI"]["wall_s"]["n"] == 2
        stages = part["stages"]["float32"]
        assert {"read", "coarse", "fine", "restore", "components", "write", "rest"} <= set(stages)
        assert stages["rest"] < 0.5 * sum(stages.values())
        assert any("the region of interest has" in line for line in part["told"])
    assert result["failed"] == {}
    assert "times as fast" in capsys.readouterr().out
    assert (tmp_path / "figures.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_length_that_fails_costs_the_others_nothing(tmp_path, monkeypatch):
    lengths = {60: str(save_scan(tmp_path / "60.nii.gz", affine=AFFINE)), 61: str(tmp_path / "61.nii.gz")}
    monkeypatch.setattr("tools.benchmark_peers.scans_of_lengths", lambda *_: lengths)
    options = {"input": "-", "weights": str(save_weights(tmp_path / "weights", STUDENT)), "engines": "float32"}
    result = benchmark("peers", bundle=str(BUNDLES / "fine_seg"), repeats=1, pause=0.01, device="cpu", **options)
    assert list(result["lengths"]) == [60]
    assert list(result["failed"]) == ["61 slices"]
    assert "61.nii.gz" in result["failed"]["61 slices"]


@pytest.mark.slow
def test_many_copies_of_a_scan(tmp_path, capsys):
    """Starting costs once: the third and the second case take far less than the first."""
    scan = save_scan(tmp_path / "0001_0000.nii.gz", affine=AFFINE)
    weights = save_weights(tmp_path / "weights", STUDENT)
    options = {"bundle": str(BUNDLES / "fine_seg"), "input": str(scan), "weights": str(weights), "device": "cpu"}
    one, three = benchmark("predict", **options, copies="1,3")["counts"].values()
    assert three["wall_s"] < 2 * one["wall_s"]
    assert three["host"]["peak_mb"] < 1.2 * one["host"]["peak_mb"]
    uncounted, *_, head, first, second = capsys.readouterr().out.splitlines()
    assert uncounted.startswith("not counted: the first process")
    assert head.split("  ")[0] == "cases"
    assert (first.split()[0], second.split()[0]) == ("1", "3")
