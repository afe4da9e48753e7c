"""Plans come from a file or from the default, and a faulty file is named."""

import json

import pytest

from abdoseg.files import CaseError
from abdoseg.planning import read_plan

PLAN = {
    "spacing": [1, 1, 2],
    "patch_size": [32, 32, 16],
    "batch_size": 2,
    "features": [8, 16, 32],
    "strides": [[1, 1, 1], [2, 2, 1], [2, 2, 2]],
    "kernels": [[3, 3, 1], [3, 3, 3], [3, 3, 3]],
    "normalization": {"lower": -900, "upper": 300, "mean": 80, "std": 140},
    "classes": 14,
}


def test_a_file_comes_before_the_default(tmp_path):
    plan = {**PLAN, "batch_size": 5, "fingerprint": {"cases": 3}}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    assert read_plan(tmp_path / "plan.json", PLAN) == plan


def test_the_default_is_copied():
    plan = read_plan(None, PLAN)
    assert plan == PLAN
    plan["batch_size"] = 9
    assert PLAN["batch_size"] == 2


def test_a_faulty_file_is_named_with_its_remedy(tmp_path):
    path = tmp_path / "plan.json"
    with pytest.raises(CaseError, match=r"plan\.json does not exist; write a plan with `python -m tools plan`"):
        read_plan(path, PLAN)
    path.write_text('{"spacing": ')
    with pytest.raises(CaseError, match=r"plan\.json is not JSON"):
        read_plan(path, PLAN)
    path.write_text(json.dumps({key: PLAN[key] for key in PLAN if key not in ("strides", "classes")}))
    with pytest.raises(CaseError, match=r"plan\.json lacks strides, classes; write"):
        read_plan(path, PLAN)
