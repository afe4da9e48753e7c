"""`tools phantom`: FLARE23's layout, partial labels that agree with the truth, same bytes, resumed and not remade."""

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from abdoseg.files import CaseError
from abdoseg.phantom import KINDS, PhantomSettings
from tools.phantom import make_job, phantom, plan_jobs

OPTIONS = {"cases": 4, "unlabeled": 1, "test_cases": 2, "min_strong": 1, "seed": 7}


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantom") / "data"
    phantom(root, **OPTIONS)
    return root


def files(root):
    return {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}


def array(path):
    return np.asarray(nib.load(path).dataobj)


def test_the_layout_is_that_of_flare23(data_set):
    training, others = [f"FLARE23_{i:04d}" for i in range(1, 5)], ["FLARE23_2201", "FLARE23Ts_0001", "FLARE23Ts_0002"]
    expected = {f"imagesTr2200/{case}_0000.nii.gz" for case in training}
    expected |= {f"labelsTr2200/{case}.nii.gz" for case in training}
    expected |= {f"truth/{case}.nii.gz" for case in training + others}
    expected |= {"unlabelTr1800/FLARE23_2201_0000.nii.gz", "phantom.json"}
    expected |= {f"validation/{case}_0000.nii.gz" for case in others[1:]}
    assert set(files(data_set)) == expected


def test_labels_agree_with_the_truth_and_with_what_is_told_of_them(data_set):
    told = json.loads((data_set / "phantom.json").read_text())
    assert told["settings"]["seed"] == 7
    assert sorted(told["cases"]) == sorted(job.case for job in plan_jobs(told["settings"]))
    for case, record in told["cases"].items():
        image = nib.load(data_set / record["part"] / f"{case}_0000.nii.gz")
        truth = nib.load(data_set / "truth" / f"{case}.nii.gz")
        assert image.get_data_dtype() == np.int16
        assert truth.get_data_dtype() == np.uint8
        assert image.shape == truth.shape == tuple(record["shape"])
        np.testing.assert_array_equal(image.affine, truth.affine)
        assert "".join(nib.aff2axcodes(image.affine)) == record["orientation"]
        np.testing.assert_allclose(image.header.get_zooms(), record["spacing"], atol=1e-3)
        assert bool((array(data_set / "truth" / f"{case}.nii.gz") == 14).any()) == bool(record["tumors"])
        if record["kind"] is None:
            continue
        label, complete = (array(data_set / folder / f"{case}.nii.gz") for folder in ("labelsTr2200", "truth"))
        kind = KINDS[record["kind"]]
        assert set(np.unique(label)) <= {0, *kind.classes}
        # A drawn voxel is the truth's, but for a tumor that nobody drew, where the host organ stands.
        differs = (label > 0) & (label != complete)
        assert (complete[differs] == 14).all()
        for organ in kind.classes:
            assert (label[complete == organ] == organ).all()
        if kind.tumors:
            assert (label == 14).any()
        if record["kind"] == "all_organs":
            assert set(np.unique(label)) == set(range(14))


def test_the_same_seed_gives_the_same_bytes_and_a_second_run_makes_what_is_missing(data_set, tmp_path, capsys):
    phantom(tmp_path / "again", **OPTIONS)
    first, again = files(data_set), files(tmp_path / "again")
    assert list(first) == list(again)
    for name, path in first.items():
        assert path.read_bytes() == again[name].read_bytes(), name

    kept = {name: path.stat().st_mtime_ns for name, path in again.items()}
    (tmp_path / "again/truth/FLARE23_0002.nii.gz").unlink()
    capsys.readouterr()
    phantom(tmp_path / "again", **OPTIONS)
    assert "1 made now, 6 were there" in capsys.readouterr().out
    remade = files(tmp_path / "again")
    changed = {name for name, path in remade.items() if path.stat().st_mtime_ns != kept[name]}
    assert changed == {
        "imagesTr2200/FLARE23_0002_0000.nii.gz",
        "labelsTr2200/FLARE23_0002.nii.gz",
        "truth/FLARE23_0002.nii.gz",
        "phantom.json",
    }
    assert all(path.read_bytes() == first[name].read_bytes() for name, path in remade.items())
    phantom(tmp_path / "again", **OPTIONS)
    assert "0 made now, 7 were there" in capsys.readouterr().out


def test_a_run_that_was_killed_goes_on(tmp_path):
    root = tmp_path / "data"
    code = (
        f"from tools.phantom import phantom; phantom({str(root)!r}, cases=2, unlabeled=0, test_cases=0, min_strong=0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    told = json.loads((root / "phantom.json").read_text())
    # As after a kill between the first and the second scan.
    (root / "phantom.json").unlink()
    first = {"settings": told["settings"], "cases": {"FLARE23_0001": told["cases"]["FLARE23_0001"]}}
    (root / "phantom.unfinished.json").write_text(json.dumps(first))
    before = {name: path.stat().st_mtime_ns for name, path in files(root).items()}
    phantom(root, cases=2, unlabeled=0, test_cases=0, min_strong=0)
    after = files(root)
    assert after["truth/FLARE23_0001.nii.gz"].stat().st_mtime_ns == before["truth/FLARE23_0001.nii.gz"]
    assert after["truth/FLARE23_0002.nii.gz"].stat().st_mtime_ns != before["truth/FLARE23_0002.nii.gz"]
    assert json.loads(after["phantom.json"].read_text()) == told
    assert "phantom.unfinished.json" not in after


def test_another_data_set_is_not_mixed_in(data_set):
    with pytest.raises(CaseError, match=r"phantom.json was made with other settings: seed=7 \(now 8\)"):
        phantom(data_set, **{**OPTIONS, "seed": 8})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"cases": -1}, "cases is -1"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"workers": "all"}, "workers is 'all'"),
        ({"size": "tiny"}, "'demo' or 'full'"),
    ],
)
def test_bad_settings_leave_nothing_behind(options, told, tmp_path):
    with pytest.raises(CaseError, match=told):
        phantom(tmp_path / "data", **options)
    assert not (tmp_path / "data").exists()


def test_a_scan_depends_on_seed_number_and_kind_only():
    small = {"cases": 3, "unlabeled": 0, "test_cases": 2, "seed": 1, "min_strong": 0}
    test_scan = plan_jobs(small)[-1]
    assert test_scan == plan_jobs({**small, "cases": 200, "unlabeled": 5})[-1]
    one, two = (make_job(test_scan, 1, PhantomSettings()) for _ in range(2))
    np.testing.assert_array_equal(one.image, two.image)


def test_the_whole_of_flare23_has_its_counts_and_names():
    jobs = plan_jobs({"cases": 2200, "unlabeled": 1800, "test_cases": 16, "seed": 0, "min_strong": 5})
    assert len({job.case for job in jobs}) == 2200 + 1800 + 16
    assert [job.case for job in jobs if job.part == 1][:1] == ["FLARE23_2201"]
    kinds = [job.kind for job in jobs if job.part == 0]
    assert [kinds.count(name) for name in KINDS] == [888, 10, 455, 597, 222, 28]
    assert kinds[:222] != ["all_organs"] * 222
