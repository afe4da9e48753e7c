"""The benchmark command: what it measures agrees, and predict is measured cold and warm on real processes."""

import json

import numpy as np
import pytest

from abdoseg.files import CaseError
from tests.tools.small_data import AFFINE, STUDENT, labels_of, save, save_scan, save_weights, truncate
from tools.benchmark import benchmark
from tools.benchmark_predict import format_efficiency, summarize_runs
from tools.chain import BUNDLES


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
    told = format_efficiency({"cases": {"a": {}}, "repeats": 3, "summary": {"cold": summary, "warm": summary}})
    (line,) = (line for line in told.splitlines() if line.startswith("wall_s"))
    assert line.split("  ")[-1].strip() == "2 [1, 4]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subject": "speed"}, "Unknown subject 'speed'. Use 'surfaces' or 'predict'"),
        ({"subject": "predict", "bundle": "bundles/fine_seg"}, "needs --bundle and --input"),
        ({"subject": "surfaces", "weights": "w"}, "takes --labels, --repeats and --output only"),
        ({"subject": "surfaces", "repeats": 0}, "--repeats is 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, message):
    with pytest.raises(CaseError, match=message):
        benchmark(**arguments)


@pytest.mark.slow
def test_predict_cold_and_warm(tmp_path):
    """One scan is broken: it is named, the other one is measured, cold with all that a new process imports."""
    save_scan(tmp_path / "scans" / "0001_0000.nii.gz", affine=AFFINE)
    truncate(save_scan(tmp_path / "scans" / "0002_0000.nii.gz"))
    weights = save_weights(tmp_path / "weights", STUDENT)
    options = {"bundle": str(BUNDLES / "fine_seg"), "input": str(tmp_path / "scans"), "weights": str(weights)}
    result = benchmark("predict", **options, repeats=2, device="cpu")
    assert list(result["cases"]) == ["0001"]
    assert "0002_0000.nii.gz" in result["failed"]["0002"]
    cold, warm = (result["summary"][kind] for kind in ("cold", "warm"))
    assert cold["wall_s"]["n"] == warm["wall_s"]["n"] == 2
    assert cold["wall_s"]["median"] > 3 * warm["wall_s"]["median"]
    assert cold["host_peak_mb"]["median"] > 200
    assert cold["host_auc_mb_s"]["median"] < cold["host_peak_mb"]["most"] * cold["wall_s"]["most"]
    assert 0.1 < cold["period_s"]["median"] < 0.3
