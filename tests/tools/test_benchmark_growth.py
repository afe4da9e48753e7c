"""Growth: the benchmark measures each step once, and what every process holds of a data set stays small."""

import json
import tracemalloc

import numpy as np
import pytest
import torch

from abdoseg.caching import CaseCache, hash_case
from abdoseg.datalist import load_cases, read_datalist, write_datalist
from abdoseg.files import CaseError
from tools.benchmark import benchmark
from tools.benchmark_growth import format_growth
from tools.growth_steps import STEPS, make_cases


def test_steps_are_measured_once_and_go_on_where_they_were(tmp_path, capsys):
    first = benchmark("growth", work_dir=str(tmp_path), copies="3", stages="audit")
    assert list(first["steps"]) == ["audit"]
    assert set(first["machine"]) == {"processor", "cores", "memory_gib"}
    benchmark("growth", work_dir=str(tmp_path), copies="3,6", stages="audit")
    output = tmp_path / "scaling.json"
    result = benchmark("growth", work_dir=str(tmp_path), copies="6", stages="audit,merge", output=str(output))
    assert {name: list(found) for name, found in result["steps"].items()} == {"audit": ["3", "6"], "merge": ["6"]}
    assert result["steps"]["audit"]["3"] == first["steps"]["audit"]["3"]
    assert json.loads(output.read_text()) == result
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    for found in result["steps"].values():
        for figures in found.values():
            assert 0.1 < figures["cpu_s"] < figures["seconds"] + 1
            assert 30 < figures["peak_mb"] < 1000
    three, six = result["steps"]["audit"].values()
    assert six["written_mb"] > three["written_mb"] > 0
    assert "merge" in capsys.readouterr().out

    merged = read_datalist(tmp_path / "cases_6" / "merged" / "datalist.json")
    assert len(merged["training"]) == 6
    assert merged["excluded"] == []
    assert {case["kind"] for case in merged["training"]} == {"strong", "weak"}


def test_the_table_tells_what_a_further_case_costs():
    figures = {
        "10": {"seconds": 1.0, "cpu_s": 0.9, "peak_mb": 100.0, "written_mb": 1.0},
        "110": {"seconds": 1.5, "cpu_s": 1.4, "peak_mb": 101.0, "written_mb": 11.0},
    }
    machine = {"processor": "P", "cores": 2, "memory_gib": 24}
    lines = format_growth({"machine": machine, "steps": {"audit": figures}}).splitlines()
    assert lines[1].split() == ["audit", "10", "1.00", "0.90", "-", "100", "-", "102.4"]
    assert lines[2].split() == ["audit", "110", "1.50", "1.40", "5.00", "101", "10.24", "102.4"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "benchmark growth needs --work_dir"),
        ({"work_dir": "w", "stages": "audit,speed"}, "Unknown step 'speed' of growth. Use chain_start, audit"),
        ({"work_dir": "w", "copies": "0"}, "--copies names '0'"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, message):
    with pytest.raises(CaseError, match=message):
        benchmark("growth", **arguments)


def test_a_step_that_fails_is_told_and_not_noted(tmp_path):
    with pytest.raises(CaseError, match=r"audit/datalist\.json: there is no such datalist"):
        benchmark("growth", work_dir=str(tmp_path), copies="3", stages="merge")
    assert not (tmp_path / "figures").exists()


@pytest.mark.slow
def test_all_steps(tmp_path):
    result = benchmark("growth", work_dir=str(tmp_path), copies="6")
    assert list(result["steps"]) == list(STEPS)
    assert len(list((tmp_path / "cases_6" / "predictions").glob("*.nii.gz"))) == 6
    scores = json.loads((tmp_path / "cases_6" / "scores.json").read_text())
    assert len(scores["cases"]) == 6
    assert scores["failed"] == {}


def test_scans_differ_and_labels_are_the_phantoms_own(tmp_path):
    """Hard links would be set aside by the audit as the same scan twice."""
    make_cases(tmp_path, 9)
    images = [path.read_bytes() for path in sorted((tmp_path / "data" / "imagesTr").iterdir())]
    assert len(images) == len(set(images)) == 9
    labels = sorted((tmp_path / "data" / "labelsTr").iterdir())
    assert [path.name for path in labels] == [f"G{number:06d}.nii.gz" for number in range(9)]
    before = {path: path.stat().st_mtime_ns for path in labels}
    make_cases(tmp_path, 9)
    assert {path: path.stat().st_mtime_ns for path in labels} == before


def write_list(folder, count: int):
    root = "/data/flare/imagesTr2200"
    entries = [
        {
            "id": f"FLARE23_{number:06d}",
            "image": f"{root}/FLARE23_{number:06d}_0000.nii.gz",
            "label": f"{root}/FLARE23_{number:06d}.nii.gz",
            "kind": "weak",
            "annotated_classes": [1, 2, 3, 4, 13],
            "validation": False,
        }
        for number in range(count)
    ]
    write_datalist(folder / f"{count}.json", {"training": entries})
    return folder / f"{count}.json"


def peak_of(function) -> int:
    """Most bytes in memory while a function runs, and its result is kept."""
    tracemalloc.start()
    kept = function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del kept
    return peak


def test_a_case_of_a_data_list_takes_less_than_two_kilobytes(tmp_path):
    """100,000 cases then take less than 200 MB."""
    few, many = (write_list(tmp_path, count) for count in (200, 2000))
    growth = peak_of(lambda: load_cases(many)) - peak_of(lambda: load_cases(few))
    assert growth / 1800 < 2048


def test_a_cached_data_set_keeps_no_sample(tmp_path):
    """400 samples of 64 kB pass through, made and read again; a tenth of them would show."""

    def make(case: dict) -> dict:
        return {"image": torch.from_numpy(np.full(8192, float(case["id"][-3:])))}

    cases = load_cases(write_list(tmp_path, 400))
    dataset = CaseCache(cases, make, tmp_path / "cache", hash_func=hash_case)

    def passes():
        return sum(int(dataset[index]["image"][0]) for _ in range(2) for index in range(len(dataset)))

    assert passes() == 2 * sum(range(400))
    assert peak_of(passes) < 40 * 65536
